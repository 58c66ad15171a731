//! TLS for client connections.

pub mod certificate;
pub mod error;
pub mod rewind;
pub mod server;
