//! What is remembered of clients that move: by the shard of their allocation, and by the one that they moved to.

use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::time::Instant;
use crate::wire::TransactionId;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::time::Duration;

/// What a mobile allocation has besides.
#[derive(Clone, Debug, Default)]
pub struct Mobility {
    /// How many tickets it had before the one that is good now.
    pub generation: u32,
    /// The client on the five-tuple to which it moves.
    pub arriving: Option<Client>,
    /// The transaction of the last Refresh that moved it: a retransmission gets the same answer.
    pub moved_by: Option<TransactionId>,
    /// Whether the client's connection is gone, so that the allocation waits for it to come back with its ticket.
    pub away: bool,
}

/// The clients whose allocation lives on another shard.
#[derive(Debug, Default)]
pub struct ForeignClients {
    /// Key: five-tuples of clients that showed a good ticket and good credentials. Read for packets that have neither a
    /// route nor an allocation here. Keyed hasher (foldhash, seeded at start).
    home: HashMap<FiveTuple, (u16, Instant), RandomState>,
}

impl ForeignClients {
    /// Notes a guest and its home. When there are too many those that have been silent are forgotten, else the guest is.
    pub fn welcome(&mut self, now: Instant, client: &FiveTuple, shard: u16) {
        if self.home.len() >= MOST_GUESTS {
            self.home.retain(|_, (_, until)| now < *until);
        }
        if self.home.len() < MOST_GUESTS {
            self.home.insert(*client, (shard, now + SILENCE));
        }
    }

    /// The home of a guest, which stays one for as long again.
    pub fn home(&mut self, now: Instant, client: &FiveTuple) -> Option<u16> {
        if self.home.is_empty() {
            return None;
        }
        let (shard, until) = self.home.get_mut(client)?;
        *until = now + SILENCE;
        Some(*shard)
    }

    /// Whether somebody is a guest.
    pub fn has(&self, client: &FiveTuple) -> bool {
        self.home.contains_key(client)
    }

    /// Forgets a guest.
    pub fn forget(&mut self, client: &FiveTuple) {
        self.home.remove(client);
    }
}

/// After this a guest that sends nothing is forgotten when there are too many.
const SILENCE: Duration = Duration::from_secs(600);
/// The most guests of a shard.
const MOST_GUESTS: usize = 65_536;
