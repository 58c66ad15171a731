//! The TURN protocol as a value: packets and time go in, effects come out. There is no socket, no
//! clock, no thread and no `async`, so everything can be tested in virtual time, millions of steps
//! a second.
//!
//! After every call, perform the effects ([`Server::take_effects`]). Do not wait for packets beyond
//! [`Server::next_timeout`].
//!
//! ```text
//!   from_client ─┬─ ChannelData ───── route ───────────────────────────► Forward::ToPeer, or ToClient (the hairpin)
//!                ├─ Send indication ─ permission ──────────────────────► Forward::ToPeer
//!                └─ request ───────── auth ─ method ─ quota ─ table ───► Effect::Send, Bind, Route, …
//!   from_peer   ────── route or permission ───────────────────────────► Forward::ToClient
//!   bound       ────── the Allocate request that waits for a socket ──► Effect::Send
//!   timeout     ────── expired allocations ───────────────────────────► Effect::Unbind, Unroute, Ended
//! ```
//!
//! The folders build on each other in this order; none imports a later one:
//!
//! | folder | content |
//! |---|---|
//! | `ids` | five-tuples, numbers, time, randomness |
//! | [`policy`] | the operator's decisions: realms, credentials, peers, limits |
//! | [`auth`] | who sent a request |
//! | [`quota`] | how much a user may have: allocations, bandwidth, ports |
//! | [`allocation`] | one allocation: permissions, channels, connections |
//! | `shared` | the state that shards share: the directory, hairpin routes, keys |
//! | `table` | the allocations of a shard, its routes and timers |
//! | `state` | the parts of a shard's protocol and the rules that span them |
//! | `method` | one file for each STUN method |
//!
//! [`Server`] is the public interface. [`client_state`] is the client side of the protocol, also
//! without sockets, for `hairpin check` and `hairpin bench`.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod allocation;
pub mod auth;
pub mod client_state;
pub mod counters;
pub mod effect;
pub mod forward;
pub mod ids;
mod method;
pub mod policy;
pub mod quota;
mod server;
mod shared;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use crate::turn::allocation::record::{AllocationDetail, AllocationRecord, EndReason};
pub use crate::turn::counters::Counters;
pub use crate::turn::effect::{BindError, Effect, Icmp};
pub use crate::turn::forward::{Forward, Framer, Framing, PayloadHeader};
pub use crate::turn::ids::connection_id::ConnectionId;
pub use crate::turn::ids::five_tuple::{Client, FiveTuple, Link, Transport};
pub use crate::turn::ids::realm::RealmId;
pub use crate::turn::ids::relayed::{Protocol, RelayedId};
pub use crate::turn::ids::time::Instant;
pub use crate::turn::ids::traffic::{Traffic, Volume};
pub use crate::turn::policy::limits::{Bandwidth, Limits};
pub use crate::turn::policy::reject::Discard;
pub use crate::turn::policy::{Policy, RelayAddress};
pub use crate::turn::quota::meter::Meter;
pub use crate::turn::quota::ports::Ports;
pub use crate::turn::server::{Server, Setup};
pub use crate::turn::shared::Shared;
