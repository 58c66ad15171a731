//! A realm: who its users are and which peers they may reach. RFC 8489 §9.2.

use crate::turn::policy::access_token::TokenKeys;
use crate::turn::policy::acl::Acl;
use crate::turn::policy::credentials::Credentials;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::opaque::prepared;
use std::net::SocketAddr;
use std::sync::Arc;

/// One realm of the server.
#[derive(Clone, Debug)]
pub struct Realm {
    /// What REALM says, prepared by OpaqueString.
    pub name: Arc<str>,
    /// Who may allocate.
    pub credentials: Credentials,
    /// Which third parties may authorize users (RFC 7635).
    pub tokens: TokenKeys,
    /// Which peers they may reach.
    pub peers: Acl,
    /// What its users may have, where that is not what the server's policy says for all.
    pub limits: Option<Limits>,
    /// The values of ORIGIN that choose this realm.
    pub origins: Vec<String>,
    /// The TLS server names that do.
    pub server_names: Vec<String>,
    /// The listeners that do; an unspecified address stands for any.
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

    /// Whether a client of the listener `server` is offered this realm.
    pub fn listens(&self, server: SocketAddr) -> bool {
        let matches = |listener: &SocketAddr| {
            listener.port() == server.port()
                && (listener.ip().is_unspecified() || listener.ip() == server.ip())
        };
        self.listeners.iter().any(matches)
    }
}
