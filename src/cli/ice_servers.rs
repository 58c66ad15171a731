//! What a browser's `RTCPeerConnection` takes, as `serve` and `credentials` print it.

use crate::config::CredentialSource;
use crate::service::ice_servers::IceServer;
use crate::turn::policy::credentials;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A username and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCredentials {
    /// The username.
    pub username: String,
    /// The password.
    pub password: String,
}

impl UserCredentials {
    /// Credentials that expire after `ttl`, for `user` or nobody in particular.
    pub fn time_limited(secret: &str, user: Option<&str>, ttl: Duration) -> UserCredentials {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let username = credentials::time_limited_name(now.saturating_add(ttl).as_secs(), user);
        let password = credentials::password(secret, &username).to_string();
        UserCredentials { username, password }
    }

    /// Credentials that a server with this login takes; they last for a day where they expire.
    pub fn from_source(login: &CredentialSource) -> UserCredentials {
        match login {
            CredentialSource::Secret { secret, .. } => {
                UserCredentials::time_limited(secret, Some(SOMEBODY), DAY)
            }
            CredentialSource::User { name, password } => UserCredentials {
                username: name.clone(),
                password: password.clone(),
            },
        }
    }
}

/// The object to paste into `new RTCPeerConnection(…)`, on one line; each server is `HOST:PORT`, those of `secure` by TLS.
pub fn json(servers: &[String], secure: &[String], pair: &UserCredentials) -> String {
    let stun = servers
        .iter()
        .map(|server| format!("stun:{server}"))
        .collect();
    let turn = turn_urls(servers, secure).collect();
    let entries = [
        IceServer {
            urls: stun,
            username: None,
            credential: None,
        },
        IceServer {
            urls: turn,
            username: Some(pair.username.clone()),
            credential: Some(pair.password.clone()),
        },
    ];
    serde_json::to_string(&Configuration {
        ice_servers: entries,
    })
    .unwrap_or_default()
}

/// An `RTCConfiguration`.
#[derive(Serialize)]
struct Configuration {
    #[serde(rename = "iceServers")]
    ice_servers: [IceServer; 2],
}

/// The URLs for the web listener, which fills in the host that the asker used where any host leads here.
pub fn urls(servers: &[String], secure: &[String]) -> Vec<String> {
    let stun = servers.iter().map(|server| format!("stun:{server}"));
    stun.chain(turn_urls(servers, secure)).collect()
}

fn turn_urls(servers: &[String], secure: &[String]) -> impl Iterator<Item = String> {
    let each = |server: &String| {
        ["udp", "tcp"].map(|transport| format!("turn:{server}?transport={transport}"))
    };
    let secure = secure
        .iter()
        .map(|server| format!("turns:{server}?transport=tcp"));
    servers.iter().flat_map(each).chain(secure)
}

/// A secret that nobody can guess: 192 random bits as text; empty, and so refused, where there is no randomness.
pub fn random_secret() -> String {
    let mut octets = [0; 24];
    match getrandom::fill(&mut octets) {
        Ok(()) => URL_SAFE_NO_PAD.encode(octets),
        Err(_) => String::new(),
    }
}

/// The user in whose name credentials are printed at a server's start.
const SOMEBODY: &str = "hairpin";
const DAY: Duration = Duration::from_secs(86_400);
