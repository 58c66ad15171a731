//! Port reservations: EVEN-PORT with its R bit reserves a port, RESERVATION-TOKEN redeems it on any
//! shard and from any five-tuple. RFC 8656 §7.2.

use crate::turn::ids::time::Instant;
use crate::turn::quota::ledger::{UserKey, counts, decrement, increment};
use crate::turn::quota::ports::Ports;
use papaya::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The value of RESERVATION-TOKEN.
pub type ReservationToken = [u8; 8];

/// The reserved ports of all shards. A reserved port is claimed but not bound, so it costs no
/// socket. A token is valid once. A reservation ends with its allocation, and a user has only a
/// few: otherwise one user could take all of them in pairs of Allocate and Refresh requests, and
/// EVEN-PORT would fail for all others. RFC 8656 holds every reservation for 30 seconds; a client
/// that deletes the allocation without having redeemed the token has no use for the port.
#[derive(Debug)]
pub struct Reservations {
    ports: Arc<Ports>,
    /// Key: tokens, which the server draws at random. Reader: Allocate. Hasher: the standard
    /// library's. Lock-free.
    reserved: HashMap<ReservationToken, Reservation>,
    /// Key: users with reservations.
    users: HashMap<UserKey, u32>,
}

#[derive(Debug)]
struct Reservation {
    user: UserKey,
    local: SocketAddr,
    expires: Instant,
}

impl Reservations {
    /// No reservations. Expired ones release their port in `ports`.
    pub fn new(ports: Arc<Ports>) -> Reservations {
        Reservations {
            ports,
            reserved: HashMap::default(),
            users: counts(),
        }
    }

    /// Reserves a claimed port for [`RESERVATION_LIFETIME`]. Returns false if there are too many
    /// reservations, in all or of this user.
    pub(crate) fn insert(
        &self,
        now: Instant,
        token: ReservationToken,
        user: &UserKey,
        local: SocketAddr,
    ) -> bool {
        self.release_expired(now);
        if self.reserved.len() >= MAX_RESERVATIONS
            || increment(&self.users, user, MAX_PER_USER).is_err()
        {
            return false;
        }
        self.reserved.pin().insert(
            token,
            Reservation {
                user: user.clone(),
                local,
                expires: now + RESERVATION_LIFETIME,
            },
        );
        true
    }

    /// Ends a reservation. The port stays claimed, for the caller alone.
    pub fn redeem(&self, now: Instant, token: &ReservationToken) -> Option<SocketAddr> {
        self.release_expired(now);
        self.remove(token)
    }

    /// Releases the ports of expired reservations.
    pub fn release_expired(&self, now: Instant) {
        let reserved = self.reserved.pin();
        for (token, _) in reserved
            .iter()
            .filter(|(_, reservation)| reservation.expires <= now)
        {
            // Another shard may have removed it in the meantime; a port is released once.
            if let Some(local) = self.remove(token) {
                self.ports.release(local);
            }
        }
    }

    fn remove(&self, token: &ReservationToken) -> Option<SocketAddr> {
        let reserved = self.reserved.pin();
        let reservation = reserved.remove(token)?;
        decrement(&self.users, &reservation.user);
        Some(reservation.local)
    }
}

/// RFC 8656 §7.2: "at least 30 seconds".
pub const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);
/// Bounds the scan for expired reservations.
const MAX_RESERVATIONS: usize = 1024;
const MAX_PER_USER: u32 = 8;
