//! The web listener from outside: HTTP, the signaling protocol with its every bound, and the call page in a browser.

mod access;
mod axe;
mod bounds;
#[path = "../browser/mod.rs"]
mod browser;
mod calls;
mod client;
mod http;
mod protocol;
mod relay;
mod staying;
mod world;
