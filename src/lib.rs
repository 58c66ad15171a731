//! Hairpin: a STUN/TURN relay server.
//!
//! ```text
//!                 cli          serve, check, peer, bench, credentials, config, admin
//!          ┌───────┼────────┐
//!       config   peer     bench    a file → a Plan | a WebRTC test peer, server tests | a load generator and its report
//!          │        └───┬───┘
//!       service       client       page, signaling, ICE servers, metrics, admin | a TURN client over UDP, TCP, TLS, DTLS
//!          │            │
//!        relay          │          shards: one core, one turn::Server, its sockets
//!        /   \          │
//!     turn    net ──────┘          the protocol without sockets | the sockets without protocol (all unsafe)
//!       |
//!     wire                         octets and messages
//! ```
//!
//! Each line is a floor. Imports go down only, and `turn` and `net` do not import each other;
//! `tests/architecture` enforces both. The `mod.rs` of a floor explains it.
//!
//! # Words
//!
//! The names are those of the RFCs, of Linux and of tokio. Eight words are this server's own:
//!
//! * **Shard**: a core with its thread, its [`turn::Server`] and its sockets. Shards share nothing
//!   on the packet path.
//! * **Route**: the next hop of a channel or a permission, the only thing that the packet path
//!   looks up.
//! * **Effect**: an action that the protocol returns for its caller to perform: bind a socket, send
//!   a message, add a route.
//! * **Grant**: the rights that an allocation got from the policy when it was created. It keeps
//!   them through every reload.
//! * **Policy**: the operator's decisions: realms, users, limits, peer rules. A reload replaces it
//!   whole.
//! * **Plan**: a resolved configuration: what a relay listens on, and its policy.
//! * **Reject**: the error response to a request, which the handlers return as their error.
//! * **Discard**: the reason why a packet is dropped without an answer. Each is counted.
//!
//! # Example
//!
//! A relay in another program:
//!
//! ```
//! use hairpin::relay::{Plan, Supervisor};
//! use hairpin::turn::policy::realm::Realm;
//! use hairpin::turn::{Policy, RelayAddress};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut realm = Realm::new("example.org");
//! realm.credentials.add_user("example.org", "alice", "a long password");
//! let address = "127.0.0.1".parse()?;
//! let policy = Policy::new(realm, vec![RelayAddress { local: address, external: address }]);
//! let relay = Supervisor::start(Plan::new(["127.0.0.1:0".parse()?], policy))?;
//! println!("clients connect to {:?}", relay.listener_addresses());
//! println!("{} allocations", relay.statistics().allocations);
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
