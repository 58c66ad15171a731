//! Conformance to the RFCs: each test proves one rule, against the built binary with the client of
//! `support`, or against `turn::Server` in virtual time. `requirements.tsv` lists the rules and
//! their tests.

#[path = "../support/mod.rs"]
mod support;

mod allocate;
mod auth;
mod channel;
mod corners;
mod families;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod header;
mod icmp;
mod limits;
mod peers;
mod permission;
mod policy;
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
