//! A realm: who its users are and which peers they may reach. RFC 8489 §9.2.

use super::Credentials;
use crate::turn::acl::Acl;
use std::sync::Arc;

/// One realm of the server.
#[derive(Clone, Debug)]
pub struct Realm {
    /// What REALM says.
    pub name: Arc<str>,
    /// Who may allocate.
    pub credentials: Credentials,
    /// Which peers they may reach.
    pub peers: Acl,
}

impl Realm {
    /// A realm without users.
    pub fn new(name: &str) -> Realm {
        Realm { name: name.into(), credentials: Credentials::new(), peers: Acl::default() }
    }
}
