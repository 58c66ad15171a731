//! TCP data connections: a TCP connection between a relayed address and a peer. RFC 6062 §5.

use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// One data connection of an allocation.
#[derive(Debug)]
pub struct DataConnection {
    /// The connection's number.
    pub id: ConnectionId,
    /// The peer's transport address.
    pub peer: SocketAddr,
    /// The connection's progress.
    pub stage: ConnectionStage,
}

/// The progress of a data connection.
#[derive(Debug)]
pub enum ConnectionStage {
    /// The peer is being connected to; the Connect request waits for the outcome.
    Connecting(Box<ReturnPath>),
    /// The peer is connected; the client must bind the connection until this time.
    Unbound(Instant),
    /// The client bound the connection.
    Bound,
}

/// The time that a client has to bind a data connection. RFC 6062 §5.2.
pub const BIND_TIMEOUT: Duration = Duration::from_secs(30);
