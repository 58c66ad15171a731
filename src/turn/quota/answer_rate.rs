//! How often the unauthenticated are answered. An answer goes wherever a datagram claims to come from; a bound for each
//! source prefix keeps this server from being anyone's megaphone, and a table of fixed size keeps it from remembering.

use crate::turn::ids::time::Instant;
use foldhash::quality::FixedState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A token bucket for each IPv4 /24 and IPv6 /48, by keyed hash into a fixed table: two prefixes may share a bucket, and
/// nobody outside can tell which. Each bucket is one atomic number, the time until which it is paid (GCRA), so shards
/// share it without a lock.
#[derive(Debug)]
pub struct AnswerRate {
    /// Nanoseconds that one answer costs; 0 for no bound.
    interval: AtomicU64,
    hasher: FixedState,
    paid_until: Box<[AtomicU64]>,
}

impl AnswerRate {
    /// At most `rate` answers a second for a prefix, in bursts of half a second; 0 for no bound.
    pub fn new(rate: u32, seed: [u8; 32]) -> AnswerRate {
        let [a, b, c, d, e, f, g, h, ..] = seed;
        AnswerRate {
            interval: AtomicU64::new(interval(rate)),
            hasher: FixedState::with_seed(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
            paid_until: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Changes the rate.
    pub fn set(&self, rate: u32) {
        self.interval.store(interval(rate), Ordering::Relaxed);
    }

    /// Whether one more answer may go to `source`. Loopback is exempt: nobody is reflected at there.
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

/// Half a MiB of them.
const BUCKETS: usize = 1 << 16;
/// How far ahead of time a bucket may be paid, in nanoseconds.
const BURST: u64 = 500_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_prefix_gets_its_rate_and_another_its_own() {
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
        assert_eq!(burst, 50, "half a second's worth at once");
        assert!(answered("198.51.100.1", 0));
        let second = (0..1000)
            .filter(|ms| answered("192.0.2.7", 500 + ms))
            .count();
        assert!((145..=155).contains(&second), "{second}");
    }

    #[test]
    fn an_ipv6_prefix_has_48_bits() {
        let rate = AnswerRate::new(2, [2; 32]);
        let now = Instant(1_000_000_000_000);
        assert!(rate.allows(now, "2001:db8:1::1".parse().unwrap()));
        assert!(!rate.allows(now, "2001:db8:1:ffff::2".parse().unwrap()));
    }

    #[test]
    fn loopback_and_rate_zero_are_unbounded() {
        let now = Instant(1_000_000_000_000);
        let bounded = AnswerRate::new(1, [3; 32]);
        assert!((0..1000).all(|_| bounded.allows(now, "127.0.0.1".parse().unwrap())));
        let unbounded = AnswerRate::new(0, [3; 32]);
        assert!((0..1000).all(|_| unbounded.allows(now, "192.0.2.1".parse().unwrap())));
    }
}
