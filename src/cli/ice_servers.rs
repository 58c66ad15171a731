//! The `iceServers` object that `serve` and `credentials` print, and the URLs in it.

use crate::config::CredentialSource;
use crate::service::ice_servers::IceServer;
use crate::turn::policy::credentials;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A user name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserCredentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

impl UserCredentials {
    /// Credentials that expire after `ttl`.
    pub(crate) fn time_limited(secret: &str, user: Option<&str>, ttl: Duration) -> UserCredentials {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let username = credentials::time_limited_name(now.saturating_add(ttl).as_secs(), user);
        let password = credentials::password(secret, &username).to_string();
        UserCredentials { username, password }
    }

    /// Credentials that the server accepts: a static user's, or time-limited credentials for a day.
    pub(crate) fn from_source(source: &CredentialSource) -> UserCredentials {
        match source {
            CredentialSource::Secret { secret, .. } => {
                UserCredentials::time_limited(secret, Some(STARTUP_USER), DAY)
            }
            CredentialSource::User { name, password } => UserCredentials {
                username: name.clone(),
                password: password.clone(),
            },
        }
    }
}

/// The argument of `new RTCPeerConnection(…)` on one line. All servers are `HOST:PORT`; the
/// servers in `tls_servers` speak TLS.
pub(crate) fn json(
    servers: &[String],
    tls_servers: &[String],
    credentials: &UserCredentials,
) -> String {
    let stun = IceServer {
        urls: stun_urls(servers).collect(),
        username: None,
        credential: None,
    };
    let turn = IceServer {
        urls: turn_urls(servers, tls_servers).collect(),
        username: Some(credentials.username.clone()),
        credential: Some(credentials.password.clone()),
    };
    let configuration = RtcConfiguration {
        ice_servers: [stun, turn],
    };
    serde_json::to_string(&configuration).unwrap_or_default()
}

#[derive(Serialize)]
struct RtcConfiguration {
    #[serde(rename = "iceServers")]
    ice_servers: [IceServer; 2],
}

/// The URLs that the web listener gives to clients.
pub(crate) fn urls(servers: &[String], tls_servers: &[String]) -> Vec<String> {
    stun_urls(servers)
        .chain(turn_urls(servers, tls_servers))
        .collect()
}

fn stun_urls(servers: &[String]) -> impl Iterator<Item = String> {
    servers.iter().map(|server| format!("stun:{server}"))
}

fn turn_urls(servers: &[String], tls_servers: &[String]) -> impl Iterator<Item = String> {
    let plain = servers.iter().flat_map(|server| {
        ["udp", "tcp"].map(|transport| format!("turn:{server}?transport={transport}"))
    });
    let secure = tls_servers
        .iter()
        .map(|server| format!("turns:{server}?transport=tcp"));
    plain.chain(secure)
}

/// A secret of 192 random bits as text. Empty, and so refused by the configuration, if the system
/// has no randomness.
pub(crate) fn random_secret() -> String {
    let mut octets = [0; 24];
    match getrandom::fill(&mut octets) {
        Ok(()) => URL_SAFE_NO_PAD.encode(octets),
        Err(_) => String::new(),
    }
}

/// The user in the credentials of the startup report.
const STARTUP_USER: &str = "hairpin";
const DAY: Duration = Duration::from_secs(86_400);
