//! Shards: one core each, with its own `turn::Server` and its own sockets.
//!
//! A [`Plan`] says what to run, [`Supervisor::start`] binds all of it and starts a thread for each shard. A shard is one
//! task that owns everything it touches; nothing on the path of a packet is shared, locked, or sent through a channel.
//!
//! ```text
//!              Supervisor ──── mailbox ────▶ Shard (one thread, one task)
//!                                              │  waits for `ready`: which sources have something
//!      clients                                 ▼                                     peers
//!   UDP listener ──receive──▶ Batch ──▶ turn::Server::from_client ──▶ Outbox ──send──▶ relay socket
//!   TCP listener ▶ Conn ─────▶  │                                       ▲
//!                               │     turn::Server::from_peer ──────────┤  ◀──receive── relay socket
//!                               │                                       └──send──▶ UDP listener, Conn
//!                               └── payloads stay where they were received until the batch has been sent
//! ```
//!
//! A *turn* of the loop serves every source that is ready, up to a batch of 512 slots, reads the clock once, and then sends
//! all that came of it, grouped by socket and by destination. A source that had more than a batch goes to the back of the
//! queue. Where a core has little left, packets gather for a moment before the next turn, so that trains form (`coalesce`).
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod client;
pub mod io;
pub mod observe;
pub mod peer;
pub mod plan;
pub mod shard;
pub mod supervisor;

pub use crate::relay::client::listeners::ListenerChanges;
pub use crate::relay::observe::counters::{ShardStatistics, Statistics};
pub use crate::relay::plan::{
    ConnectionLimits, Duplex, HandshakeLimits, Listener, Plan, SecureTransports, SocketOptions,
    WebConnection,
};
pub use crate::relay::supervisor::Supervisor;
