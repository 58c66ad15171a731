//! The other end of a call: a WebRTC peer that says which way it connected and why, and a doctor for TURN servers.
//!
//! Both are tools for operators, run on any machine against any server. The peer relays through the client of the crate `turn`, an implementation
//! that is not ours; the doctor speaks through [`crate::turn::client_state`], which shows every code and every step.
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
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod call;
pub mod check;
mod rendezvous;
pub mod verdict;
