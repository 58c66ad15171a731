//! Where clients' allocations live, by five-tuple. The kernel spreads a listener's datagrams over the shards by a hash that
//! keeps for as long as the sockets of that address do. When sockets of it come or go (another server takes the port over,
//! a listener is changed by a reload), a client may be heard by another shard from one packet to the next: that shard finds
//! here who knows it. Connections stay where they were accepted, so only datagrams' five-tuples are entered.

use crate::turn::ids::five_tuple::FiveTuple;
use foldhash::quality::RandomState;
use papaya::HashMap;
use std::hash::BuildHasher;

/// All clients of a server with several shards that come by datagrams: some 50 octets each.
#[derive(Debug, Default)]
pub struct Homes {
    /// Makes the keys, of what clients choose. Seeded at start.
    hasher: RandomState,
    /// Key: a five-tuple's hash. Two that have the same are one in 2⁶⁴, and who is sent to the wrong shard is told 437.
    /// Written when an allocation starts or ends, read for packets of clients that a shard does not know. Lock-free.
    table: HashMap<u64, u16, RandomState>,
}

impl Homes {
    /// Enters a client of a shard.
    pub fn enter(&self, client: &FiveTuple, shard: u16) {
        if let Some(key) = self.key(client) {
            self.table.pin().insert(key, shard);
        }
    }

    /// Forgets it, unless it is another shard's by now.
    pub fn forget(&self, client: &FiveTuple, shard: u16) {
        if let Some(key) = self.key(client) {
            let _ = self.table.pin().remove_if(&key, |_, home| *home == shard);
        }
    }

    /// The shard of a client.
    pub fn find(&self, client: &FiveTuple) -> Option<u16> {
        self.table.pin().get(&self.key(client)?).copied()
    }

    /// What a client is entered under; `None` for one on a stream.
    fn key(&self, client: &FiveTuple) -> Option<u64> {
        (!client.transport.is_stream()).then(|| self.hasher.hash_one(client))
    }
}
