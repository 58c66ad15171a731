//! The hairpin across shards: routes by which other shards deliver directly to an allocation's
//! client.
//!
//! If a peer is a relayed address of another shard, the packet need not visit the kernel's
//! loopback. The owner therefore publishes a route for each permission and each channel whose peer
//! is on one of this server's addresses. A route contains the client, the channel number and the
//! expiry. The sending shard looks the route up and sends to the client from its own listener
//! socket, which is bound to the same address. If there is no route, the packet goes to the owner's
//! relay socket through the kernel, and the owner decides.
//!
//! Only UDP clients have routes, because a connection belongs to one shard; and only allocations
//! without a bandwidth limit, because the meter is the owner's. Packets and octets are counted in
//! the route and added to the allocation's traffic when the owner renews or removes the route. The
//! table is read often and written seldom; it is lock-free.

use crate::turn::allocation::HairpinKey;
use crate::turn::ids::five_tuple::{AddressKey, Client};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Volume;
use foldhash::quality::RandomState;
use papaya::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The hairpin routes of all shards.
#[derive(Debug, Default)]
pub struct HairpinRoutes {
    /// Key: a relayed transport address of this server, and a peer, with port 0 for a permission.
    /// Clients choose both. Reader: packets to relayed addresses of other shards. Hasher: foldhash,
    /// seeded at start.
    table: HashMap<(AddressKey, AddressKey), Arc<HairpinRoute>, RandomState>,
}

/// Where packets from one peer, or from all ports of its address, leave the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HairpinTarget {
    /// The client.
    pub client: Client,
    /// The channel of the peer, `None` for a Data indication.
    pub channel: Option<u16>,
    /// When the route expires.
    pub expires: Instant,
}

#[derive(Debug)]
struct HairpinRoute {
    target: HairpinTarget,
    packets: AtomicU64,
    octets: AtomicU64,
}

impl HairpinRoutes {
    /// Inserts or replaces a route. Returns the traffic of the replaced one.
    pub fn insert(&self, key: HairpinKey, target: HairpinTarget) -> Volume {
        let route = HairpinRoute {
            target,
            packets: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        };
        let table = self.table.pin();
        table
            .insert(table_key(key.relayed, key.peer), Arc::new(route))
            .map_or(Volume::default(), |old| old.traffic())
    }

    /// Removes a route. Returns its traffic.
    pub fn remove(&self, key: HairpinKey) -> Volume {
        let table = self.table.pin();
        table
            .remove(&table_key(key.relayed, key.peer))
            .map_or(Volume::default(), |route| route.traffic())
    }

    /// The traffic of a route since it was inserted.
    pub fn traffic(&self, key: HairpinKey) -> Volume {
        self.table
            .pin()
            .get(&table_key(key.relayed, key.peer))
            .map_or(Volume::default(), |route| route.traffic())
    }

    /// The target of a datagram from `peer` to the relayed address `relayed`. The datagram is
    /// counted.
    pub fn forward(
        &self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        octets: usize,
    ) -> Option<HairpinTarget> {
        let table = self.table.pin();
        let any_port = SocketAddr::new(peer.ip(), 0);
        let routes = [peer, any_port]
            .into_iter()
            .filter_map(|peer| table.get(&table_key(relayed, peer)));
        let route = routes
            .into_iter()
            .find(|route| now < route.target.expires)?;
        route.packets.fetch_add(1, Ordering::Relaxed);
        route.octets.fetch_add(octets as u64, Ordering::Relaxed);
        Some(route.target)
    }
}

impl HairpinRoute {
    fn traffic(&self) -> Volume {
        Volume {
            packets: self.packets.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
        }
    }
}

fn table_key(relayed: SocketAddr, peer: SocketAddr) -> (AddressKey, AddressKey) {
    (AddressKey(relayed), AddressKey(peer))
}
