//! Black-box conformance: one test per rule of the RFCs, against the built binary, with a codec and a client of its own.
//!
//! `requirements.tsv` lists the rules and names the test of each.

#[path = "../support/mod.rs"]
mod support;

mod allocate;
mod auth;
mod channel;
mod corners;
mod families;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod header;
mod limits;
mod peers;
mod permission;
mod refresh;
mod relay;
mod requirements;
mod rfc5780;
mod rfc6062;
mod rfc7635;
mod rfc8016;
mod security;
mod stream;
mod stun;
mod vectors;
mod virtual_time;
mod world;
