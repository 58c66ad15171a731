//! TLS for client connections.

pub mod certificate;
pub mod rewind;
pub mod server;
