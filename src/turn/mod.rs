//! The TURN protocol as a value: packets and time go in, effects come out. No socket, no clock, no thread, no `async`:
//! whatever TURN does can be tried in virtual time, millions of steps a second.
//!
//! *After every call take the effects; before the next wait ask when.*
//!
//! ```text
//!   from_client ─┬─ ChannelData ── route ─────────────────────────────► Onward::ToPeer, or ToClient (the hairpin)
//!                ├─ Send indication ── permission ────────────────────► Onward::ToPeer
//!                └─ request ── auth ── method ── table, quota, ports ─► Effect::Send, Bind, Route, …
//!   from_peer   ──── route or permission ─────────────────────────────► Onward::ToClient
//!   bound       ──── the Allocate request that waited ────────────────► Effect::Send
//!   timeout     ──── what has expired ────────────────────────────────► Effect::Unbind, Unroute, Ended
//! ```
//!
//! `ls` reads like the index of RFC 8656: [`allocation`], [`permission`], [`channel`]; `method` has one file for each
//! STUN method.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod acl;
pub mod allocation;
mod answer_rate;
pub mod auth;
mod channel;
pub mod client;
mod connection;
pub mod counters;
mod doorkeeper;
mod doors;
pub mod effect;
mod five_tuple;
mod homes;
pub mod limits;
mod meter;
mod method;
mod mobile;
mod mobility;
mod permission;
pub mod policy;
mod ports;
mod quota;
mod random;
mod reject;
mod relayed;
mod relays;
mod reservation;
mod respond;
mod return_path;
mod route;
mod server;
mod shared;
mod state;
mod table;
mod ticket;
mod time;
mod timer;
mod traffic;

#[cfg(test)]
mod tests;

pub use connection::ConnectionId;
pub use counters::Counters;
pub use effect::{BindError, Detail, Effect, End, Framing, Icmp, Onward, Record};
pub use five_tuple::{Client, FiveTuple, Link, Transport};
pub use limits::{Bandwidth, Limits};
pub use meter::Meter;
pub use policy::{Policy, RelayAddress};
pub use ports::Ports;
pub use reject::Discard;
pub use relayed::{Protocol, RelayedId};
pub use server::{Server, Setup};
pub use shared::Shared;
pub use time::Instant;
pub use traffic::{Traffic, Volume};
