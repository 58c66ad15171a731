//! What a client can make grow, and how far.

use std::time::Duration;

/// Every bound of the signaling, set by the operator.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The largest message, in octets; more is answered `too-large`, and four times as much ends the connection.
    pub message: usize,
    /// How long a message may take from its first octet to its last; the connection ends after that.
    pub message_time: Duration,
    /// How many messages a second one peer may send for long.
    pub rate: u32,
    /// How many it may send at once after a silence.
    pub burst: u32,
    /// How many rooms there may be.
    pub rooms: usize,
    /// How many WebSocket connections there may be in all.
    pub connections: usize,
    /// How many of them one address may have, an IPv6 /64 counting as one and loopback as none; 0 for as many as there are.
    pub address_connections: usize,
    /// How many peers a room takes when its first peer does not say.
    pub peers: usize,
    /// How many it may say.
    pub most_peers: usize,
    /// The longest room name, in characters.
    pub room_name: usize,
    /// Every character that a room name may have.
    pub room_alphabet: String,
    /// How many messages may wait for one peer before it counts as a slow reader and is dropped.
    pub queue: usize,
    /// How many octets may wait for one peer before it is dropped.
    pub queue_octets: usize,
    /// How often a peer is pinged.
    pub ping: Duration,
    /// After how long without any sign of life a peer's connection counts as lost.
    pub silence: Duration,
    /// How long a peer whose connection was lost may take to resume before it is announced as left.
    pub grace: Duration,
    /// After how long without a message from it a peer is sent away.
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            message: 65_536,
            message_time: Duration::from_secs(10),
            rate: 50,
            burst: 200,
            rooms: 10_000,
            connections: 20_000,
            address_connections: 2_000,
            peers: 2,
            most_peers: 16,
            room_name: 64,
            room_alphabet: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~"
                .into(),
            queue: 256,
            queue_octets: 1 << 20,
            ping: Duration::from_secs(2),
            silence: Duration::from_secs(5),
            grace: Duration::from_secs(3),
            idle: Duration::from_secs(7_200),
        }
    }
}

impl Bounds {
    /// Whether `name` may name a room.
    pub fn names_a_room(&self, name: &str) -> bool {
        !name.is_empty()
            && name.chars().count() <= self.room_name
            && name
                .chars()
                .all(|character| self.room_alphabet.contains(character))
    }
}
