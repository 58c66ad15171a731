//! A shard's allocations and the indices by which they are found.

pub(crate) mod route;
pub(crate) mod timer;

use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::ids::five_tuple::{FiveTuple, Peer};
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::shared::connection_ids::ConnectionId;
use crate::turn::shared::homes::Homes;
use crate::wire::attribute::Family;
use foldhash::quality::RandomState;
use slab::Slab;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

/// All allocations of a shard.
#[derive(Debug)]
pub struct Table {
    /// Where other shards find this one's clients, and which it is; `None` where there are no others.
    homes: Option<(Arc<Homes>, u16)>,
    allocations: Slab<Allocation>,
    relayed: Slab<Relayed>,
    /// Key: a client's five-tuple, which anybody can forge. Read for each STUN message that is about an allocation.
    /// Keyed hasher (foldhash, seeded at start).
    by_client: HashMap<FiveTuple, AllocationId, RandomState>,
    /// Key: live relayed transport addresses, as clients are told them; clients choose which to ask for. Read when a
    /// peer is one of this server's own addresses. The same hasher.
    by_external: HashMap<Peer, RelayedId, RandomState>,
    /// Key: serial numbers, which the server counts up. Read when an operator lists allocations or asks for one; ordered,
    /// so that a listing can continue after the last serial number of its previous page.
    by_serial: BTreeMap<u64, AllocationId>,
    /// Key: numbers that the server draws at random. Read when a data connection changes.
    by_connection: HashMap<ConnectionId, AllocationId, RandomState>,
}

impl Drop for Table {
    /// Nobody is to be sent to a shard that is gone, however it went.
    fn drop(&mut self) {
        if let Some((homes, shard)) = &self.homes {
            self.by_client
                .keys()
                .for_each(|client| homes.forget(client, *shard));
        }
    }
}

/// One relayed transport address.
#[derive(Clone, Copy, Debug)]
pub struct Relayed {
    /// Whose it is.
    pub allocation: AllocationId,
    /// What is relayed there.
    pub protocol: Protocol,
    /// What its socket is bound to.
    pub local: SocketAddr,
    /// What clients are told.
    pub external: SocketAddr,
    /// Whether its socket is bound.
    pub bound: bool,
}

impl Table {
    /// An empty one.
    pub fn new(homes: Option<(Arc<Homes>, u16)>) -> Table {
        Table {
            homes,
            allocations: Slab::new(),
            relayed: Slab::new(),
            by_client: HashMap::default(),
            by_external: HashMap::default(),
            by_serial: BTreeMap::new(),
            by_connection: HashMap::default(),
        }
    }

    /// Enters an allocation, under its client's five-tuple.
    pub fn insert(&mut self, allocation: Allocation) -> AllocationId {
        let five_tuple = allocation.client.five_tuple;
        let serial = allocation.serial;
        let id = AllocationId(self.allocations.insert(allocation) as u32);
        self.by_serial.insert(serial, id);
        self.add_client(&five_tuple, id);
        id
    }

