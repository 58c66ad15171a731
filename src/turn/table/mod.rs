//! The allocations of a shard and the indices that find them.

pub(crate) mod foreign_clients;
pub(crate) mod route;
pub(crate) mod timer;

use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::five_tuple::{AddressKey, FiveTuple};
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::shared::directory::Directory;
use foldhash::quality::RandomState;
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

/// All allocations of a shard, their relay sockets, and the indices of both.
#[derive(Debug)]
pub struct Table {
    /// Where other shards look up this shard's clients; `None` if there are no other shards.
    published: Option<PublishedClients>,
    allocations: Slab<Allocation>,
    sockets: Slab<RelaySocket>,
    /// Key: clients' five-tuples, which anyone can forge. Reader: every STUN message that concerns
    /// an allocation. Hasher: foldhash, seeded at start.
    by_client: HashMap<FiveTuple, AllocationId, RandomState>,
    /// Key: relayed transport addresses as clients see them; clients choose what is looked up.
    /// Reader: packets to a peer on one of the server's own addresses. The same hasher.
    by_external: HashMap<AddressKey, RelayedId, RandomState>,
    /// Key: connection numbers, which the server draws at random. Reader: events of a data
    /// connection. The same hasher.
    by_connection: HashMap<ConnectionId, AllocationId, RandomState>,
    /// Key: serial numbers, which the server counts up. Reader: operators that list allocations or
    /// ask for one. Ordered, so that a listing continues after the last serial number of its
    /// previous page.
    by_serial: BTreeMap<u64, AllocationId>,
}

/// The directory into which a shard enters its clients.
#[derive(Debug)]
pub struct PublishedClients {
    /// The directory of all shards.
    pub directory: Arc<Directory>,
    /// The number of this shard.
    pub shard: u16,
}

/// The socket of one relayed transport address.
#[derive(Clone, Copy, Debug)]
pub struct RelaySocket {
    /// The owning allocation.
    pub allocation: AllocationId,
    /// What is relayed.
    pub protocol: Protocol,
    /// The address that the socket is bound to.
    pub local: SocketAddr,
    /// The address that clients see: behind a 1:1 NAT the public one.
    pub external: SocketAddr,
    /// The socket is bound.
    pub bound: bool,
}

impl Drop for Table {
    /// A shard that ends, even by a panic, must not leave entries that make other shards forward
    /// packets to it.
    fn drop(&mut self) {
        if let Some(published) = &self.published {
            for client in self.by_client.keys() {
                published.directory.remove_client(client, published.shard);
            }
        }
    }
}

impl Table {
    /// An empty table.
    pub fn new(published: Option<PublishedClients>) -> Table {
        Table {
            published,
            allocations: Slab::new(),
            sockets: Slab::new(),
            by_client: HashMap::default(),
            by_external: HashMap::default(),
            by_connection: HashMap::default(),
            by_serial: BTreeMap::new(),
        }
    }

