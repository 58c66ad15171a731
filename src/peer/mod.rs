//! The other end of a call: a WebRTC peer that says which way it connected and why, and a doctor for TURN servers.
//!
//! Both are tools for operators, run on any machine against any server. The peer relays through the client of the crate `turn`, an implementation
//! that is not ours; the doctor speaks through [`crate::turn::client`], which shows every code and every step.
//!
//! ```text
//!   agent ── negotiation ── rendezvous      who offers; who is there, and a way to tell them
//!     │  └── exchange, media       numbered messages; frames
//!     ├── ledger ── verdict        what is known of candidates and pairs; the judgement
//!     ├── relays                   the allocations that there are, those over UDP first
//!     └── gather ── relayed ─┐        host, reflexive and relayed addresses
//!                            ├─ line  one server over UDP, TCP, TLS (secure) or DTLS (dtls), as ice_url names it
//!   check ── talk ───────────┘        every step by itself, timed
//!     └── diagnosis ── report         what is wrong, in words
//! ```
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod agent;
pub mod check;
mod diagnosis;
mod dtls;
mod exchange;
mod gather;
pub mod ice_url;
mod ledger;
pub mod line;
mod media;
mod negotiation;
mod relayed;
mod relays;
mod rendezvous;
pub mod report;
pub mod secure;
mod talk;
pub mod verdict;
