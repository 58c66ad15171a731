//! The web listener: HTTP, the signaling protocol with all of its limits, and the call page in a
//! browser.

mod access;
mod calls;
mod client;
mod http;
mod limits;
mod namespace;
mod protocol;
mod resuming;

#[path = "../support/mod.rs"]
mod support;
