//! The web listener from outside: HTTP, the signaling protocol with its every bound, and the call page in a browser.

mod access;
mod bounds;
mod client;
mod http;
mod protocol;
mod staying;
