//! Identifiers of relayed transport addresses. RFC 8656 §2.

/// One relayed transport address of a shard, and so one relay socket: an index that is reused after
/// [`crate::turn::Effect::Unbind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayedId(pub u32);

/// What an allocation relays: REQUESTED-TRANSPORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// UDP datagrams. RFC 8656.
    Udp,
    /// TCP connections. RFC 6062.
    Tcp,
}
