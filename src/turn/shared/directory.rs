//! The directory of all shards: the owners of clients, the live relayed addresses, and the data
//! connections to be bound. A shard looks here for anything that another shard may own.
//!
//! ```text
//!   index        key                              written when                    read when
//!   clients      hash of a datagram five-tuple    an allocation begins, moves,    a packet comes from a client that
//!                                                 or ends                         this shard does not know
//!   relayed      relayed transport address        an allocation begins or ends    a peer is on one of the server's own
//!                                                                                 addresses
//!   connections  CONNECTION-ID                    a data connection waits to      ConnectionBind
//!                                                 be bound
//! ```
//!
//! **Clients.** The kernel spreads the datagrams of a listener over the shards by a hash that stays
//! the same as long as the listener's sockets do. When sockets are added or removed (a handover to
//! another process, a listener that a reload changes), the next packet of a client may reach
//! another shard, which then forwards it to the owner. Only datagram five-tuples are entered,
//! because a connection stays with the shard that accepted it. A client that *moves* its allocation
//! (RFC 8016) may do so over a connection; its ticket names the owner, and the shard that it moved
//! to remembers it in [`crate::turn::table::foreign_clients`].
//!
//! **Relayed.** A peer that is itself a relayed address of this server has an entry with its
//! protocol and the local address of its socket, which behind a 1:1 NAT differs from the address
//! that clients see. Routes for the owner's permissions and channels are published separately, in
//! [`super::hairpin_routes`].
//!
//! **Connections.** A client binds a data connection (RFC 6062 §5.4) from a connection of its own,
//! which any shard may accept. The entry holds the owner's credentials, and is removed by
//! binding, so that a connection can be bound only once.
//!
//! All indices are lock-free and none is on the packet path of an established channel. Clients and
//! relayed addresses are hashed by foldhash, seeded at start, because clients choose what is looked
//! up; connection numbers are random, so the standard library's hasher serves.

use crate::turn::auth::owner::{Identity, Owner};
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::five_tuple::{AddressKey, FiveTuple};
use crate::turn::ids::relayed::Protocol;
use foldhash::quality::RandomState;
use papaya::{Compute, HashMap, Operation, ResizeMode};
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// The owners of clients, relayed addresses and unbound data connections.
#[derive(Debug)]
pub struct Directory {
    client_hasher: RandomState,
    /// The key is the hash of a five-tuple, to keep an entry at some 50 octets. If two of a
    /// server's clients have the same 64-bit hash, one is forwarded to the wrong shard and gets
    /// 437.
    clients: HashMap<u64, u16, RandomState>,
    relayed: HashMap<AddressKey, RelayedEntry, RandomState>,
    connections: HashMap<ConnectionId, Owner>,
}

/// A live relayed transport address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayedEntry {
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The address that the relay socket is bound to.
    pub local: SocketAddr,
}

/// Why a data connection cannot be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimError {
    /// No connection with this number waits to be bound.
    Unknown,
    /// The connection belongs to another user.
    NotOwner,
}

impl Default for Directory {
    fn default() -> Directory {
        Directory {
            client_hasher: RandomState::default(),
            clients: HashMap::default(),
            relayed: HashMap::default(),
            // With papaya's incremental resizing `compute` would leave outgrown tables behind.
            connections: HashMap::builder().resize_mode(ResizeMode::Blocking).build(),
        }
    }
}

impl Directory {
    /// Enters a client of a shard. Does nothing for a client on a stream.
    pub fn insert_client(&self, client: &FiveTuple, shard: u16) {
        if let Some(key) = self.client_key(client) {
            self.clients.pin().insert(key, shard);
        }
    }

    /// Removes a client of a shard, unless it has become another shard's.
    pub fn remove_client(&self, client: &FiveTuple, shard: u16) {
        if let Some(key) = self.client_key(client) {
            let _ = self
                .clients
                .pin()
                .remove_if(&key, |_, owner| *owner == shard);
        }
    }

    /// The shard that has the client's allocation.
    pub fn shard_of(&self, client: &FiveTuple) -> Option<u16> {
        self.clients.pin().get(&self.client_key(client)?).copied()
    }

