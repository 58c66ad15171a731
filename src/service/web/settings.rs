//! The operator's decisions about the web listener, resolved from the configuration.

use std::time::Duration;

use crate::service::ice_servers::IceServers;
use crate::service::signaling::{Limits, RoomHook, RoomTokens};

/// The settings of the web listener. A reload replaces them whole
/// ([`super::Web::replace_settings`]); open WebSockets keep the limits under which they were
/// opened.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// The ICE servers, and the clients that may fetch them.
    pub ice: IceServers,
    /// The limits of the signaling.
    pub limits: Limits,
    /// The pages that may use the signaling and, if they may fetch them, the ICE servers.
    pub origins: Origins,
    /// Room access tokens; without them any client may enter any room.
    pub tokens: Option<RoomTokens>,
    /// The authentication hook, asked after the access token was checked.
    pub hook: Option<RoomHook>,
    /// Maximum number of HTTP connections on all listeners together, without WebSockets; further
    /// ones wait. A reload does not change it.
    pub http_connections: usize,
    /// Time that a client has for the head of a request, for its body, for accepting some of a
    /// response, and between requests.
    pub http_timeout: Duration,
}

/// The allowed values of the `Origin` header. A request without the header does not come from a
/// page and is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Only pages that were loaded from the host of the request.
    Same,
    /// Those, and the origins of this list, each `scheme://host[:port]`.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl WebSettings {
    /// Returns true if a client must show a token or pass the hook before it enters a room.
    pub fn guards_rooms(&self) -> bool {
        self.tokens.is_some() || self.hook.is_some()
    }
}

impl Origins {
    /// Returns true if the operator listed `origin`.
    pub fn lists(&self, origin: &str) -> bool {
        match self {
            Origins::Listed(list) => list
                .iter()
                .any(|listed| listed.trim_end_matches('/').eq_ignore_ascii_case(origin)),
            Origins::Same | Origins::Any => false,
        }
    }
}

impl Default for WebSettings {
    fn default() -> WebSettings {
        WebSettings {
            ice: IceServers::default(),
            limits: Limits::default(),
            origins: Origins::Same,
            tokens: None,
            hook: None,
            http_connections: 1_024,
            http_timeout: Duration::from_secs(10),
        }
    }
}
