//! The state of a shard's protocol, as parts that keep their fields private, and the rules that
//! span several parts.
//!
//! ```text
//!   forwarding       which peers may be reached; where a payload goes
//!   channel_routes   routes follow channels and permissions, on this shard and for other shards
//!   lifecycle        an allocation begins, expires, ends; timers
//!   mobility         an allocation follows its client to another five-tuple
//!   response         responses, sealed like their request
//!   output           effects and the octets of messages
//! ```
//!
//! Each rule is a function of [`State`]; the methods call them, and so does
//! [`crate::turn::Server`].

pub(crate) mod channel_routes;
pub(crate) mod forwarding;
pub(crate) mod lifecycle;
pub(crate) mod mobility;
pub(crate) mod output;
pub(crate) mod response;

use crate::turn::counters::Counters;
use crate::turn::ids::random::Random;
use crate::turn::ids::time::WallClock;
use crate::turn::policy::Policy;
use crate::turn::shared::Shared;
use crate::turn::state::output::Output;
use crate::turn::table::Table;
use crate::turn::table::foreign_clients::ForeignClients;
use crate::turn::table::route::Routes;
use crate::turn::table::timer::Timers;
use std::sync::Arc;
use std::time::Duration;

/// The parts of a shard's protocol.
#[derive(Debug)]
pub struct State {
    pub policy: Arc<Policy>,
    pub shared: Arc<Shared>,
    pub shard: u16,
    pub random: Random,
    pub clock: WallClock,
    pub serials: SerialNumbers,
    pub table: Table,
    pub routes: Routes,
    pub timers: Timers,
    pub foreign_clients: ForeignClients,
    pub counters: Arc<Counters>,
    pub output: Output,
}

/// The serial numbers of a shard's allocations: 16 bits of shard, 48 bits of counter.
#[derive(Debug)]
pub struct SerialNumbers {
    shard: u16,
    last: u64,
}

impl SerialNumbers {
    /// Serial numbers of a shard that starts at this Unix time. They are above those of an earlier
    /// run, unless that run made more than 16,000 allocations a second all its life.
    pub fn new(shard: u16, unix_time: Duration) -> SerialNumbers {
        SerialNumbers {
            shard,
            last: (unix_time.as_nanos() / SERIAL_STEP_NANOSECONDS) as u64 & COUNTER_BITS,
        }
    }

    /// The next serial number.
    pub fn next(&mut self) -> u64 {
        self.last += 1;
        u64::from(self.shard) << 48 | self.last
    }
}

/// The counter of a new run starts at the time of day in these steps: 16,000 a second.
const SERIAL_STEP_NANOSECONDS: u128 = 62_500;
const COUNTER_BITS: u64 = (1 << 48) - 1;