    /// Enters a relayed transport address, as clients see it.
    pub fn insert_relayed(&self, external: SocketAddr, entry: RelayedEntry) {
        self.relayed.pin().insert(AddressKey(external), entry);
    }

    /// Removes a relayed transport address.
    pub fn remove_relayed(&self, external: SocketAddr) {
        self.relayed.pin().remove(&AddressKey(external));
    }

    /// A live relayed transport address.
    pub fn relayed(&self, external: SocketAddr) -> Option<RelayedEntry> {
        self.relayed.pin().get(&AddressKey(external)).copied()
    }

    /// Enters a data connection that `owner` may bind. Returns false if the number is taken.
    pub fn insert_connection(&self, id: ConnectionId, owner: Owner) -> bool {
        self.connections.pin().try_insert(id, owner).is_ok()
    }

    /// The user that may bind a data connection.
    pub fn connection_owner(&self, id: ConnectionId) -> Option<Owner> {
        self.connections.pin().get(&id).cloned()
    }

    /// Removes a data connection for the user that binds it. Of several callers at most one
    /// succeeds.
    ///
    /// # Errors
    /// [`ClaimError`] if the connection does not wait to be bound, or not for this user.
    pub fn claim_connection(
        &self,
        id: ConnectionId,
        user: &Identity<'_>,
    ) -> Result<(), ClaimError> {
        let connections = self.connections.pin();
        let outcome = connections.compute(id, |entry| match entry {
            None => Operation::Abort(ClaimError::Unknown),
            Some((_, owner)) if !owner.identity().is_same_user(user) => {
                Operation::Abort(ClaimError::NotOwner)
            }
            Some(_) => Operation::Remove,
        });
        match outcome {
            Compute::Aborted(error) => Err(error),
            Compute::Inserted(..) | Compute::Updated { .. } | Compute::Removed(..) => Ok(()),
        }
    }

    /// Removes a data connection that can no longer be bound. Returns false if it was claimed, or
    /// never entered.
    pub fn remove_connection(&self, id: ConnectionId) -> bool {
        self.connections.pin().remove(&id).is_some()
    }

    /// The key of a client on a datagram transport.
    fn client_key(&self, client: &FiveTuple) -> Option<u64> {
        (!client.transport.is_stream()).then(|| self.client_hasher.hash_one(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::ids::five_tuple::Transport;
    use crate::turn::ids::time::Instant;
    use crate::wire::integrity::Key;

    fn client(transport: Transport) -> FiveTuple {
        FiveTuple {
            client: "192.0.2.1:5000".parse().unwrap(),
            server: "192.0.2.2:3478".parse().unwrap(),
            transport,
        }
    }

    #[test]
    fn a_client_is_removed_only_by_the_shard_that_owns_it() {
        let directory = Directory::default();
        let client = client(Transport::Udp);
        directory.insert_client(&client, 1);
        directory.insert_client(&client, 2);
        directory.remove_client(&client, 1);
        assert_eq!(directory.shard_of(&client), Some(2));
        directory.remove_client(&client, 2);
        assert_eq!(directory.shard_of(&client), None);
    }

    #[test]
    fn stream_clients_are_not_entered() {
        let directory = Directory::default();
        directory.insert_client(&client(Transport::Tls), 1);
        assert_eq!(directory.shard_of(&client(Transport::Tls)), None);
    }

    #[test]
    fn a_data_connection_is_claimed_once_and_only_by_its_owner() {
        let directory = Directory::default();
        let owner = |name: &str| Owner {
            name: name.into(),
            realm: "realm".into(),
            key: Key::from_octets(b"key").unwrap(),
            authorized_until: Instant::NEVER,
        };
        let (alice, bob, id) = (owner("alice"), owner("bob"), ConnectionId(7));
        assert!(directory.insert_connection(id, alice.clone()));
        assert!(!directory.insert_connection(id, bob.clone()));
        let claim = |owner: &Owner| directory.claim_connection(id, &owner.identity());
        assert_eq!(claim(&bob), Err(ClaimError::NotOwner));
        assert_eq!(claim(&alice), Ok(()));
        assert_eq!(claim(&alice), Err(ClaimError::Unknown));
        assert!(!directory.remove_connection(id));
    }
}
