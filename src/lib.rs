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
//!
//! Each floor's `mod.rs` opens with an essay and a drawing; `ls src/turn` reads like the index of RFC 8656. Where the code
//! taught better than the plan: what all shards share (ledger, live relays, reservations, doors for the hairpin across
//! shards) is lock-free and lives in `turn`; DSCP, TTL and DF never enter the protocol, `relay` carries them; a mobile
//! client (RFC 8016) that lands on another shard is passed home through a mailbox instead of moving its sockets.
//!
//! The command line is one user of the relay; another Rust program is one in ten lines:
//!
//! ```
//! use crate::relay::{Plan, Supervisor};
//! use crate::turn::{Policy, RelayAddress, auth::Realm};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut realm = Realm::new("example.org");
//! realm.credentials.add_user("example.org", "alice", "a long password");
//! let address = "127.0.0.1".parse()?;
//! let policy = Policy::new(realm, vec![RelayAddress { local: address, external: address }]);
//! let relay = Supervisor::start(Plan::new(["127.0.0.1:0".parse()?], policy))?;
//! println!("clients are served on {:?}", relay.addresses());
//! println!("{} allocations live", relay.statistics().allocations);
//! relay.stop();
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod cli;
pub mod client;
pub mod config;
pub mod net;
#[cfg(feature = "peer")]
pub mod peer;
pub mod relay;
pub mod service;
pub mod turn;
pub mod wire;
