//! Connections of peers that no client has bound yet (RFC 6062 §5.2 to §5.4), of all shards: the
//! ConnectionBind request may arrive on another shard than the allocation's. Nothing reads from
//! such a connection, so the kernel's receive buffer bounds what its peer can send.

use crate::turn::{ConnectionId, Meter};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The unbound connections of all shards. Locked when a data connection is established, bound or
/// closed.
#[derive(Debug, Default)]
pub(crate) struct UnboundConnections {
    connections: Mutex<HashMap<ConnectionId, UnboundConnection>>,
}

/// A connection of a peer. It is registered with no runtime, because any shard may take it.
#[derive(Debug)]
pub(crate) struct UnboundConnection {
    /// The shard of the allocation.
    pub(crate) owner: u16,
    pub(crate) stream: TcpStream,
    /// The bandwidth limit of the allocation, if any.
    pub(crate) meter: Option<Meter>,
}

impl UnboundConnections {
    pub(crate) fn insert(&self, id: ConnectionId, connection: UnboundConnection) {
        self.lock().insert(id, connection);
    }

    pub(crate) fn remove(&self, id: ConnectionId) -> Option<UnboundConnection> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, UnboundConnection>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
