//! What stands for a relayed transport address: its number, and what is relayed there. RFC 8656 §2.

/// One relayed transport address of a shard, and so one socket: a small number that is used again after
/// [`crate::turn::Effect::Unbind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayedId(pub u32);

/// What an allocation relays: REQUESTED-TRANSPORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams. RFC 8656.
    Udp,
    /// Connections. RFC 6062.
    Tcp,
}
