//! The number of a TCP data connection. RFC 6062 §6.2.1.

/// CONNECTION-ID: identifies a TCP connection between a relayed address and a peer. Drawn at
/// random, unique on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);
