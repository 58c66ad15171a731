//! The rate of unauthenticated responses. A response goes to the source of the request, which may
//! be forged: a limit for each source prefix keeps attackers from flooding a third party through
//! this server. The table has a fixed size, so that it does not grow with forged sources.

use crate::turn::ids::time::Instant;
use foldhash::quality::FixedState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A token bucket for each IPv4 /24 and IPv6 /48, found by a keyed hash. Two prefixes may share a
/// bucket, but an attacker cannot tell which. A bucket is one atomic number, the time until which
/// its responses are paid for (GCRA), so the shards share it without a lock.
#[derive(Debug)]
pub struct AnswerRate {
    /// Nanoseconds between responses at the configured rate; 0 for no limit.
    interval: AtomicU64,
    hasher: FixedState,
    paid_until: Box<[AtomicU64]>,
}

impl AnswerRate {
    /// At most `rate` responses per second and prefix, in bursts of half a second; 0 for no limit.
    pub fn new(rate: u32, seed: [u8; 32]) -> AnswerRate {
        let [a, b, c, d, e, f, g, h, ..] = seed;
        AnswerRate {
            interval: AtomicU64::new(interval(rate)),
            hasher: FixedState::with_seed(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            paid_until: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Changes the rate, as [`AnswerRate::new`] sets it.
    pub fn set(&self, rate: u32) {
        self.interval.store(interval(rate), Ordering::Relaxed);
    }

    /// Takes a permit for a response to `source`. Returns false if there is none. Loopback is
    /// exempt, because no third party is there.
    pub fn allows(&self, now: Instant, source: IpAddr) -> bool {
        let interval = self.interval.load(Ordering::Relaxed);
        if interval == 0 || source.to_canonical().is_loopback() {
            return true;
        }
        let Some(bucket) = self.bucket(source) else {
            return true;
        };
        let horizon = now.0.saturating_add(BURST);
        let paid = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| {
            let next = paid.max(now.0).saturating_add(interval);
            (next <= horizon).then_some(next)
        });
        paid.is_ok()
    }

    fn bucket(&self, source: IpAddr) -> Option<&AtomicU64> {
        let prefix = match source.to_canonical() {
            IpAddr::V4(ip) => u128::from(ip.to_bits() >> 8),
            IpAddr::V6(ip) => ip.to_bits() >> 80 | 1 << 127,
        };
        let index = self.hasher.hash_one(prefix) as usize % BUCKETS;
        self.paid_until.get(index)
    }
}

fn interval(rate: u32) -> u64 {
    1_000_000_000_u64.checked_div(u64::from(rate)).unwrap_or(0)
}

/// Buckets; half a MiB.
const BUCKETS: usize = 1 << 16;
/// Nanoseconds of responses that a full bucket allows at once.
const BURST: u64 = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn prefixes_are_limited_separately() {
        let rate = AnswerRate::new(100, [1; 32]);
        let start = Instant(1_000_000_000_000);
        let answered = |source: &str, offset_ms: u64| {
            rate.allows(
                start + Duration::from_millis(offset_ms),
                source.parse().unwrap(),
            )
        };
        let burst = (0..100)
            .filter(|n| answered(&format!("192.0.2.{n}"), 0))
            .count();
        assert_eq!(burst, 50, "half a second at once");
        assert!(answered("198.51.100.1", 0));
        let second = (0..1000)
            .filter(|ms| answered("192.0.2.7", 500 + ms))
            .count();
        assert!((145..=155).contains(&second), "{second}");
    }

    #[test]
    fn ipv6_sources_are_limited_by_48_bit_prefix() {
        let rate = AnswerRate::new(2, [2; 32]);
        let now = Instant(1_000_000_000_000);
        assert!(rate.allows(now, "2001:db8:1::1".parse().unwrap()));
        assert!(!rate.allows(now, "2001:db8:1:ffff::2".parse().unwrap()));
    }

    #[test]
    fn loopback_and_rate_zero_are_unlimited() {
        let now = Instant(1_000_000_000_000);
        let bounded = AnswerRate::new(1, [3; 32]);
        assert!((0..1000).all(|_| bounded.allows(now, "127.0.0.1".parse().unwrap())));
        let unbounded = AnswerRate::new(0, [3; 32]);
        assert!((0..1000).all(|_| unbounded.allows(now, "192.0.2.1".parse().unwrap())));
    }
}
