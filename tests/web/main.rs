//! The web listener from outside: HTTP, the signaling protocol with its every bound, and the call page in a browser.

mod access;
mod bounds;
mod calls;
mod client;
mod http;
mod protocol;
mod staying;
mod world;

#[path = "../support/mod.rs"]
mod support;