    /// Takes an allocation out. Its relayed transport addresses must be out already.
    pub fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let allocation = self.allocations.try_remove(id.0 as usize)?;
        self.by_serial.remove(&allocation.serial);
        self.remove_client(&allocation.client.five_tuple, id);
        if let Some(arriving) = allocation.arriving() {
            self.remove_client(&arriving.five_tuple, id);
        }
        Some(allocation)
    }

    /// An allocation.
    pub fn get(&self, id: AllocationId) -> Option<&Allocation> {
        self.allocations.get(id.0 as usize)
    }

    /// An allocation, to change it.
    pub fn get_mut(&mut self, id: AllocationId) -> Option<&mut Allocation> {
        self.allocations.get_mut(id.0 as usize)
    }

    /// Enters another five-tuple of an allocation.
    pub fn add_client(&mut self, client: &FiveTuple, id: AllocationId) {
        self.by_client.insert(*client, id);
        self.homes
            .iter()
            .for_each(|(homes, shard)| homes.enter(client, *shard));
    }

    /// Takes a five-tuple of an allocation out, if it is not another's by now.
    pub fn remove_client(&mut self, client: &FiveTuple, id: AllocationId) {
        if self.by_client.get(client) == Some(&id) {
            self.by_client.remove(client);
            self.homes
                .iter()
                .for_each(|(homes, shard)| homes.forget(client, *shard));
        }
    }

    /// The allocation of a five-tuple.
    pub fn of_client(&self, client: &FiveTuple) -> Option<AllocationId> {
        self.by_client.get(client).copied()
    }

    /// The other shard that has an allocation of a five-tuple, if this one has none.
    pub fn elsewhere(&self, client: &FiveTuple) -> Option<u16> {
        let (homes, shard) = self
            .homes
            .as_ref()
            .filter(|_| self.of_client(client).is_none())?;
        homes.find(client).filter(|home| home != shard)
    }

    /// Enters a relayed transport address that is to be bound.
    pub fn insert_relayed(&mut self, relayed: Relayed) -> RelayedId {
        RelayedId(self.relayed.insert(relayed) as u32)
    }

    /// A relayed transport address.
    pub fn relayed(&self, id: RelayedId) -> Option<&Relayed> {
        self.relayed.get(id.0 as usize)
    }

    /// A relayed transport address, to change it.
    pub fn relayed_mut(&mut self, id: RelayedId) -> Option<&mut Relayed> {
        self.relayed.get_mut(id.0 as usize)
    }

    /// Notes that a relayed transport address is bound, so that others of this server find it.
    pub fn note_bound(&mut self, id: RelayedId) {
        if let Some(relayed) = self.relayed.get_mut(id.0 as usize) {
            relayed.bound = true;
            self.by_external.insert(Peer(relayed.external), id);
        }
    }

    /// Takes a relayed transport address out.
    pub fn remove_relayed(&mut self, id: RelayedId) -> Option<Relayed> {
        let relayed = self.relayed.try_remove(id.0 as usize)?;
        if relayed.bound {
            self.by_external.remove(&Peer(relayed.external));
        }
        Some(relayed)
    }

    /// The live relayed transport address of this shard that clients know as `external`.
    pub fn find_relayed(&self, external: SocketAddr) -> Option<RelayedId> {
        self.by_external.get(&Peer(external)).copied()
    }

    /// What clients are told of an allocation's half, once it is bound.
    pub fn external(&self, id: AllocationId, family: Family) -> Option<SocketAddr> {
        let half = self.get(id)?.halves.get(family)?;
        self.relayed(half.relayed)
            .filter(|relayed| relayed.bound)
            .map(|relayed| relayed.external)
    }

    /// What clients are told of all of an allocation's halves.
    pub fn externals(&self, id: AllocationId) -> Vec<SocketAddr> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter_map(|family| self.external(id, family))
            .collect()
    }

    /// Notes whose a data connection is.
    pub fn note_connection(&mut self, connection: ConnectionId, id: AllocationId) {
        self.by_connection.insert(connection, id);
    }

    /// Forgets a data connection, and says whose it was.
    pub fn forget_connection(&mut self, connection: ConnectionId) -> Option<AllocationId> {
        self.by_connection.remove(&connection)
    }

    /// Whose a data connection is.
    pub fn of_connection(&self, connection: ConnectionId) -> Option<AllocationId> {
        self.by_connection.get(&connection).copied()
    }

    /// The allocation with this serial number.
    pub fn find_serial(&self, serial: u64) -> Option<AllocationId> {
        self.by_serial.get(&serial).copied()
    }

    /// Allocations with a serial number above `after`, in ascending order.
    pub fn iter_after(&self, after: u64) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.by_serial
            .range((Bound::Excluded(after), Bound::Unbounded))
            .filter_map(|(_, id)| Some((*id, self.get(*id)?)))
    }

    /// All allocations.
    pub fn iter(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.allocations
            .iter()
            .map(|(index, allocation)| (AllocationId(index as u32), allocation))
    }

    /// How many allocations there are.
    pub fn count(&self) -> usize {
        self.allocations.len()
    }
}
