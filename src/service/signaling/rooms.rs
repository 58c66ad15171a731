//! The rooms and who is in them. One lock, held for as long as it takes to look up a room and push to its queues;
//! nobody waits for a peer under it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::signaling::bounds::Bounds;
use crate::service::signaling::doors::{Doors, Ticket};
use crate::service::signaling::message;
use crate::service::signaling::outbox::Outbox;
use crate::service::signaling::refusal::Refusal;

/// Every room of this server.
#[derive(Default)]
pub struct Rooms {
    state: Mutex<State>,
    doors: Arc<Doors>,
    forwarded: AtomicU64,
    dropped: AtomicU64,
}

/// What the rooms hold and have done, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Rooms that have a peer now.
    pub rooms: usize,
    /// Peers in them now.
    pub peers: usize,
    /// WebSocket connections now.
    pub connections: usize,
    /// Messages passed from one peer to another since the start.
    pub forwarded: u64,
    /// Peers dropped because they read too slowly, since the start.
    pub dropped: u64,
}

/// A peer's place in a room, as its connection holds it.
pub struct Seat {
    /// The room's name.
    pub room: String,
    /// The peer's id.
    pub id: String,
    /// What waits for the peer.
    pub outbox: Arc<Outbox>,
    /// The number by which this connection reads the outbox; a later connection of the same peer has a higher one.
    pub reader: u64,
    /// The others in the room, in the order in which they came.
    pub others: Vec<String>,
    /// Whether the peer was here all along, as the others see it.
    pub resumed: bool,
    /// How many peers the room takes.
    pub limit: usize,
}

#[derive(Default)]
struct State {
    /// Keyed by what clients choose: std's hash is keyed at random.
    rooms: HashMap<String, Room>,
    stopping: bool,
}

struct Room {
    limit: usize,
    /// In the order in which they came.
    peers: Vec<Peer>,
}

struct Peer {
    id: String,
    outbox: Arc<Outbox>,
}

impl Rooms {
    /// Counts one more connection, if there may be one more.
    pub fn connect(&self, address: Option<IpAddr>, bounds: &Bounds) -> Result<Ticket, Refusal> {
        self.doors.enter(address, bounds)
    }

    /// Whether the peer `id` has its place in `room` still, so that it may resume it.
    pub fn holds(&self, room: &str, id: &str) -> bool {
        self.state()
            .rooms
            .get(room)
            .is_some_and(|room| room.peers.iter().any(|peer| peer.id == id))
    }

    /// Seats a peer in `room`, which takes `limit` peers if it is new; `known` is the id that it resumes.
    pub fn join(
        &self,
        room: &str,
        limit: usize,
        known: Option<&str>,
        bounds: &Bounds,
    ) -> Result<Seat, Refusal> {
        let id = match known {
            Some(known) => known.to_owned(),
            None => random_id().map_err(|_| Refusal::TooManyPeers)?,
        };
        let mut state = self.state();
        if state.stopping {
            return Err(Refusal::Stopping);
        }
        let count = state.rooms.len();
        let place = match state.rooms.get_mut(room) {
            Some(place) => place,
            None if count >= bounds.rooms => return Err(Refusal::TooManyRooms),
            None => state.rooms.entry(room.to_owned()).or_insert(Room {
                limit,
                peers: Vec::new(),
            }),
        };
        let limit = place.limit;
        let others = || {
            place
                .peers
                .iter()
                .map(|peer| peer.id.clone())
                .filter(|other| *other != id)
                .collect()
        };
        let (others, seated): (Vec<String>, _) =
            (others(), place.peers.iter().find(|peer| peer.id == id));
        let resumed = seated.is_some();
        let outbox = match seated {
            Some(peer) => peer.outbox.clone(),
            None if place.peers.len() >= limit => return Err(Refusal::RoomFull),
            None => Arc::new(Outbox::new(bounds.queue, bounds.queue_octets)),
        };
        let reader = outbox.take_over();
        if !resumed {
            place.peers.push(Peer {
                id: id.clone(),
                outbox: outbox.clone(),
            });
            let dropped = state.push(room, Some(&id), None, message::joined(&id));
            self.count_dropped(dropped);
        }
        Ok(Seat {
            room: room.to_owned(),
            id,
            outbox,
            reader,
            others,
            resumed,
            limit,
        })
    }

    /// Passes a message from the peer `from` to the peer `to` in `room`, or to all others.
    pub fn forward(
        &self,
        room: &str,
        from: &str,
        to: Option<&str>,
        message: Utf8Bytes,
    ) -> Result<(), Refusal> {
        let mut state = self.state();
        let known = |to: &str| {
            state
                .rooms
                .get(room)
                .is_some_and(|room| room.peers.iter().any(|peer| peer.id == to))
        };
        if to.is_some_and(|to| to == from || !known(to)) {
            return Err(Refusal::NoSuchPeer);
        }
        let dropped = state.push(room, Some(from), to, message);
        drop(state);
        self.count_dropped(dropped);
        self.forwarded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the peer of `seat` out of its room and tells the others, unless another connection has resumed it.
    pub fn leave(&self, seat: &Seat) {
        let mut state = self.state();
        if seat.outbox.is_read_by(seat.reader) {
            let dropped = state.remove(&seat.room, &seat.id);
            self.count_dropped(dropped);
        }
    }

    /// Sends everybody away, and lets nobody in any more.
    pub fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for peer in state.rooms.values().flat_map(|room| &room.peers) {
            peer.outbox.end(Refusal::Stopping);
        }
        state.rooms.clear();
    }

