//! One shard: an event loop on one core.
//!
//! [`EventLoop`](event_loop::EventLoop) decides *when*: it waits, collects the sources that are
//! ready, and runs timers. [`Relay`](relay::Relay) decides *what*: it owns the protocol, the client
//! side and the peer side, and moves packets and effects between them.

pub(crate) mod coalesce;
pub(crate) mod command;
pub(crate) mod event_loop;
pub(crate) mod forwarding;
pub(crate) mod inbox;
pub(crate) mod relay;
pub(crate) mod timer;
