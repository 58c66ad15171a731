//! What a shard needs to tell what a connection or datagram is, and to let it in.

use crate::net::dtls::association::DtlsServer;
use crate::relay::client::handshake_limit::{Handshakes, UnderWay};
use crate::relay::plan::Secure;
use crate::turn::{Policy, Setup, Shared};
use std::sync::Arc;

/// What a shard lets clients in by.
pub(crate) struct Gate {
    /// What is spoken beside plain STUN and TURN.
    pub(crate) secure: Secure,
    /// What DTLS begins with.
    pub(crate) dtls: Option<Arc<DtlsServer>>,
    /// Handshakes that are not done.
    pub(crate) under_way: UnderWay,
    /// What the protocol goes by.
    pub(crate) policy: Arc<Policy>,
    /// What shards have in common.
    pub(crate) shared: Arc<Shared>,
}

impl Gate {
    /// With these terms, and nobody at it yet.
    pub(crate) fn new(
        secure: Secure,
        dtls: Option<Arc<DtlsServer>>,
        bounds: Handshakes,
        setup: &Setup,
    ) -> Gate {
        let (policy, shared) = (setup.policy.clone(), setup.shared.clone());
        Gate {
            secure,
            dtls,
            under_way: UnderWay::new(bounds),
            policy,
            shared,
        }
    }
}
