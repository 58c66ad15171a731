//! What a browser puts into `iceServers`: the relay's URLs, and a user name and password that expire.
//!
//! Credentials follow the convention that the relay's shared-secret authentication checks ("A REST API For Access To
//! TURN Services"): the user name is `EXPIRY:NAME`, EXPIRY in seconds since 1970, and the password is the base64 of
//! HMAC-SHA1 over the user name, keyed by a secret which the relay and this service share.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::turn::policy::credentials;

/// Which servers are handed out, and with what credentials. Plain data, resolved elsewhere.
#[derive(Clone, Debug)]
pub struct IceServers {
    /// The relay's URLs in the order of preference (RFC 7064, RFC 7065): `stun:…`, `stuns:…`, `turn:…?transport=udp`,
    /// `turns:…`. [`HOST`] in one of them stands for the host that the asker itself reached us under, for a relay
    /// that listens on a wildcard address.
    pub urls: Vec<String>,
    /// The host to put for [`HOST`] always, instead of what the asker says.
    pub host: Option<String>,
    /// How the credentials of TURN URLs come to be.
    pub credentials: Credentials,
    /// How long minted credentials are valid where the asker does not say.
    pub ttl: Duration,
    /// The longest validity that an API key may ask for.
    pub longest_ttl: Duration,
    /// Who may ask `GET /ice-servers`.
    pub open: Open,
    /// Who may ask `POST /v1/turn/keys/{key}/credentials/generate-ice-servers`.
    pub keys: Vec<ApiKey>,
}

/// Where the user name and password of TURN URLs come from.
#[derive(Clone)]
pub enum Credentials {
    /// No credentials at all: only STUN URLs are handed out.
    None,
    /// The same for everybody; they do not expire.
    Fixed {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// Minted for each asker from the secret that the relay checks them with.
    Minted {
        /// The shared secret.
        secret: String,
    },
}

/// Who may ask `GET /ice-servers` (a cross-site page never may), and gets credentials with the signaling's welcome, as
/// everybody does who had to show a room token or was let in by the hook; others are welcome with what needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Loopback, and pages of this very origin that name a room which they may enter; with a welcome whoever enters one.
    Page,
    /// Loopback only: an asker on this machine, by address or as localhost, and not through a reverse proxy.
    Loopback,
    /// Anyone, from any origin that the origin policy admits.
    Anyone,
    /// Nobody: API keys ask.
    Nobody,
}

/// A key of the back-end API, and the bearer token that must come with it.
#[derive(Clone)]
pub struct ApiKey {
    /// The name in the path; not a secret.
    pub key: String,
    /// The bearer token; a secret.
    pub bearer: String,
}

/// The answer that goes out: `{"iceServers":[…],"ttl":…}`.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// One entry for all STUN URLs, one for all TURN URLs; either is left out when it would be empty.
    #[serde(rename = "iceServers")]
    pub ice_servers: Vec<Entry>,
    /// How many seconds the credentials stay valid.
    pub ttl: u64,
}

/// One `RTCIceServer`.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its URLs, one server reached in several ways.
    pub urls: Vec<String>,
    /// `EXPIRY:NAME`, with TURN URLs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, with TURN URLs only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The part of a URL that is replaced by the host which the asker reached us under.
pub const HOST: &str = "{host}";

impl Default for IceServers {
    fn default() -> IceServers {
        IceServers {
            urls: Vec::new(),
            host: None,
            credentials: Credentials::None,
            ttl: Duration::from_secs(86_400),
            longest_ttl: Duration::from_secs(172_800),
            open: Open::Page,
            keys: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Fixed { .. } => "Fixed(…)",
            Credentials::Minted { .. } => "Minted(…)",
        })
    }
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({}, …)", self.key)
    }
}

impl IceServers {
    /// The servers for one asker called `name`, who reached us as `host`, at `now` seconds since 1970, valid for `ttl`.
    ///
    /// TURN URLs are left out where there are no credentials for them: a browser throws on a TURN URL without any.
    pub fn answer(&self, host: &str, name: &str, now: u64, ttl: Duration) -> Answer {
        self.answer_with(host, self.credentials.of(name, now, ttl), ttl)
    }

    /// The servers for somebody who may have no credentials: those that ask for none.
    pub fn answer_stranger(&self, host: &str, ttl: Duration) -> Answer {
        self.answer_with(host, None, ttl)
    }

