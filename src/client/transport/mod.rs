//! Connections to a server, over each transport of RFC 8656 §2.1 and RFC 7350.

mod certificate;
mod connection;
pub mod dtls;
mod stream;
pub mod tls;

pub use crate::client::transport::connection::{ConnectError, Connection, Handshake};
