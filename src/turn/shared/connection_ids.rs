//! Data connections of TCP relays: a TCP connection between a relayed address and a peer, and which connection of the
//! client's it is joined to. RFC 6062 §5.

use crate::turn::auth::owner::{Identity, Owner};
use crate::turn::ids::time::Instant;
use crate::turn::return_path::ReturnPath;
use papaya::{Compute, HashMap, Operation, ResizeMode};
use std::net::SocketAddr;
use std::time::Duration;

/// What names a data connection: CONNECTION-ID, drawn at random, unique on the server. RFC 6062 §6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// One data connection of an allocation.
#[derive(Debug)]
pub struct Connection {
    /// Its name.
    pub id: ConnectionId,
    /// Its other end.
    pub peer: SocketAddr,
    /// How far it is.
    pub stage: Stage,
}

/// How far a data connection is.
#[derive(Debug)]
pub enum Stage {
    /// On its way to the peer; the Connect request waits.
    Connecting(Box<ReturnPath>),
    /// With the peer; the client has until then to bind it. RFC 6062 §5.2.
    Pending(Instant),
    /// With both ends.
    Bound,
}

/// The data connections that wait to be bound, of all shards: ConnectionBind comes on a connection of its own, which may
/// be another shard's.
#[derive(Debug)]
pub struct Connections {
    /// Key: numbers that the server draws at random. Read at ConnectionBind; lock-free, the standard library's hasher.
    pending: HashMap<ConnectionId, Owner>,
}

/// Why a data connection cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbindable {
    /// There is none of that name that waits.
    Unknown,
    /// It is somebody else's.
    NotTheirs,
}

impl Default for Connections {
    fn default() -> Connections {
        // Not incremental, where `compute` would leave outgrown tables behind.
        Connections {
            pending: HashMap::builder().resize_mode(ResizeMode::Blocking).build(),
        }
    }
}

impl Connections {
    /// Enters a connection that waits for its user, the owner of its allocation. False when the number is taken.
    pub fn enter(&self, id: ConnectionId, owner: Owner) -> bool {
        self.pending.pin().try_insert(id, owner).is_ok()
    }

    /// Whom a connection waits for.
    pub fn waits_for(&self, id: ConnectionId) -> Option<Owner> {
        self.pending.pin().get(&id).cloned()
    }

    /// Gives a connection to its user, who is the only one to get it.
    ///
    /// # Errors
    /// When nothing of that name waits, or for another user.
    pub fn claim(&self, id: ConnectionId, user: &Identity<'_>) -> Result<(), Unbindable> {
        let pending = self.pending.pin();
        let outcome = pending.compute(id, |waiting| match waiting {
            None => Operation::Abort(Unbindable::Unknown),
            Some((_, owner)) if !owner.identity().is(user) => {
                Operation::Abort(Unbindable::NotTheirs)
            }
            Some(_) => Operation::Remove,
        });
        match outcome {
            Compute::Aborted(why) => Err(why),
            _ => Ok(()),
        }
    }

    /// Stops a connection from waiting. False when it was claimed before, or never waited.
    pub fn withdraw(&self, id: ConnectionId) -> bool {
        self.pending.pin().remove(&id).is_some()
    }
}

/// How long a data connection waits to be bound, and at least an attempt to connect may take. RFC 6062 §5.2.
pub const PATIENCE: Duration = Duration::from_secs(30);
