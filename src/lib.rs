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
//! The command line is one user of the relay; another Rust program is one in ten lines:
//!
//! ```
//! use hairpin::relay::{Plan, Supervisor};
//! use hairpin::turn::{Policy, RelayAddress, auth::Realm};
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

pub mod cli;
pub mod config;
pub mod net;
#[cfg(feature = "peer")]
pub mod peer;
pub mod relay;
pub mod service;
pub mod turn;
pub mod wire;
