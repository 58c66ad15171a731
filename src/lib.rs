//! Hairpin: a STUN/TURN relay server.
//!
//! ```text
//!                cli        serve, check, peer, bench, credentials
//!               /    \
//!          config    peer   a file, resolved into a Plan | the test peer: signals, connects, says which path it got
//!              |
//!           service         web page, signaling, ICE servers, metrics, admin
//!              |
//!            relay          shards: one core, one turn::Server, its sockets
//!            /   \
//!         turn    net       the protocol without sockets | the sockets without protocol (all unsafe)
//!           |
//!         wire              octets and messages
//! ```
//!
//! Imports go down only; `turn` and `net` do not know each other. `tests/architecture.rs` keeps it so.

pub mod cli;
pub mod config;
pub mod net;
#[cfg(feature = "peer")]
pub mod peer;
pub mod relay;
pub mod service;
pub mod turn;
pub mod wire;
