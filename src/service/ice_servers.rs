//! The value for a browser's `iceServers`: the relay's URLs, and a user name and password that
//! expire.
//!
//! Credentials follow "A REST API For Access To TURN Services", which the relay's shared-secret
//! authentication checks: the user name is `EXPIRY:NAME`, EXPIRY in seconds since 1970, and the
//! password is the base64 of HMAC-SHA1 over the user name, with a key that the relay and this
//! service share.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serde::Serialize;

use crate::turn::policy::credentials;

/// The servers and credentials that the web listener provides, and the clients that receive them.
#[derive(Clone, Debug)]
pub struct IceServers {
    /// The relay's URLs in order of preference (RFC 7064, RFC 7065): `stun:…`, `stuns:…`,
    /// `turn:…?transport=udp`, `turns:…`. [`HOST_PLACEHOLDER`] in a URL stands for the host under
    /// which the client reached this server, for a relay that listens on an unspecified address.
    pub urls: Vec<String>,
    /// Replaces [`HOST_PLACEHOLDER`] instead of the client's host.
    pub host: Option<String>,
    /// The source of credentials for TURN URLs.
    pub credentials: Credentials,
    /// Lifetime of minted credentials if the client requests none.
    pub ttl: Duration,
    /// Longest lifetime that an API key may request.
    pub max_ttl: Duration,
    /// Clients that receive credentials without authorization.
    pub access: IceAccess,
    /// Clients that may use `POST /v1/turn/keys/{key}/credentials/generate-ice-servers`.
    pub keys: Vec<ApiKey>,
}

/// The source of user names and passwords for TURN URLs. There is none for the password of a static
/// user: the web listener never discloses a password that does not expire.
#[derive(Clone)]
pub enum Credentials {
    /// None: clients receive only STUN URLs.
    None,
    /// Minted for each client.
    Minted {
        /// The secret with which the relay checks them.
        secret: String,
    },
}

/// Clients that receive credentials, from `GET /ice-servers` and with the signaling's welcome,
/// although they presented no room token and no hook admitted them. Clients with a token or
/// admitted by the hook receive them in every case. For all others `/ice-servers` refuses the
/// request, and the welcome has STUN servers only.
///
/// A page of this server is not among the choices: a program can send every header that a browser
/// sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IceAccess {
    /// A client on this host that connects directly to a loopback address.
    Loopback,
    /// Everyone, from every allowed origin.
    Public,
    /// No one.
    Nobody,
}

/// A key of the back-end API and the bearer token that must accompany it.
#[derive(Clone)]
pub struct ApiKey {
    /// The name in the path; not a secret.
    pub key: String,
    /// The bearer token; a secret.
    pub bearer: String,
}

/// The response: `{"iceServers":[…],"ttl":…}`.
#[derive(Clone, Debug, Serialize)]
pub struct IceServersResponse {
    /// One entry for all STUN URLs, one for all TURN URLs; an empty one is omitted.
    #[serde(rename = "iceServers")]
    pub ice_servers: Vec<IceServer>,
    /// Lifetime of the credentials, in seconds.
    pub ttl: u64,
}