    fn answer_with(
        &self,
        host: &str,
        credentials: Option<(String, String)>,
        ttl: Duration,
    ) -> Answer {
        let host = self.host.as_deref().unwrap_or(host);
        let (turn, stun): (Vec<String>, Vec<String>) = self
            .urls
            .iter()
            .map(|url| url.replace(HOST, host))
            .partition(|url| url.starts_with("turn"));
        let mut ice_servers = Vec::new();
        if !stun.is_empty() {
            ice_servers.push(Entry {
                urls: stun,
                username: None,
                credential: None,
            });
        }
        if let Some((username, credential)) = credentials
            && !turn.is_empty()
        {
            ice_servers.push(Entry {
                urls: turn,
                username: Some(username),
                credential: Some(credential),
            });
        }
        Answer {
            ice_servers,
            ttl: ttl.as_secs(),
        }
    }
}

impl Credentials {
    fn of(&self, name: &str, now: u64, ttl: Duration) -> Option<(String, String)> {
        match self {
            Credentials::None => None,
            Credentials::Fixed { username, password } => Some((username.clone(), password.clone())),
            Credentials::Minted { secret } => {
                Some(mint(secret, name, now.saturating_add(ttl.as_secs())))
            }
        }
    }
}

/// The user name `EXPIRY:NAME` and its password, from the shared `secret`; `expiry` in seconds since 1970.
pub fn mint(secret: &str, name: &str, expiry: u64) -> (String, String) {
    let username = credentials::time_limited_name(expiry, Some(name));
    let password = credentials::password(secret, &username);
    (username, String::clone(&password))
}

/// The host part of a `Host` header, fit to stand in a URL: without its port, IPv6 in brackets; none if it is not a
/// host at all. `localhost` becomes `local`, the address that was reached: a browser resolves that name by itself,
/// but the relay need not listen on both loopback addresses.
pub fn host_of(header: &str, local: Option<IpAddr>) -> Option<String> {
    let host = match header.strip_prefix('[') {
        Some(rest) => {
            let (address, _) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            return Some(format!("[{address}]"));
        }
        None => header.split_once(':').map_or(header, |(host, _)| host),
    };
    let proper = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(proper) {
        return None;
    }
    match local {
        Some(local) if host.eq_ignore_ascii_case("localhost") => Some(literal(local)),
        _ => Some(host.to_ascii_lowercase()),
    }
}

/// An address as it stands in a URL.
pub fn literal(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> IceServers {
        IceServers {
            urls: [
                "stun:{host}:3478",
                "turn:{host}:3478?transport=udp",
                "turns:relay.example:5349",
            ]
            .map(String::from)
            .into(),
            credentials: Credentials::Minted {
                secret: "north".into(),
            },
            ..IceServers::default()
        }
    }

    #[test]
    fn the_answer_has_the_shape_that_browsers_take() {
        let answer = settings().answer("192.0.2.1", "room/ann", 1_000, Duration::from_secs(60));
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(
            json["iceServers"][0],
            serde_json::json!({"urls": ["stun:192.0.2.1:3478"]})
        );
        assert_eq!(
            json["iceServers"][1]["urls"],
            serde_json::json!([
                "turn:192.0.2.1:3478?transport=udp",
                "turns:relay.example:5349"
            ])
        );
        assert_eq!(json["iceServers"][1]["username"], "1060:room/ann");
        assert_eq!(json["ttl"], 60);
    }

    #[test]
    fn the_password_is_what_openssl_says() {
        // printf %s 1700000000:ann | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            mint("north", "ann", 1_700_000_000),
            ("1700000000:ann".into(), PASSWORD.into())
        );
    }

    #[test]
    fn turn_without_credentials_is_left_out() {
        let none = IceServers {
            credentials: Credentials::None,
            ..settings()
        };
        let answer = none.answer("h", "n", 0, Duration::from_secs(1));
        assert_eq!(answer.ice_servers.len(), 1);
    }

    #[test]
    fn hosts_come_out_of_headers_fit_for_urls() {
        let local = Some("127.0.0.1".parse().unwrap());
        for (header, host) in [
            ("call.example:8080", Some("call.example")),
            ("CALL.example", Some("call.example")),
            ("localhost:8080", Some("127.0.0.1")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]")),
            ("[::1", None),
            ("", None),
            ("evil\"quote", None),
            ("a b", None),
        ] {
            assert_eq!(host_of(header, local).as_deref(), host, "{header}");
        }
    }

    const PASSWORD: &str = "jeamH6dA5l2I9g3jmieza7CzEDo=";
}
