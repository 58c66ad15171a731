//! What a shard needs to tell what a connection or datagram is, and to let it in.

use crate::net::dtls::DtlsServer;
use crate::relay::client::handshake_limit::{HandshakeLimit, HandshakeLimits};
use crate::relay::plan::SecureTransports;
use crate::turn::{Policy, Setup, Shared};
use std::sync::Arc;

/// What a shard lets clients in by.
pub(crate) struct Gate {
    /// What is spoken beside plain STUN and TURN.
    pub(crate) secure: SecureTransports,
    /// What DTLS begins with.
    pub(crate) dtls: Option<Arc<DtlsServer>>,
    /// HandshakeLimits that are not done.
    pub(crate) handshakes: HandshakeLimit,
    /// What the protocol goes by.
    pub(crate) policy: Arc<Policy>,
    /// What shards have in common.
    pub(crate) shared: Arc<Shared>,
}

impl Gate {
    /// With these terms, and nobody at it yet.
    pub(crate) fn new(
        secure: SecureTransports,
        dtls: Option<Arc<DtlsServer>>,
        bounds: HandshakeLimits,
        setup: &Setup,
    ) -> Gate {
        let (policy, shared) = (setup.policy.clone(), setup.shared.clone());
        Gate {
            secure,
            dtls,
            handshakes: HandshakeLimit::new(bounds),
            policy,
            shared,
        }
    }
}
