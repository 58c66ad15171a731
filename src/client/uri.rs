//! The URLs of `iceServers`: `stun:`, `stuns:`, `turn:` and `turns:`. RFC 7064, RFC 7065.

use std::fmt;
use std::str::FromStr;

/// A server and how it may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IceUrl {
    /// Whether it relays (`turn:`, `turns:`) or only says what it sees (`stun:`, `stuns:`).
    pub relays: bool,
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    /// The port; 3478, or 5349 for the secure schemes, where the URL has none.
    pub port: u16,
    /// The transport; `None` when the URL leaves it open (a `turn:` without `transport`).
    pub transport: Option<Transport>,
}

/// What carries STUN messages between client and server. RFC 8656 §2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Every transport's name: `udp`, `tcp`, `tls`, `dtls`.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        }
    }
}

impl IceUrl {
    /// The transport of a URL that leaves it open, as browsers read it: UDP.
    pub fn usual_transport(&self) -> Transport {
        self.transport.unwrap_or(Transport::Udp)
    }
}

impl FromStr for IceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<IceUrl, String> {
        let wrong = |why: &str| {
            format!(
                "{text}: {why}; write stun:HOST[:PORT] or turn[s]:HOST[:PORT][?transport=udp|tcp]"
            )
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        let (relays, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err(wrong("the scheme is none of stun, stuns, turn, turns")),
        };
        let (authority, query) = rest
            .split_once('?')
            .map_or((rest, None), |(authority, query)| (authority, Some(query)));
        let over_tcp = match query {
            None => None,
            Some("transport=udp") => Some(false),
            Some("transport=tcp") => Some(true),
            Some(_) => {
                return Err(wrong(
                    "what follows ? is not transport=udp or transport=tcp",
                ));
            }
        };
        let transport = match (secure, over_tcp) {
            (true, Some(false)) => Some(Transport::Dtls),
            (true, _) => Some(Transport::Tls),
            (false, Some(true)) => Some(Transport::Tcp),
            (false, Some(false)) => Some(Transport::Udp),
            (false, None) => (!relays).then_some(Transport::Udp),
        };
        let (host, port) =
            split_port(authority).ok_or_else(|| wrong("the host or the port cannot be read"))?;
        let port = port.unwrap_or(if secure { 5349 } else { 3478 });
        Ok(IceUrl {
            relays,
            host: host.into(),
            port,
            transport,
        })
    }
}

impl fmt::Display for IceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = matches!(self.transport, Some(Transport::Tls | Transport::Dtls));
        let scheme = if self.relays { "turn" } else { "stun" };
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        write!(
            f,
            "{scheme}{}:{host}:{}",
            if secure { "s" } else { "" },
            self.port
        )?;
        match self.transport {
            Some(Transport::Udp | Transport::Dtls) if self.relays => f.write_str("?transport=udp"),
            Some(Transport::Tcp | Transport::Tls) if self.relays => f.write_str("?transport=tcp"),
            _ => Ok(()),
        }
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority
            .find(':')
            .map_or((authority, ""), |at| authority.split_at(at)),
    };
    let sound = !host.is_empty()
        && host
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && !b"/@[]".contains(&octet));
    match rest.strip_prefix(':') {
        Some(port) => sound.then_some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => (sound && rest.is_empty()).then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_the_rfcs_say() {
        for (text, relays, host, port, transport) in [
            (
                "stun:stun.example.net",
                false,
                "stun.example.net",
                3478,
                Some(Transport::Udp),
            ),
            (
                "turn:turn.example.net",
                true,
                "turn.example.net",
                3478,
                None,
            ),
            (
                "turn:192.0.2.1:5000?transport=tcp",
                true,
                "192.0.2.1",
                5000,
                Some(Transport::Tcp),
            ),
            (
                "TURNS:turn.example.net",
                true,
                "turn.example.net",
                5349,
                Some(Transport::Tls),
            ),
            (
                "turns:[2001:db8::1]:443?transport=tcp",
                true,
                "2001:db8::1",
                443,
                Some(Transport::Tls),
            ),
            (
                "turns:turn.example.net?transport=udp",
                true,
                "turn.example.net",
                5349,
                Some(Transport::Dtls),
            ),
        ] {
            let url = IceUrl {
                relays,
                host: host.into(),
                port,
                transport,
            };
            assert_eq!(text.parse(), Ok(url.clone()), "{text}");
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_says_why() {
        for text in [
            "",
            "turn",
            "http://x",
            "turn:",
            "turn:x:0",
            "turn:x:70000",
            "turn:x?transport=sctp",
            "turn:[::1",
            "turn://x",
        ] {
            assert!(text.parse::<IceUrl>().is_err(), "{text}");
        }
    }
}
