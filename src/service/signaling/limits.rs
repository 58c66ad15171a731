//! Limits on everything that a signaling client can make grow.

use std::time::Duration;

/// The limits of the signaling. An operator configures the numbers of rooms, peers and connections;
/// the others are constants of [`Limits::default`], which tests shorten.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum size of a message, in octets. A larger one is answered `too-large`; one of four
    /// times this size ends the connection.
    pub message_size: usize,
    /// Maximum time from the first octet of a message to its last; the connection ends after that.
    pub message_time: Duration,
    /// Messages per second that one peer may send.
    pub message_rate: u32,
    /// Messages that one peer may send in a burst.
    pub message_burst: u32,
    /// Maximum number of rooms.
    pub rooms: usize,
    /// Maximum number of WebSocket connections.
    pub connections: usize,
    /// Maximum number of WebSocket connections from one IPv4 address or IPv6 /64, loopback
    /// excepted; 0 = unlimited.
    pub connections_per_address: usize,
    /// Largest room size that a client may request.
    pub room_size: usize,
    /// Messages that may wait for one peer before it is disconnected as a slow reader.
    pub queue_messages: usize,
    /// Octets that may wait for one peer before it is disconnected as a slow reader.
    pub queue_octets: usize,
    /// Interval of the server's pings.
    pub ping_interval: Duration,
    /// A connection counts as lost if nothing, not even a pong, is received for this long.
    pub silence_timeout: Duration,
    /// Time that a peer has to resume after its connection was lost before it is announced as left.
    pub resume_grace: Duration,
    /// A peer that sends no message for this long is disconnected.
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            message_size: 64 << 10,
            message_time: Duration::from_secs(10),
            message_rate: 50,
            message_burst: 200,
            rooms: 10_000,
            connections: 20_000,
            connections_per_address: 2_000,
            room_size: 16,
            queue_messages: 256,
            queue_octets: 1 << 20,
            ping_interval: Duration::from_secs(2),
            silence_timeout: Duration::from_secs(5),
            resume_grace: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(2 * 3_600),
        }
    }
}

/// Returns true if `name` is a valid room name: 1 to 64 letters, digits or `-_.~`, the characters
/// that a URL never escapes (RFC 3986 section 2.3).
pub fn is_room_name(name: &str) -> bool {
    (1..=MAX_ROOM_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet))
}

/// Size of a room whose first peer requests none.
pub const DEFAULT_ROOM_SIZE: usize = 2;
/// Maximum length of a room name, in characters.
const MAX_ROOM_NAME: usize = 64;
