//! The live relayed transport addresses of all shards: who asks is an allocation whose peer is one of this server's own
//! addresses, and the answer tells whether another allocation is there.

use crate::turn::ids::five_tuple::Peer;
use crate::turn::ids::relayed::Protocol;
use foldhash::quality::RandomState;
use papaya::HashMap;
use std::net::SocketAddr;

/// Every live relayed transport address, as clients are told it. Written when an allocation starts or ends, read when
/// a peer's address is one of the server's own.
#[derive(Debug, Default)]
pub struct Relays {
    /// Key: a relayed transport address, which the server chose. Keyed hasher all the same: clients choose what to ask.
    /// Lock-free: any shard reads while another writes.
    table: HashMap<Peer, RelayedEntry, RandomState>,
}

/// Where a live relayed transport address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedEntry {
    /// The shard that owns it.
    pub shard: u16,
    /// What is relayed there.
    pub protocol: Protocol,
    /// What its socket is bound to, which differs from what clients are told behind a 1:1 NAT.
    pub local: SocketAddr,
}

impl Relays {
    /// Enters a relayed transport address.
    pub fn insert(&self, external: SocketAddr, relay: RelayedEntry) {
        self.table.pin().insert(Peer(external), relay);
    }

    /// Forgets one.
    pub fn remove(&self, external: SocketAddr) {
        self.table.pin().remove(&Peer(external));
    }

    /// Who is behind a transport address, if it is a live relayed one.
    pub fn find(&self, external: SocketAddr) -> Option<RelayedEntry> {
        self.table.pin().get(&Peer(external)).copied()
    }
}
