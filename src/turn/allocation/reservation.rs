//! Ports held for a later allocation: what EVEN-PORT with its R bit asks for and RESERVATION-TOKEN redeems, on any shard
//! and from any five-tuple. RFC 8656 §7.2.

use crate::turn::ids::time::Instant;
use crate::turn::quota::ports::Ports;
use papaya::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A reservation's name: RESERVATION-TOKEN's eight octets.
pub type ReservationToken = [u8; 8];

/// The reservations of all shards. A reserved port is claimed but not bound, so it costs no socket; each is good once.
#[derive(Debug)]
pub struct Reservations {
    ports: Arc<Ports>,
    /// Key: tokens, which the server draws at random. Read at Allocate; lock-free, the standard library's hasher.
    held: HashMap<ReservationToken, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    local: SocketAddr,
    until: Instant,
}

impl Reservations {
    /// None yet; what expires goes back to `ports`.
    pub fn new(ports: Arc<Ports>) -> Reservations {
        Reservations {
            ports,
            held: HashMap::default(),
        }
    }

    /// Holds a claimed port under a token for [`HOLD`]. False, and nothing held, when there are too many already.
    pub fn hold(&self, now: Instant, token: ReservationToken, local: SocketAddr) -> bool {
        self.expire(now);
        if self.held.len() >= MOST {
            return false;
        }
        self.held.pin().insert(
            token,
            Held {
                local,
                until: now + HOLD,
            },
        );
        true
    }

    /// Redeems a token: the port, still claimed, is the caller's from here on, and nobody else's.
    pub fn redeem(&self, now: Instant, token: &ReservationToken) -> Option<SocketAddr> {
        self.expire(now);
        self.held.pin().remove(token).map(|held| held.local)
    }

    /// Gives back what nobody redeemed in time.
    pub fn expire(&self, now: Instant) {
        let held = self.held.pin();
        for (token, _) in held
            .iter()
            .filter(|(_, reservation)| reservation.until <= now)
        {
            if let Some(reservation) = held.remove(token) {
                self.ports.release(reservation.local);
            }
        }
    }
}

/// How long a reservation is held. RFC 8656 §7.2: "at least 30 seconds".
pub const HOLD: Duration = Duration::from_secs(30);
/// The most reservations at a time: they are walked whole.
const MOST: usize = 1024;
