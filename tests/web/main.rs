//! The web listener from outside: HTTP, the signaling protocol with its every bound, and the call page in a browser.

mod access;
mod calls;
mod client;
mod http;
mod limits;
mod protocol;
mod staying;
mod world;

#[path = "../support/mod.rs"]
mod support;
