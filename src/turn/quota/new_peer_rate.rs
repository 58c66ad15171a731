//! The rate at which an allocation may reach new peers: a limit against port scans through the
//! relay.

use crate::turn::ids::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

/// The limit of one allocation. Boxed, because most allocations have none.
#[derive(Clone, Debug, Default)]
pub struct NewPeerRate(Option<Box<Limiter>>);

#[derive(Clone, Debug)]
struct Limiter {
    /// New peers per second; not 0.
    rate: u32,
    /// The time until which the taken permits are paid for (GCRA).
    paid_until: Instant,
    /// The peers that data went to most recently, the latest last.
    recent: Vec<SocketAddr>,
}

impl NewPeerRate {
    /// At most `rate` new peers per second, in bursts of one second's worth; 0 for no limit.
    pub fn new(rate: u32) -> NewPeerRate {
        let limiter = || {
            Box::new(Limiter {
                rate,
                paid_until: Instant::default(),
                recent: Vec::new(),
            })
        };
        NewPeerRate((rate > 0).then(limiter))
    }

    /// Takes a permit for one new peer. Returns false if there is none.
    pub fn allows(&mut self, now: Instant) -> bool {
        self.0.as_mut().is_none_or(|limiter| limiter.allows(now))
    }

    /// Takes a permit for this peer unless it is among the most recent ones. Returns false if there
    /// is none.
    pub fn allows_peer(&mut self, now: Instant, peer: SocketAddr) -> bool {
        self.0
            .as_mut()
            .is_none_or(|limiter| limiter.allows_peer(now, peer))
    }
}

impl Limiter {
    fn allows(&mut self, now: Instant) -> bool {
        let cost = 1_000_000_000 / u64::from(self.rate.max(1));
        let next = self.paid_until.max(now) + Duration::from_nanos(cost);
        let allowed = next <= now + Duration::from_secs(1);
        if allowed {
            self.paid_until = next;
        }
        allowed
    }

    fn allows_peer(&mut self, now: Instant, peer: SocketAddr) -> bool {
        if self.recent.contains(&peer) {
            return true;
        }
        let allowed = self.allows(now);
        if allowed {
            if self.recent.len() >= MAX_RECENT {
                self.recent.remove(0);
            }
            self.recent.push(peer);
        }
        allowed
    }
}

/// Recent peers that are remembered.
const MAX_RECENT: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_one_second_of_new_peers_and_recent_peers_are_free() {
        let (mut rate, now) = (NewPeerRate::new(20), Instant(1_000_000_000_000));
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        assert_eq!(
            (0..100)
                .filter(|port| rate.allows_peer(now, peer(*port)))
                .count(),
            20
        );
        assert!(rate.allows_peer(now, peer(3)), "a recent peer");
        assert_eq!(
            (0..100)
                .filter(|_| rate.allows(now + Duration::from_millis(500)))
                .count(),
            10
        );
        assert!((0..100).all(|port| NewPeerRate::default().allows_peer(now, peer(port))));
    }
}
