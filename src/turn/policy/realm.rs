//! A realm: its users, their limits, and the peers that they may reach. RFC 8489 §9.2.

use crate::turn::policy::access_token::TokenKeys;
use crate::turn::policy::acl::Acl;
use crate::turn::policy::credentials::Credentials;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::opaque::prepared;
use std::net::SocketAddr;
use std::sync::Arc;

/// One realm.
#[derive(Clone, Debug)]
pub struct Realm {
    /// The value of REALM, prepared by the profile OpaqueString.
    pub name: Arc<str>,
    /// The users.
    pub credentials: Credentials,
    /// The keys of authorization servers (RFC 7635).
    pub tokens: TokenKeys,
    /// The peers that its users may reach.
    pub peers: Acl,
    /// The limits of its users; `None` for the limits of the server.
    pub limits: Option<Limits>,
    /// Values of ORIGIN that select this realm.
    pub origins: Vec<String>,
    /// TLS server names that select this realm.
    pub server_names: Vec<String>,
    /// Listeners that select this realm. An unspecified address matches every address.
    pub listeners: Vec<SocketAddr>,
}

impl Realm {
    /// A realm without users.
    pub fn new(name: &str) -> Realm {
        Realm {
            name: prepared(name).into(),
            credentials: Credentials::new(),
            tokens: TokenKeys::default(),
            peers: Acl::default(),
            limits: None,
            origins: Vec::new(),
            server_names: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Returns true if the listener at `server` selects this realm.
    pub fn has_listener(&self, server: SocketAddr) -> bool {
        let matches = |listener: &SocketAddr| {
            listener.port() == server.port()
                && (listener.ip().is_unspecified() || listener.ip() == server.ip())
        };
        self.listeners.iter().any(matches)
    }
}
