//! The clients that a shard receives although another shard has their allocation.
//!
//! A client that moves over a connection (RFC 8016) may be accepted by any shard. Its ticket names
//! the owner; from then on this shard forwards what the client sends. Clients on datagrams are
//! found in the directory of all shards instead.

use crate::turn::ids::five_tuple::FiveTuple;
use crate::turn::ids::time::Instant;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// The foreign clients of a shard and the shards that own their allocations.
#[derive(Debug, Default)]
pub struct ForeignClients {
    /// Key: five-tuples of clients that presented a valid ticket. Reader: packets without route and
    /// allocation on this shard. Hasher: foldhash, seeded at start.
    clients: HashMap<FiveTuple, ForeignClient, RandomState>,
}

#[derive(Clone, Copy, Debug)]
struct ForeignClient {
    shard: u16,
    idle_after: Instant,
}

impl ForeignClients {
    /// Adds a client. If there are too many, idle ones are removed; if none is idle, the client is
    /// not added.
    pub fn insert(&mut self, now: Instant, client: &FiveTuple, shard: u16) {
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.retain(|_, client| now < client.idle_after);
        }
        if self.clients.len() < MAX_CLIENTS {
            self.clients.insert(
                *client,
                ForeignClient {
                    shard,
                    idle_after: now + IDLE_TIMEOUT,
                },
            );
        }
    }

    /// The owner of the client's allocation. The client counts as active.
    pub fn shard_of(&mut self, now: Instant, client: &FiveTuple) -> Option<u16> {
        if self.clients.is_empty() {
            return None;
        }
        let client = self.clients.get_mut(client)?;
        client.idle_after = now + IDLE_TIMEOUT;
        Some(client.shard)
    }

    /// Returns true if the client is a foreign one.
    pub fn contains(&self, client: &FiveTuple) -> bool {
        self.clients.contains_key(client)
    }

    /// Removes a client.
    pub fn remove(&mut self, client: &FiveTuple) {
        self.clients.remove(client);
    }
}

/// The time after which a client that sends nothing may be removed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Bounds the memory of a shard's foreign clients.
const MAX_CLIENTS: usize = 65_536;
