//! A WebRTC call: candidates, offers and answers, the data channel, media.
//!
//! ```text
//!   agent ──► negotiation   offers, answers and trickled candidates, through peer::rendezvous
//!     ├─────► gather ──► host         UDP sockets, and their reflexive addresses
//!     │         └──────► allocation   a relayed address, by the client of the crate `turn` …
//!     │                     └─ guarded_conn   … behind a filter
//!     ├─────► allocations   which allocation becomes a candidate when, UDP first
//!     ├─────► candidates    every candidate and pair with its checks
//!     └─────► messages, media         numbered messages, frames
//! ```

pub mod agent;
pub(crate) mod allocation;
pub(crate) mod allocations;
pub(crate) mod candidates;
pub(crate) mod gather;
pub(crate) mod guarded_conn;
pub(crate) mod host;
pub(crate) mod media;
pub(crate) mod messages;
pub(crate) mod negotiation;
