//! The client side of a shard: listeners, TCP and TLS connections, DTLS associations.
//!
//! [`Clients`](clients::Clients) is the face of this folder. Its parts send through the send queue
//! or into the output buffers of connections, and return what they received to the event loop. A
//! part never calls the protocol.

pub(crate) mod clients;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod demux;
pub(crate) mod dtls;
pub(crate) mod handover;
pub(crate) mod handshake_limit;
pub(crate) mod link_target;
pub(crate) mod listeners;
