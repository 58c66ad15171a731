//! Tools for operators: a WebRTC peer that reports by which path it connected and why, and a test
//! of TURN servers.
//!
//! Both run on any machine against any server. The peer relays through the client of the crate
//! `turn`, an implementation independent of ours, so that it does not repeat our errors. The test
//! uses `turn::client_state`, which exposes every error code and every step.
//!
//! ```text
//!   call/agent ──► rendezvous      the signaling endpoint: who is in the room, offers, candidates
//!       │   └────► verdict         whether it connected, by which path, and why not by another
//!       └────────┐
//!                ├──► client::transport::Connection      one server over UDP, TCP, TLS or DTLS
//!   check/run ───┘
//!       └────────► check::report   servers, steps and findings
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
mod table;
pub mod verdict;