    /// What there is now, and what has happened.
    pub fn counts(&self) -> Counts {
        let state = self.state();
        Counts {
            rooms: state.rooms.len(),
            peers: state.rooms.values().map(|room| room.peers.len()).sum(),
            connections: self.doors.connections(),
            forwarded: self.forwarded.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }

    fn count_dropped(&self, dropped: u64) {
        self.dropped.fetch_add(dropped, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Pushes to `to`, or to all but `from`; drops whoever's queue is full. Returns how many were dropped.
    fn push(
        &mut self,
        room: &str,
        from: Option<&str>,
        to: Option<&str>,
        message: Utf8Bytes,
    ) -> u64 {
        let Some(place) = self.rooms.get(room) else {
            return 0;
        };
        let meant = |peer: &&Peer| to.is_none_or(|to| peer.id == to) && from != Some(&peer.id);
        let slow: Vec<String> = (place.peers.iter().filter(meant))
            .filter(|peer| !peer.outbox.push(message.clone()))
            .map(|peer| peer.id.clone())
            .collect();
        slow.iter().map(|id| 1 + self.drop_slow(room, id)).sum()
    }

    fn drop_slow(&mut self, room: &str, id: &str) -> u64 {
        let peer = self
            .rooms
            .get(room)
            .and_then(|room| room.peers.iter().find(|peer| peer.id == id));
        if let Some(peer) = peer {
            peer.outbox.end(Refusal::Slow);
        }
        self.remove(room, id)
    }

    /// Takes a peer out of its room and tells the others, which may drop those in turn: each step leaves one peer
    /// less, so it ends.
    fn remove(&mut self, room: &str, id: &str) -> u64 {
        let Some(place) = self.rooms.get_mut(room) else {
            return 0;
        };
        let before = place.peers.len();
        place.peers.retain(|peer| peer.id != id);
        match place.peers.len() {
            0 => {
                self.rooms.remove(room);
                0
            }
            now if now == before => 0,
            _ => self.push(room, None, None, message::left(id)),
        }
    }
}

/// Nine random octets, which nobody meets twice.
fn random_id() -> std::io::Result<String> {
    let mut octets = [0; 9];
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_lives_as_long_as_somebody_is_in_it() {
        let (rooms, bounds) = (
            Rooms::default(),
            Bounds {
                rooms: 1,
                ..Bounds::default()
            },
        );
        let ann = rooms.join("blue", 2, None, &bounds).unwrap();
        let bob = rooms.join("blue", 9, None, &bounds).unwrap();
        assert_eq!(
            (bob.limit, bob.others.as_slice()),
            (2, [ann.id.clone()].as_slice())
        );
        assert_eq!(
            rooms.join("blue", 9, None, &bounds).err(),
            Some(Refusal::RoomFull)
        );
        assert_eq!(
            rooms.join("green", 2, None, &bounds).err(),
            Some(Refusal::TooManyRooms)
        );
        rooms.leave(&ann);
        rooms.leave(&ann);
        rooms.leave(&bob);
        assert_eq!((rooms.counts().rooms, rooms.counts().peers), (0, 0));
        assert!(rooms.join("green", 2, None, &bounds).is_ok());
    }

    #[test]
    fn a_full_queue_drops_its_peer_and_the_news_may_drop_the_next() {
        let (rooms, bounds) = (
            Rooms::default(),
            Bounds {
                queue: 2,
                ..Bounds::default()
            },
        );
        let ann = rooms.join("blue", 3, None, &bounds).unwrap();
        let bob = rooms.join("blue", 3, None, &bounds).unwrap();
        let eve = rooms.join("blue", 3, None, &bounds).unwrap();
        // Ann's queue holds both arrivals, Bob's one; nobody reads.
        rooms.forward("blue", &eve.id, None, "x".into()).unwrap();
        assert!(!rooms.holds("blue", &ann.id), "Ann had no room for it");
        assert!(
            !rooms.holds("blue", &bob.id),
            "Bob had no room for the news about Ann"
        );
        assert!(rooms.holds("blue", &eve.id));
        assert_eq!(rooms.counts().dropped, 2);
    }

    #[test]
    fn who_resumed_is_not_taken_out_by_the_connection_that_was_lost() {
        let (rooms, bounds) = (Rooms::default(), Bounds::default());
        let first = rooms.join("blue", 2, None, &bounds).unwrap();
        let second = rooms.join("blue", 2, Some(&first.id), &bounds).unwrap();
        assert!(second.resumed);
        rooms.leave(&first);
        assert!(rooms.holds("blue", &second.id));
        rooms.leave(&second);
        assert!(!rooms.holds("blue", &second.id));
    }
}
