//! Ports held for a later allocation: what EVEN-PORT with its R bit asks for and RESERVATION-TOKEN redeems, on any shard
//! and from any five-tuple. RFC 8656 §7.2.

use super::ports::Ports;
use super::time::Instant;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A reservation's name: RESERVATION-TOKEN's eight octets.
pub type Token = [u8; 8];

/// The reservations of all shards. A reserved port is claimed but not bound, so it costs no socket; each is good once.
#[derive(Debug)]
pub struct Reservations {
    ports: Arc<Ports>,
    /// Key: tokens, which the server draws at random. Read at Allocate.
    held: Mutex<HashMap<Token, Held>>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    local: SocketAddr,
    until: Instant,
}

impl Reservations {
    /// None yet; what expires goes back to `ports`.
    pub fn new(ports: Arc<Ports>) -> Reservations {
        Reservations { ports, held: Mutex::default() }
    }

    /// Holds a claimed port under a token for [`HOLD`]. False, and nothing held, when there are too many already.
    pub fn hold(&self, now: Instant, token: Token, local: SocketAddr) -> bool {
        let mut held = self.lock();
        self.purge(now, &mut held);
        if held.len() >= MOST {
            return false;
        }
        held.insert(token, Held { local, until: now + HOLD });
        true
    }

    /// Redeems a token: the port, still claimed, is the caller's from here on.
    pub fn redeem(&self, now: Instant, token: &[u8]) -> Option<SocketAddr> {
        let mut held = self.lock();
        self.purge(now, &mut held);
        held.remove(token).map(|held| held.local)
    }

    /// Gives back what nobody redeemed in time.
    pub fn expire(&self, now: Instant) {
        self.purge(now, &mut self.lock());
    }

    fn purge(&self, now: Instant, held: &mut HashMap<Token, Held>) {
        held.retain(|_, reservation| {
            let live = now < reservation.until;
            if !live {
                self.ports.release(reservation.local);
            }
            live
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a reservation is held. RFC 8656 §7.2: "at least 30 seconds".
pub const HOLD: Duration = Duration::from_secs(30);
/// The most reservations at a time: they are walked whole.
const MOST: usize = 1024;
