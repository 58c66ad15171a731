//! Shards: one core each, with its own [`turn::Server`](crate::turn::Server) and its own sockets.
//!
//! A [`Plan`] says what to run. [`Supervisor::start`] binds the sockets and starts a thread for
//! each shard. A shard is one task that owns everything it touches: nothing on the packet path is
//! shared, locked, or sent through a channel.
//!
//! ```text
//!   Supervisor ──Command──▶ EventLoop ◀──ShardMessage── other shards         when: sources, timers, channels
//!                               │ serve(source)
//!                             Relay                                          what: one packet after the other
//!        ┌──────────────┬───────┴──────┬───────────────┐
//!     Clients      turn::Server      Peers         SendQueue
//!   UDP listeners   packets in,   relay sockets,   datagrams by
//!   TCP and TLS     Forward and   TCP relays,      socket and
//!   DTLS            Effect out    dials, splices   destination
//! ```
//!
//! One ChannelData packet, client to peer: `Clients::receive` (recvmmsg into the batch),
//! `Server::from_client` (one lookup), `SendQueue::push`, and at the end of the iteration
//! `SendQueue::flush` (sendmmsg). The payload stays where it was received.
//!
//! | folder | contents |
//! |---|---|
//! | [`supervisor`] | the public interface: start, reload, handover, listings, stop |
//! | [`shard`] | the event loop, the data flow between sockets and protocol, commands, messages between shards |
//! | [`client`] | listeners, connections, DTLS associations, demultiplexing, handover of sockets |
//! | [`peer`] | UDP relay sockets, TCP relays and data connections (RFC 6062) |
//! | [`io`] | send queue, ready queue, clock, slab |
//! | [`observe`] | counters, request durations, the log of allocations |
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

pub use crate::relay::observe::counters::{ShardStatistics, Statistics};
pub use crate::relay::plan::{
    ConnectionLimits, Duplex, HandshakeLimits, Listener, Plan, SecureTransports, SocketOptions,
    WebConnection,
};
pub use crate::relay::supervisor::Supervisor;
pub use crate::relay::supervisor::listeners::ListenerChanges;
