//! The TURN protocol as a value: packets and time go in, effects come out. No socket, no clock, no thread, no `async`:
//! whatever TURN does can be tried in virtual time, millions of steps a second.
//!
//! *After every call take the effects; before the next wait ask when.*
//!
//! ```text
//!   from_client ─┬─ ChannelData ── route ─────────────────────────────► Forward::ToPeer, or ToClient (the hairpin)
//!                ├─ Send indication ── permission ────────────────────► Forward::ToPeer
//!                └─ request ── auth ── method ── table, quota, ports ─► Effect::Send, Bind, Route, …
//!   from_peer   ──── route or permission ─────────────────────────────► Forward::ToClient
//!   bound       ──── the Allocate request that waited ────────────────► Effect::Send
//!   timeout     ──── what has expired ────────────────────────────────► Effect::Unbind, Unroute, Ended
//! ```
//!
//! `ls` reads like the index of RFC 8656: [`allocation`], [`permission`], [`channel`]; `method` has one file for each
//! STUN method.
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
mod hairpin;
pub mod ids;
mod method;
mod moving;
pub mod policy;
pub mod quota;
mod respond;
mod return_path;
mod server;
mod shared;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use crate::turn::counters::Counters;
pub use crate::turn::effect::{
    AllocationDetail, AllocationRecord, BindError, Effect, EndReason, Icmp,
};
pub use crate::turn::forward::{Forward, Framer, Framing, PayloadHeader};
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
pub use crate::turn::shared::connection_ids::ConnectionId;
