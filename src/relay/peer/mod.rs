//! The peer side of a shard: UDP relay sockets, and the TCP connections of RFC 6062.
//!
//! [`Peers`](peers::Peers) is the interface of this folder. Its parts return events to the event
//! loop, which reports them to the protocol or to the shard of the allocation.

pub(crate) mod data_connections;
pub(crate) mod peers;
pub(crate) mod splice;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod unbound;