    /// Inserts an allocation, indexed by its client and its serial number.
    pub fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let (five_tuple, serial) = (allocation.client.five_tuple, allocation.serial);
        let id = AllocationId(self.allocations.insert(allocation) as u32);
        self.by_serial.insert(serial, id);
        self.insert_client(&five_tuple, id);
        id
    }

    /// Removes an allocation. Its relay sockets must have been removed.
    pub fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let allocation = self.allocations.try_remove(id.0 as usize)?;
        self.by_serial.remove(&allocation.serial);
        self.remove_client(&allocation.client.five_tuple, id);
        if let Some(arriving) = allocation.arriving() {
            self.remove_client(&arriving.five_tuple, id);
        }
        Some(allocation)
    }

    /// The allocation with this id.
    pub fn get(&self, id: AllocationId) -> Option<&Allocation> {
        self.allocations.get(id.0 as usize)
    }

    /// The allocation with this id, mutable.
    pub fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.allocations.get_mut(id.0 as usize)
    }

    /// All allocations.
    pub fn iter(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.allocations
            .iter()
            .map(|(index, allocation)| (AllocationId(index as u32), allocation))
    }

    /// Allocations with a serial number above `after`, in ascending order.
    pub fn iter_after(&self, after: u64) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.by_serial
            .range((Bound::Excluded(after), Bound::Unbounded))
            .filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// The number of allocations.
    pub fn count(&self) -> usize {
        self.allocations.len()
    }

    /// The allocation with this serial number.
    pub fn find_serial(&self, serial: u64) -> Option<AllocationId> {
        self.by_serial.get(&serial).copied()
    }

    /// The allocation of a client.
    pub fn find_client(&self, client: &FiveTuple) -> Option<AllocationId> {
        self.by_client.get(client).copied()
    }

    /// The other shard that has the client's allocation, if this shard does not have it.
    pub fn other_shard_of(&self, client: &FiveTuple) -> Option<u16> {
        let published = self
            .published
            .as_ref()
            .filter(|_| self.find_client(client).is_none())?;
        published
            .directory
            .shard_of(client)
            .filter(|shard| *shard != published.shard)
    }

    /// Adds a five-tuple to an allocation.
    pub fn insert_client(&mut self, client: &FiveTuple, id: AllocationId) {
        self.by_client.insert(*client, id);
        if let Some(published) = &self.published {
            published.directory.insert_client(client, published.shard);
        }
    }

    /// Removes a five-tuple of an allocation, unless it has become another allocation's.
    pub fn remove_client(&mut self, client: &FiveTuple, id: AllocationId) {
        if self.by_client.get(client) == Some(&id) {
            self.by_client.remove(client);
            if let Some(published) = &self.published {
                published.directory.remove_client(client, published.shard);
            }
        }
    }

    /// Inserts a relay socket that is not bound yet.
    pub fn insert_socket(&mut self, socket: RelaySocket) -> RelayedId {
        RelayedId(self.sockets.insert(socket) as u32)
    }

    /// The relay socket with this id.
    pub fn socket(&self, id: RelayedId) -> Option<&RelaySocket> {
        self.sockets.get(id.0 as usize)
    }

    /// The relay socket with this id, mutable.
    pub fn socket_mut(&mut self, id: RelayedId) -> Option<&mut RelaySocket> {
        self.sockets.get_mut(id.0 as usize)
    }

    /// Marks a relay socket as bound, so that [`Table::find_external`] finds it.
    pub fn set_bound(&mut self, id: RelayedId) {
        if let Some(socket) = self.sockets.get_mut(id.0 as usize) {
            socket.bound = true;
            self.by_external.insert(AddressKey(socket.external), id);
        }
    }

    /// Removes a relay socket.
    pub fn remove_socket(&mut self, id: RelayedId) -> Option<RelaySocket> {
        let socket = self.sockets.try_remove(id.0 as usize)?;
        if socket.bound {
            self.by_external.remove(&AddressKey(socket.external));
        }
        Some(socket)
    }

    /// The bound relay socket of this shard that clients know as `external`.
    pub fn find_external(&self, external: SocketAddr) -> Option<RelayedId> {
        self.by_external.get(&AddressKey(external)).copied()
    }

    /// The bound relayed addresses of an allocation, as clients see them.
    pub fn externals(&self, id: AllocationId) -> Vec<SocketAddr> {
        let Some(allocation) = self.get(id) else {
            return Vec::new();
        };
        let sockets = allocation
            .relayed
            .iter()
            .filter_map(|(_, address)| self.socket(address.id));
        sockets
            .filter(|socket| socket.bound)
            .map(|socket| socket.external)
            .collect()
    }

    /// Indexes a data connection of an allocation.
    pub fn insert_connection(&mut self, connection: ConnectionId, id: AllocationId) {
        self.by_connection.insert(connection, id);
    }

    /// Removes a data connection from the index. Returns its allocation.
    pub fn remove_connection(&mut self, connection: ConnectionId) -> Option<AllocationId> {
        self.by_connection.remove(&connection)
    }

    /// The allocation of a data connection.
    pub fn find_connection(&self, connection: ConnectionId) -> Option<AllocationId> {
        self.by_connection.get(&connection).copied()
    }
}
