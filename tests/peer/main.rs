//! `hairpin peer` and `hairpin check` over loopback: calls between two peers, and tests of coturn.

mod call;
mod check;
mod coturn;
mod rendezvous;

#[path = "../support/mod.rs"]
mod support;