/// An `RTCIceServer`.
#[derive(Clone, Debug, Serialize)]
pub struct IceServer {
    /// URLs of one server.
    pub urls: Vec<String>,
    /// The user name, for TURN URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// The password, for TURN URLs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// The part of a URL that is replaced by the host under which the client reached this server.
pub const HOST_PLACEHOLDER: &str = "{host}";

impl Default for IceServers {
    fn default() -> IceServers {
        IceServers {
            urls: Vec::new(),
            host: None,
            credentials: Credentials::None,
            ttl: Duration::from_secs(24 * 3_600),
            max_ttl: Duration::from_secs(48 * 3_600),
            access: IceAccess::Loopback,
            keys: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
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
    /// The servers for a client called `name` that reached this server as `host`, with credentials
    /// that are valid for `ttl` from `now`, in seconds since 1970.
    pub fn response(&self, host: &str, name: &str, now: u64, ttl: Duration) -> IceServersResponse {
        let expiry = now.saturating_add(ttl.as_secs());
        self.respond(host, self.credentials.issue(name, expiry), ttl)
    }

    /// The servers that require no credentials.
    pub fn response_without_credentials(&self, host: &str, ttl: Duration) -> IceServersResponse {
        self.respond(host, None, ttl)
    }

    /// TURN URLs without credentials are omitted because they make a browser throw.
    fn respond(
        &self,
        host: &str,
        credentials: Option<(String, String)>,
        ttl: Duration,
    ) -> IceServersResponse {
        let host = self.host.as_deref().unwrap_or(host);
        let (turn, stun): (Vec<String>, Vec<String>) = self
            .urls
            .iter()
            .map(|url| url.replace(HOST_PLACEHOLDER, host))
            .partition(|url| url.starts_with("turn"));
        let mut ice_servers = Vec::new();
        if !stun.is_empty() {
            ice_servers.push(IceServer {
                urls: stun,
                username: None,
                credential: None,
            });
        }
        if let Some((username, credential)) = credentials
            && !turn.is_empty()
        {
            ice_servers.push(IceServer {
                urls: turn,
                username: Some(username),
                credential: Some(credential),
            });
        }
        IceServersResponse {
            ice_servers,
            ttl: ttl.as_secs(),
        }
    }
}

impl Credentials {
    /// A user name and its password.
    fn issue(&self, name: &str, expiry: u64) -> Option<(String, String)> {
        match self {
            Credentials::None => None,
            Credentials::Minted { secret } => Some(mint(secret, name, expiry)),
        }
    }
}

/// The user name `EXPIRY:NAME` and its password; `expiry` is in seconds since 1970.
pub fn mint(secret: &str, name: &str, expiry: u64) -> (String, String) {
    let username = credentials::time_limited_name(expiry, Some(name));
    let password = credentials::password(secret, &username);
    (username, String::clone(&password))
}

/// The host of a `Host` header as a URL contains it: without port, IPv6 in brackets; none if it is
/// not a valid host. `localhost` becomes `local`, the address that the client reached: a browser
/// resolves that name itself, and the relay may listen on only one of the two loopback addresses.
pub fn url_host(header: &str, local: Option<IpAddr>) -> Option<String> {
    let host = match header.strip_prefix('[') {
        Some(rest) => {
            let (address, _) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            return Some(format!("[{address}]"));
        }
        None => header.split_once(':').map_or(header, |(host, _)| host),
    };
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.is_empty() || host.len() > 253 || !host.chars().all(is_valid) {
        return None;
    }
    match local {
        Some(local) if host.eq_ignore_ascii_case("localhost") => Some(url_literal(local)),
        _ => Some(host.to_ascii_lowercase()),
    }
}

/// An address as a URL contains it.
pub fn url_literal(address: IpAddr) -> String {
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
    fn the_response_is_the_value_that_browsers_expect() {
        let response = settings().response("192.0.2.1", "room/ann", 1_000, Duration::from_secs(60));
        let json = serde_json::to_value(&response).unwrap();
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
    fn the_password_equals_that_of_openssl() {
        // printf %s 1700000000:ann | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            mint("north", "ann", 1_700_000_000),
            ("1700000000:ann".into(), PASSWORD.into())
        );
    }

    #[test]
    fn turn_urls_without_credentials_are_omitted() {
        let none = IceServers {
            credentials: Credentials::None,
            ..settings()
        };
        let response = none.response("h", "n", 0, Duration::from_secs(1));
        assert_eq!(response.ice_servers.len(), 1);
    }

    #[test]
    fn hosts_of_headers_are_valid_in_urls() {
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
            assert_eq!(url_host(header, local).as_deref(), host, "{header}");
        }
    }

    const PASSWORD: &str = "jeamH6dA5l2I9g3jmieza7CzEDo=";
}
