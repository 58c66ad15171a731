//! Ways into allocations for other shards: the hairpin across shards. Where a peer is a relayed address of another shard,
//! whoever relays to it finds here what that shard would have found: its client, the channel or permission that lets the
//! packet in, and until when. Read-mostly and lock-free; a packet that finds no door goes the long way, through the kernel,
//! and is judged there.

use crate::turn::ids::five_tuple::{Client, Peer};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Volume;
use foldhash::quality::RandomState;
use papaya::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// All doors of a server.
#[derive(Debug, Default)]
pub struct HairpinRoutes {
    /// Key: a relayed transport address of ours, and the peer that may come in, with port 0 for a permission's address.
    /// Clients choose both. Read for packets to another shard's relayed addresses. Keyed hasher (foldhash).
    table: HashMap<(Peer, Peer), Arc<HairpinRoute>, RandomState>,
}

/// One way in.
#[derive(Debug)]
struct HairpinRoute {
    client: Client,
    channel: Option<u16>,
    expires: Instant,
    packets: AtomicU64,
    octets: AtomicU64,
}

impl HairpinRoutes {
    /// Opens a door for a peer, or for all of a peer's address where its port is 0, or renews it; gives back what came in
    /// by the old one.
    pub fn open(
        &self,
        relayed: SocketAddr,
        peer: SocketAddr,
        client: Client,
        channel: Option<u16>,
        expires: Instant,
    ) -> Volume {
        let door = HairpinRoute {
            client,
            channel,
            expires,
            packets: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        };
        let table = self.table.pin();
        table
            .insert((Peer(relayed), Peer(peer)), Arc::new(door))
            .map_or(Volume::default(), |old| old.volume())
    }

    /// Closes a door; gives back what came in by it.
    pub fn close(&self, relayed: SocketAddr, peer: SocketAddr) -> Volume {
        let table = self.table.pin();
        table
            .remove(&(Peer(relayed), Peer(peer)))
            .map_or(Volume::default(), |door| door.volume())
    }

    /// What came in by a door since it was opened or renewed.
    pub fn came_in(&self, relayed: SocketAddr, peer: SocketAddr) -> Volume {
        self.table
            .pin()
            .get(&(Peer(relayed), Peer(peer)))
            .map_or(Volume::default(), |door| door.volume())
    }

    /// Where a payload of so many octets from `peer` comes out, if there is a door for it: a client, and the channel that
    /// leads to it, if it is not to be a Data indication.
    pub fn enter(
        &self,
        now: Instant,
        relayed: SocketAddr,
        peer: SocketAddr,
        octets: usize,
    ) -> Option<(Client, Option<u16>)> {
        let table = self.table.pin();
        let anywhere = SocketAddr::new(peer.ip(), 0);
        let doors = [peer, anywhere]
            .into_iter()
            .filter_map(|peer| table.get(&(Peer(relayed), Peer(peer))));
        let door = doors.into_iter().find(|door| now < door.expires)?;
        door.packets.fetch_add(1, Ordering::Relaxed);
        door.octets.fetch_add(octets as u64, Ordering::Relaxed);
        Some((door.client, door.channel))
    }
}

impl HairpinRoute {
    fn volume(&self) -> Volume {
        Volume {
            packets: self.packets.load(Ordering::Relaxed),
            octets: self.octets.load(Ordering::Relaxed),
        }
    }
}
