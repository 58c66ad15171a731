//! What a shard needs to tell what a connection or datagram is, and to let it in.

use super::handshakes::{Handshakes, UnderWay};
use super::plan::Secure;
use crate::net::dtls::Dtls;
use crate::turn::{Policy, Setup, Shared};
use std::sync::Arc;

/// What a shard lets clients in by.
pub(super) struct Gate {
    /// What is spoken beside plain STUN and TURN.
    pub(super) secure: Secure,
    /// What DTLS begins with.
    pub(super) dtls: Option<Arc<Dtls>>,
    /// Handshakes that are not done.
    pub(super) under_way: UnderWay,
    /// What the protocol goes by.
    pub(super) policy: Arc<Policy>,
    /// What shards have in common.
    pub(super) shared: Arc<Shared>,
}

impl Gate {
    /// With these terms, and nobody at it yet.
    pub(super) fn new(secure: Secure, dtls: Option<Arc<Dtls>>, bounds: Handshakes, setup: &Setup) -> Gate {
        let (policy, shared) = (setup.policy.clone(), setup.shared.clone());
        Gate { secure, dtls, under_way: UnderWay::new(bounds), policy, shared }
    }
}
