//! What all shards of a server have in common. None of it is on the packet path of an established channel.

pub(crate) mod connection_ids;
pub(crate) mod hairpin_routes;
pub(crate) mod homes;
pub(crate) mod mobility_ticket;
pub(crate) mod realm_ids;
pub(crate) mod relays;

use crate::turn::allocation::reservation::Reservations;
use crate::turn::auth::nonce::NonceKey;
use crate::turn::quota::answer_rate::AnswerRate;
use crate::turn::quota::ledger::Ledger;
use crate::turn::quota::ports::Ports;
use crate::turn::shared::connection_ids::Connections;
use crate::turn::shared::hairpin_routes::HairpinRoutes;
use crate::turn::shared::homes::Homes;
use crate::turn::shared::mobility_ticket::TicketKey;
use crate::turn::shared::realm_ids::RealmIds;
use crate::turn::shared::relays::Relays;
use std::sync::Arc;

/// One for a server, handed to each of its shards.
#[derive(Debug)]
pub struct Shared {
    /// Who has how many allocations.
    pub ledger: Arc<Ledger>,
    /// Which relayed ports are taken.
    pub ports: Arc<Ports>,
    /// Which relayed transport addresses are live, and whose.
    pub relays: Relays,
    /// Ids of the realms that TLS server names chose.
    pub realm_ids: RealmIds,
    /// Which data connections of TCP relays wait to be bound.
    pub connections: Connections,
    /// Ways into allocations for other shards.
    pub doors: HairpinRoutes,
    /// Which shard's each client is.
    pub homes: Arc<Homes>,
    /// Whether there are other shards.
    pub multiple_shards: bool,
    /// Ports held for a later allocation.
    pub reservations: Reservations,
    /// How often the unauthenticated are answered.
    pub answer_rate: AnswerRate,
    /// What nonces are sealed with: a client may meet another shard on its next connection.
    pub nonce_key: NonceKey,
    /// What mobility tickets are sealed with.
    pub ticket_key: TicketKey,
}

impl Shared {
    /// For a server whose relayed ports are `ports`. `seed` is 32 octets of randomness; `answer_rate` is in answers a
    /// second for a source prefix, 0 for no bound.
    pub fn new(ports: Ports, seed: [u8; 32], answer_rate: u32) -> Shared {
        let ports = Arc::new(ports);
        Shared {
            ledger: Arc::default(),
            connections: Connections::default(),
            doors: HairpinRoutes::default(),
            homes: Arc::default(),
            multiple_shards: true,
            reservations: Reservations::new(ports.clone()),
            ports,
            relays: Relays::default(),
            realm_ids: RealmIds::default(),
            answer_rate: AnswerRate::new(answer_rate, seed),
            nonce_key: NonceKey::new(seed),
            ticket_key: TicketKey::new(seed),
        }
    }
}
