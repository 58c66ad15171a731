//! The rooms and the peers in them. One lock guards all rooms; it is held for a lookup and a few
//! pushes to queues, and never across a wait for a peer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::signaling::connection_limit::{ConnectionLimit, ConnectionPermit};
use crate::service::signaling::limits::Limits;
use crate::service::signaling::message;
use crate::service::signaling::peer_queue::PeerQueue;
use crate::service::signaling::refusal::Refusal;

/// All rooms of the server.
#[derive(Default)]
pub struct Rooms {
    table: Mutex<RoomTable>,
    connection_limit: Arc<ConnectionLimit>,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

/// Gauges and counters for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomCounts {
    /// Rooms that have at least one peer.
    pub rooms: usize,
    /// Peers in rooms.
    pub peers: usize,
    /// Open WebSocket connections.
    pub connections: usize,
    /// Messages forwarded between peers since the start.
    pub forwarded: u64,
    /// Peers disconnected as slow readers since the start.
    pub dropped: u64,
}

/// A peer's membership in a room, held by its connection.
pub struct Membership {
    /// The room's name.
    pub room: String,
    /// The peer's id.
    pub id: String,
    /// The messages that wait for the peer.
    pub queue: Arc<PeerQueue>,
    /// The number under which this connection reads the queue.
    pub reader: u64,
    /// The other peers, in the order of joining.
    pub others: Vec<String>,
    /// The peer resumed in time, so that no `left` was sent.
    pub resumed: bool,
    /// The size of the room.
    pub room_size: usize,
}

#[derive(Default)]
struct RoomTable {
    /// Key: the room's name, which clients choose: std's hasher has a random key.
    rooms: HashMap<String, Room>,
    stopping: bool,
}

struct Room {
    size: usize,
    /// In the order of joining.
    peers: Vec<Peer>,
}

struct Peer {
    id: String,
    queue: Arc<PeerQueue>,
}

impl Rooms {
    /// Admits one more connection if the limits allow it.
    pub fn connect(
        &self,
        address: Option<IpAddr>,
        limits: &Limits,
    ) -> Result<ConnectionPermit, Refusal> {
        self.connection_limit.admit(address, limits)
    }

    /// Returns true if the peer `id` is in `room`, connected or within the time in which it can
    /// resume.
    pub fn contains(&self, room: &str, id: &str) -> bool {
        let table = self.lock();
        table
            .rooms
            .get(room)
            .is_some_and(|room| room.peer(id).is_some())
    }

    /// Adds a peer to `room`, which gets `size` if it is new. `resumed_id` is the id that the peer
    /// proved to be its own.
    pub fn join(
        &self,
        room: &str,
        size: usize,
        resumed_id: Option<&str>,
        limits: &Limits,
    ) -> Result<Membership, Refusal> {
        let id = match resumed_id {
            Some(id) => id.to_owned(),
            None => random_id().map_err(|_| Refusal::TooManyConnections)?,
        };
        let mut table = self.lock();
        if table.stopping {
            return Err(Refusal::Stopping);
        }
        let count = table.rooms.len();
        let entry = match table.rooms.get_mut(room) {
            Some(entry) => entry,
            None if count >= limits.rooms => return Err(Refusal::TooManyRooms),
            None => table.rooms.entry(room.to_owned()).or_insert(Room {
                size,
                peers: Vec::new(),
            }),
        };
        let room_size = entry.size;
        let others = entry
            .peers
            .iter()
            .map(|peer| peer.id.clone())
            .filter(|other| *other != id)
            .collect();
        let known = entry.peer(&id).map(|peer| peer.queue.clone());
        let resumed = known.is_some();
        let queue = match known {
            Some(queue) => queue,
            None if entry.peers.len() >= room_size => return Err(Refusal::RoomFull),
            None => Arc::new(PeerQueue::new(limits.queue_messages, limits.queue_octets)),
        };
        let reader = queue.take_over();
        if !resumed {
            entry.peers.push(Peer {
                id: id.clone(),
                queue: queue.clone(),
            });
            let dropped = table.push_to_others(room, &id, message::joined(&id));
            self.count_dropped(dropped);
        }
        Ok(Membership {
            room: room.to_owned(),
            id,
            queue,
            reader,
            others,
            resumed,
            room_size,
        })
    }

