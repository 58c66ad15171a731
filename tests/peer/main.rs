//! `hairpin peer` and `hairpin check` over loopback: real calls, real servers, no lab.

mod call;
mod check;
mod coturn;
mod rendezvous;

#[path = "../support/mod.rs"]
mod support;
