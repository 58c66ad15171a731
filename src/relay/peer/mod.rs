//! The peer side of a shard: relay sockets, and the TCP connections of RFC 6062.

pub(crate) mod data_connections;
pub(crate) mod splice;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod unbound;