    /// Forwards a message from the peer `from` to the peer `to`, or to all others in `room`.
    pub fn forward(
        &self,
        room: &str,
        from: &str,
        to: Option<&str>,
        message: Utf8Bytes,
    ) -> Result<(), Refusal> {
        let mut table = self.lock();
        let dropped = match to {
            None => table.push_to_others(room, from, message),
            Some(to) => {
                let known = |room: &Room| room.peer(to).is_some();
                if to == from || !table.rooms.get(room).is_some_and(known) {
                    return Err(Refusal::NoSuchPeer);
                }
                table.push(room, |peer| peer.id == to, message)
            }
        };
        drop(table);
        self.count_dropped(dropped);
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes a peer from its room and notifies the others, unless another connection has resumed
    /// the peer.
    pub fn leave(&self, membership: &Membership) {
        let mut table = self.lock();
        if membership.queue.is_read_by(membership.reader) {
            let dropped = table.remove(&membership.room, &membership.id);
            self.count_dropped(dropped);
        }
    }

    /// Disconnects all peers and refuses new ones.
    pub fn stop(&self) {
        let mut table = self.lock();
        table.stopping = true;
        for peer in table.rooms.values().flat_map(|room| &room.peers) {
            peer.queue.end(Refusal::Stopping);
        }
        table.rooms.clear();
    }

    /// The current gauges and counters.
    pub fn counts(&self) -> RoomCounts {
        let table = self.lock();
        RoomCounts {
            rooms: table.rooms.len(),
            peers: table.rooms.values().map(|room| room.peers.len()).sum(),
            connections: self.connection_limit.connections(),
            forwarded: self.forwarded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn count_dropped(&self, dropped: u64) {
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, RoomTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn peer(&self, id: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.id == id)
    }
}

/// Each of these returns the number of peers that were removed because their queue was full.
impl RoomTable {
    fn push_to_others(&mut self, room: &str, from: &str, message: Utf8Bytes) -> u64 {
        self.push(room, |peer| peer.id != from, message)
    }

    fn push(&mut self, room: &str, receives: impl Fn(&Peer) -> bool, message: Utf8Bytes) -> u64 {
        let Some(entry) = self.rooms.get(room) else {
            return 0;
        };
        let receivers = entry.peers.iter().filter(|peer| receives(peer));
        let slow: Vec<String> = receivers
            .filter(|peer| !peer.queue.push(message.clone()))
            .map(|peer| peer.id.clone())
            .collect();
        slow.iter().map(|id| 1 + self.remove_slow(room, id)).sum()
    }

    fn remove_slow(&mut self, room: &str, id: &str) -> u64 {
        if let Some(peer) = self.rooms.get(room).and_then(|room| room.peer(id)) {
            peer.queue.end(Refusal::Slow);
        }
        self.remove(room, id)
    }

    /// Removes a peer and notifies the others. The notification may fill another peer's queue,
    /// which removes that peer too; the recursion ends because each step removes one peer.
    fn remove(&mut self, room: &str, id: &str) -> u64 {
        let Some(entry) = self.rooms.get_mut(room) else {
            return 0;
        };
        let before = entry.peers.len();
        entry.peers.retain(|peer| peer.id != id);
        match entry.peers.len() {
            0 => {
                self.rooms.remove(room);
                0
            }
            after if after == before => 0,
            _ => self.push(room, |_| true, message::left(id)),
        }
    }
}

/// Nine random octets: too many to guess or to draw twice.
fn random_id() -> std::io::Result<String> {
    let mut octets = [0; 9];
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_exists_while_a_peer_is_in_it() {
        let (rooms, limits) = (
            Rooms::default(),
            Limits {
                rooms: 1,
                ..Limits::default()
            },
        );
        let ann = rooms.join("blue", 2, None, &limits).unwrap();
        let bob = rooms.join("blue", 9, None, &limits).unwrap();
        assert_eq!(
            (bob.room_size, bob.others.as_slice()),
            (2, [ann.id.clone()].as_slice())
        );
        assert_eq!(
            rooms.join("blue", 9, None, &limits).err(),
            Some(Refusal::RoomFull)
        );
        assert_eq!(
            rooms.join("green", 2, None, &limits).err(),
            Some(Refusal::TooManyRooms)
        );
        rooms.leave(&ann);
        rooms.leave(&ann);
        rooms.leave(&bob);
        assert_eq!((rooms.counts().rooms, rooms.counts().peers), (0, 0));
        assert!(rooms.join("green", 2, None, &limits).is_ok());
    }

    #[test]
    fn a_full_queue_removes_its_peer_and_the_announcement_may_remove_the_next() {
        let (rooms, limits) = (
            Rooms::default(),
            Limits {
                queue_messages: 2,
                ..Limits::default()
            },
        );
        let ann = rooms.join("blue", 3, None, &limits).unwrap();
        let bob = rooms.join("blue", 3, None, &limits).unwrap();
        let eve = rooms.join("blue", 3, None, &limits).unwrap();
        // Ann's queue holds two messages, Bob's one; no one reads.
        rooms.forward("blue", &eve.id, None, "x".into()).unwrap();
        assert!(!rooms.contains("blue", &ann.id), "Ann's queue was full");
        assert!(
            !rooms.contains("blue", &bob.id),
            "Bob's queue was full when Ann was announced as left"
        );
        assert!(rooms.contains("blue", &eve.id));
        assert_eq!(rooms.counts().dropped, 2);
    }

    #[test]
    fn the_lost_connection_of_a_resumed_peer_does_not_remove_it() {
        let (rooms, limits) = (Rooms::default(), Limits::default());
        let first = rooms.join("blue", 2, None, &limits).unwrap();
        let second = rooms.join("blue", 2, Some(&first.id), &limits).unwrap();
        assert!(second.resumed);
        rooms.leave(&first);
        assert!(rooms.contains("blue", &second.id));
        rooms.leave(&second);
        assert!(!rooms.contains("blue", &second.id));
    }
}
