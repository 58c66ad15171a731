//! A limit of TLS and DTLS handshakes in progress: each takes memory and computation before the
//! client is authenticated.

use crate::relay::plan::HandshakeLimits;
use crate::wire::client_prefix::client_prefix;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Issues permits for the handshakes of one shard. All clones share one count. Its mutex is only
/// locked by the shard.
#[derive(Clone, Debug)]
pub(crate) struct HandshakeLimit {
    limits: HandshakeLimits,
    in_progress: Arc<Mutex<InProgress>>,
}

/// The right to one handshake. Dropping it ends the handshake.
#[derive(Debug)]
pub(crate) struct HandshakePermit {
    prefix: IpAddr,
    in_progress: Arc<Mutex<InProgress>>,
}

#[derive(Debug, Default)]
struct InProgress {
    total: usize,
    /// Key: a client's IPv4 address or IPv6 /64, which an attacker chooses: keyed hasher. At most
    /// `max_handshakes` entries.
    by_prefix: HashMap<IpAddr, usize, RandomState>,
}

impl HandshakeLimit {
    pub(crate) fn new(limits: HandshakeLimits) -> HandshakeLimit {
        HandshakeLimit {
            limits,
            in_progress: Arc::default(),
        }
    }

    /// A permit for one more handshake, unless that would exceed a limit.
    pub(crate) fn acquire(&self, client: IpAddr) -> Option<HandshakePermit> {
        let mut in_progress = lock(&self.in_progress);
        if in_progress.total >= self.limits.max_handshakes {
            return None;
        }
        let prefix = client_prefix(client);
        let count = in_progress.by_prefix.entry(prefix).or_default();
        if *count >= self.limits.max_per_address {
            return None;
        }
        *count += 1;
        in_progress.total += 1;
        Some(HandshakePermit {
            prefix,
            in_progress: self.in_progress.clone(),
        })
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let mut in_progress = lock(&self.in_progress);
        in_progress.total -= 1;
        if let Some(count) = in_progress.by_prefix.get_mut(&self.prefix) {
            *count -= 1;
            if *count == 0 {
                in_progress.by_prefix.remove(&self.prefix);
            }
        }
    }
}

fn lock(in_progress: &Mutex<InProgress>) -> MutexGuard<'_, InProgress> {
    in_progress.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_limited_per_prefix_and_in_total() {
        let limit = HandshakeLimit::new(HandshakeLimits {
            max_per_address: 2,
            max_handshakes: 3,
            ..HandshakeLimits::default()
        });
        let [a, b, c] = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|ip| ip.parse().unwrap());
        let of_a = [limit.acquire(a), limit.acquire(a)];
        assert!(of_a.iter().all(Option::is_some) && limit.acquire(a).is_none());
        let of_b = limit.acquire("2001:db8::ffff".parse().unwrap());
        assert!(
            of_b.is_some() && limit.acquire(b).is_none(),
            "three in total"
        );
        drop(of_b);
        let of_c = limit.acquire(c);
        assert!(of_c.is_some());
        drop((of_a, of_c));
        let in_progress = lock(&limit.in_progress);
        assert!(in_progress.by_prefix.is_empty() && in_progress.total == 0);
    }
}
