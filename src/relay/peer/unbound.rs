//! Peers' connections that wait for a client to bind them, of all shards: ConnectionBind may arrive on another shard than
//! the allocation's. RFC 6062 §5.2 to §5.4. Nothing reads from them meanwhile, so the kernel holds the peer back.

use crate::turn::{ConnectionId, Meter};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One for all shards; its lock is taken when a data connection is made, bound or given up.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    streams: Mutex<HashMap<ConnectionId, Kept>>,
}

/// A peer's connection, out of any runtime.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The shard of its allocation.
    pub(crate) owner: u16,
    /// The connection.
    pub(crate) stream: TcpStream,
    /// What it draws from, where its allocation is limited.
    pub(crate) meter: Option<Meter>,
}

impl Waiting {
    /// Keeps a connection.
    pub(crate) fn keep(&self, connection: ConnectionId, kept: Kept) {
        self.lock().insert(connection, kept);
    }

    /// Gives it up to who asks first.
    pub(crate) fn take(&self, connection: ConnectionId) -> Option<Kept> {
        self.lock().remove(&connection)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Kept>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
