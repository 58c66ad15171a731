//! URIs of STUN and TURN servers: `stun:`, `stuns:`, `turn:` and `turns:`. RFC 7064, RFC 7065.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::turn::Transport;

/// A server, and the transport to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerUri {
    /// Whether the scheme is `turn` or `turns`: the server relays. Otherwise it only answers
    /// Binding.
    pub relays: bool,
    /// A domain name or an address; an IPv6 address without brackets.
    pub host: String,
    /// The port. 3478 if the URI has none, 5349 for `stuns` and `turns`.
    pub port: u16,
    /// The transport; `None` for a `turn:` URI without `transport=`.
    pub transport: Option<Transport>,
}

/// Why a text is not the URI of a STUN or TURN server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriError {
    /// No `:`.
    NoScheme,
    /// A scheme other than `stun`, `stuns`, `turn` and `turns`.
    UnknownScheme,
    /// A query other than `transport=udp` and `transport=tcp`.
    UnknownQuery,
    /// The part between the scheme and the query is not `HOST[:PORT]`.
    Authority,
}

/// Why a host name has no address.
#[derive(Debug)]
pub enum ResolveError {
    /// The resolver failed.
    Lookup {
        /// The name.
        host: String,
        /// The resolver's error.
        error: io::Error,
    },
    /// The resolver returned no address for this name.
    NoAddress(String),
}

impl ServerUri {
    /// The transport, UDP if the URI leaves it open: the choice of browsers.
    pub fn transport_or_udp(&self) -> Transport {
        self.transport.unwrap_or(Transport::Udp)
    }

    /// The distinct addresses of the host, in the resolver's order. Never an empty list.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        self.distinct(addresses)
    }

    /// [`ServerUri::resolve`] for a caller without a runtime: blocks the thread.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub fn resolve_blocking(&self) -> Result<Vec<SocketAddr>, ResolveError> {
        self.distinct((self.host.as_str(), self.port).to_socket_addrs())
    }

    fn distinct(
        &self,
        resolved: io::Result<impl Iterator<Item = SocketAddr>>,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let host = || self.host.clone();
        let resolved = resolved.map_err(|error| ResolveError::Lookup {
            host: host(),
            error,
        })?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in resolved {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match addresses.is_empty() {
            true => Err(ResolveError::NoAddress(host())),
            false => Ok(addresses),
        }
    }
}

impl FromStr for ServerUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<ServerUri, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::NoScheme)?;
        let (relays, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err(UriError::UnknownScheme),
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let transport = match (query, secure) {
            (Some("transport=udp"), false) => Some(Transport::Udp),
            (Some("transport=udp"), true) => Some(Transport::Dtls),
            (Some("transport=tcp"), false) => Some(Transport::Tcp),
            (Some("transport=tcp") | None, true) => Some(Transport::Tls),
            (None, false) => (!relays).then_some(Transport::Udp),
            (Some(_), _) => return Err(UriError::UnknownQuery),
        };
        let (host, port) = split_port(authority).ok_or(UriError::Authority)?;
        Ok(ServerUri {
            relays,
            host: host.into(),
            port: port.unwrap_or(if secure { 5349 } else { 3478 }),
            transport,
        })
    }
}

impl fmt::Display for ServerUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.relays { "turn" } else { "stun" })?;
        if matches!(self.transport, Some(Transport::Tls | Transport::Dtls)) {
            f.write_str("s")?;
        }
        match self.host.contains(':') {
            true => write!(f, ":[{}]:{}", self.host, self.port)?,
            false => write!(f, ":{}:{}", self.host, self.port)?,
        }
        match self.transport {
            Some(Transport::Udp | Transport::Dtls) if self.relays => f.write_str("?transport=udp"),
            Some(Transport::Tcp | Transport::Tls) if self.relays => f.write_str("?transport=tcp"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for UriError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self {
            UriError::NoScheme => "no scheme",
            UriError::UnknownScheme => "unknown scheme",
            UriError::UnknownQuery => "unknown query",
            UriError::Authority => "invalid host or port",
        };
        write!(
            f,
            "{reason}: expected turn:HOST[:PORT][?transport=udp|tcp], \
             turns:HOST[:PORT][?transport=tcp|udp] or stun[s]:HOST[:PORT]"
        )
    }
}

impl std::error::Error for UriError {}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResolveError::Lookup { host, error } => write!(f, "{host}: {error}"),
            ResolveError::NoAddress(host) => write!(f, "{host} has no address"),
        }
    }
}

impl std::error::Error for ResolveError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ResolveError::Lookup { error, .. } => Some(error),
            ResolveError::NoAddress(_) => None,
        }
    }
}

/// Splits `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_host_octet = |octet: u8| octet.is_ascii_graphic() && !b"/@[]".contains(&octet);
    if host.is_empty() || !host.bytes().all(is_host_octet) {
        return None;
    }
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_and_query_decide_port_and_transport() {
        for (text, relays, host, port, transport) in [
            (
                "stun:a.example",
                false,
                "a.example",
                3478,
                Some(Transport::Udp),
            ),
            (
                "stuns:a.example",
                false,
                "a.example",
                5349,
                Some(Transport::Tls),
            ),
            ("turn:a.example", true, "a.example", 3478, None),
            (
                "turn:192.0.2.1:5000?transport=tcp",
                true,
                "192.0.2.1",
                5000,
                Some(Transport::Tcp),
            ),
            (
                "turn:192.0.2.1?transport=udp",
                true,
                "192.0.2.1",
                3478,
                Some(Transport::Udp),
            ),
            (
                "TURNS:a.example",
                true,
                "a.example",
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
                "turns:a.example?transport=udp",
                true,
                "a.example",
                5349,
                Some(Transport::Dtls),
            ),
        ] {
            let uri = ServerUri {
                relays,
                host: host.into(),
                port,
                transport,
            };
            assert_eq!(text.parse(), Ok(uri.clone()), "{text}");
            assert_eq!(uri.to_string().parse(), Ok(uri), "{text}");
        }
    }

    #[test]
    fn an_invalid_uri_is_refused_with_its_reason() {
        for (text, reason) in [
            ("", UriError::NoScheme),
            ("turn", UriError::NoScheme),
            ("192.0.2.1", UriError::NoScheme),
            ("http://x", UriError::UnknownScheme),
            ("turn:", UriError::Authority),
            ("turn:x:0", UriError::Authority),
            ("turn:x:y", UriError::Authority),
            ("turn:x:70000", UriError::Authority),
            ("turn:[::1", UriError::Authority),
            ("turn://x", UriError::Authority),
            ("turn:x?transport=sctp", UriError::UnknownQuery),
            ("turns:x?a=b", UriError::UnknownQuery),
        ] {
            assert_eq!(text.parse::<ServerUri>(), Err(reason), "{text}");
        }
    }
}
