//! The client side of a shard: listeners, connections, DTLS associations.

pub(crate) mod associations;
pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod dtls;
pub(crate) mod handshake_limit;
pub(crate) mod listeners;
pub(crate) mod stream;
