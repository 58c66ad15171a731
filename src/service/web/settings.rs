//! What the operator decides about the web listener. Plain data, resolved elsewhere.

use std::time::Duration;

use crate::service::ice_servers::IceServers;
use crate::service::signaling::{Bounds, Hook, RoomTokens};

/// Everything about the web listener. Replaced whole on reload ([`super::Web::replace`]); who is connected keeps the
/// bounds it came in under.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers handed out, and to whom.
    pub ice: IceServers,
    /// The signaling's bounds.
    pub bounds: Bounds,
    /// Which pages may use the signaling and, where it is open to them, the ICE servers.
    pub origins: Origins,
    /// Room access tokens; without, whoever reaches the server may enter any room.
    pub tokens: Option<RoomTokens>,
    /// The authentication hook, asked after the access token.
    pub hook: Option<Hook>,
    /// How many HTTP connections are served at once, by whatever listener they came, WebSockets not counted; more wait.
    pub connections: usize,
    /// How long a client may take to send a request's head, and its body, to read an answer before something of it gets
    /// through, and to keep a connection without a request.
    pub patience: Duration,
}

/// Which values of the `Origin` header are admitted. Requests without one (programs that are not browsers) are always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Only pages which came from the host that the request goes to.
    Same,
    /// These too, each as `scheme://host[:port]`.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Origins {
    /// Whether an operator wrote this very origin down.
    pub fn lists(&self, origin: &str) -> bool {
        let same = |listed: &String| listed.trim_end_matches('/').eq_ignore_ascii_case(origin);
        matches!(self, Origins::Listed(list) if list.iter().any(same))
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            ice: IceServers::default(),
            bounds: Bounds::default(),
            origins: Origins::Same,
            tokens: None,
            hook: None,
            connections: 1_024,
            patience: Duration::from_secs(10),
        }
    }
}
