//! The state that the shards of a server share. None of it is on the packet path of an established
//! channel.

pub(crate) mod directory;
pub(crate) mod hairpin_routes;
pub(crate) mod mobility_ticket;
pub(crate) mod realm_ids;

use crate::turn::allocation::reservation::Reservations;
use crate::turn::auth::nonce::NonceKey;
use crate::turn::quota::answer_rate::AnswerRate;
use crate::turn::quota::ledger::Ledger;
use crate::turn::quota::ports::Ports;
use crate::turn::shared::directory::Directory;
use crate::turn::shared::hairpin_routes::HairpinRoutes;
use crate::turn::shared::mobility_ticket::TicketKey;
use crate::turn::shared::realm_ids::RealmIds;
use std::sync::Arc;

/// The shared state of a server; every shard holds a reference.
#[derive(Debug)]
pub struct Shared {
    /// Counts of allocations, and shared bandwidth limits.
    pub ledger: Arc<Ledger>,
    /// The relayed ports in use.
    pub ports: Arc<Ports>,
    /// The owners of clients, the live relayed addresses, and the data connections to be bound.
    pub directory: Arc<Directory>,
    /// Ids of the realms that TLS server names selected.
    pub realm_ids: RealmIds,
    /// Routes to clients of other shards.
    pub hairpin_routes: HairpinRoutes,
    /// The server has more than one shard.
    pub multiple_shards: bool,
    /// The reserved ports.
    pub reservations: Reservations,
    /// Limits unauthenticated responses.
    pub answer_rate: AnswerRate,
    /// Seals nonces. Shared because the next connection of a client may reach another shard.
    pub nonce_key: NonceKey,
    /// Seals mobility tickets.
    pub ticket_key: TicketKey,
}

impl Shared {
    /// The state of a server with the relayed ports `ports`. `seed` is 32 octets of randomness;
    /// `answer_rate` is in unauthenticated responses per second and source prefix, 0 for no limit.
    pub fn new(ports: Ports, seed: [u8; 32], answer_rate: u32) -> Shared {
        let ports = Arc::new(ports);
        Shared {
            ledger: Arc::default(),
            directory: Arc::default(),
            realm_ids: RealmIds::default(),
            hairpin_routes: HairpinRoutes::default(),
            multiple_shards: true,
            reservations: Reservations::new(ports.clone()),
            ports,
            answer_rate: AnswerRate::new(answer_rate, seed),
            nonce_key: NonceKey::new(seed),
            ticket_key: TicketKey::new(seed),
        }
    }
}
