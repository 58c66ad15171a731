//! Bandwidth limits and octet quotas of relayed payload. Buckets and quotas are shared by all
//! allocations under the same limit, across shards and without a lock. An allocation without limits
//! has no meter, so its packets pay nothing.

use crate::turn::ids::time::Instant;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A token bucket in octets. It is one atomic number: the time until which the taken octets are
/// paid for (GCRA).
#[derive(Debug)]
pub struct TokenBucket {
    /// Octets per second.
    rate: u64,
    paid_until: AtomicU64,
}

impl TokenBucket {
    /// A full bucket that fills at `rate` octets per second and holds [`BURST`] of it.
    pub const fn new(rate: u64) -> TokenBucket {
        TokenBucket {
            rate,
            paid_until: AtomicU64::new(0),
        }
    }

    /// Takes octets unless the bucket is empty. A packet is never cut, so the last one may take
    /// more than there is.
    pub fn take(&self, now: Instant, octets: usize) -> bool {
        let cost = (octets as u64)
            .saturating_mul(1_000_000_000)
            .checked_div(self.rate)
            .unwrap_or(u64::MAX);
        let horizon = now + BURST;
        let take = |paid: u64| (paid < horizon.0).then(|| paid.max(now.0).saturating_add(cost));
        self.paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// Returns true if the bucket is not empty.
    pub fn is_open(&self, now: Instant) -> bool {
        self.paid_until.load(Ordering::Relaxed) < (now + BURST).0
    }

    /// Takes octets that were relayed already, even more than there are.
    pub fn charge(&self, now: Instant, octets: u64) {
        let cost = octets
            .saturating_mul(1_000_000_000)
            .checked_div(self.rate)
            .unwrap_or(u64::MAX);
        let charge = |paid: u64| Some(paid.max(now.0).saturating_add(cost));
        // Cannot fail, because the closure always returns a number.
        let _ = self
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// The rate in octets per second.
    pub const fn rate(&self) -> u64 {
        self.rate
    }
}

/// The octets that all allocations of a user may relay in each period. Periods are counted from the
/// Unix epoch, so a day begins at midnight UTC.
#[derive(Debug)]
pub struct OctetQuota {
    limit: u64,
    period: Duration,
    /// The number of the period that the octets were counted in.
    current_period: AtomicU64,
    octets: AtomicU64,
}

impl OctetQuota {
    /// A quota of `limit` octets in each `period`.
    pub const fn new(limit: u64, period: Duration) -> OctetQuota {
        OctetQuota {
            limit,
            period,
            current_period: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        }
    }

    /// Uses octets unless the quota is exhausted. The last packet may use more than there are.
    pub fn take(&self, unix_time: Duration, octets: usize) -> bool {
        self.advance_period(unix_time);
        let within = self.octets.load(Ordering::Relaxed) < self.limit;
        if within {
            self.octets.fetch_add(octets as u64, Ordering::Relaxed);
        }
        within
    }

    /// Uses octets that were relayed already, even more than there are.
    pub fn charge(&self, unix_time: Duration, octets: u64) {
        self.advance_period(unix_time);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// Returns true if the quota of this period is not exhausted.
    pub fn has_octets(&self, unix_time: Duration) -> bool {
        self.advance_period(unix_time);
        self.octets.load(Ordering::Relaxed) < self.limit
    }

    /// Returns true if the configured limit is unchanged.
    pub fn has_limit(&self, limit: u64, period: Duration) -> bool {
        self.limit == limit && self.period == period
    }

    /// Returns true if nothing was used in this period.
    pub fn is_unused(&self, unix_time: Duration) -> bool {
        self.advance_period(unix_time);
        self.octets.load(Ordering::Relaxed) == 0
    }

    fn advance_period(&self, unix_time: Duration) {
        let period = unix_time.as_secs() / self.period.as_secs().max(1);
        if self.current_period.swap(period, Ordering::Relaxed) != period {
            self.octets.store(0, Ordering::Relaxed);
        }
    }
}

/// The limits of one allocation: the token buckets of the allocation, its user, its realm and the
/// server, and the octet quota of its user, as far as the operator set them.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    buckets: Vec<Arc<TokenBucket>>,
    quota: Option<Arc<OctetQuota>>,
}

impl Meter {
    /// A meter, or `None` if nothing is limited.
    pub fn new(
        buckets: impl IntoIterator<Item = Option<Arc<TokenBucket>>>,
        quota: Option<Arc<OctetQuota>>,
    ) -> Option<Box<Meter>> {
        let buckets: Vec<_> = buckets.into_iter().flatten().collect();
        (!buckets.is_empty() || quota.is_some()).then(|| Box::new(Meter { buckets, quota }))
    }

    /// Takes the octets of a packet. Returns false if a bucket is empty or the quota is exhausted;
    /// buckets in front of that one have then been charged.
    pub fn allows(&self, now: Instant, unix_time: Duration, octets: usize) -> bool {
        self.buckets.iter().all(|bucket| bucket.take(now, octets))
            && self
                .quota
                .as_ref()
                .is_none_or(|quota| quota.take(unix_time, octets))
    }

    /// Returns true if payload may pass now. A stream, which cannot drop octets, waits for this and
    /// is charged afterwards.
    pub fn is_open(&self, now: Instant, unix_time: Duration) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_open(now))
            && self
                .quota
                .as_ref()
                .is_none_or(|quota| quota.has_octets(unix_time))
    }

    /// Takes the octets that a stream carried from all buckets and the quota.
    pub fn charge(&self, now: Instant, unix_time: Duration, octets: u64) {
        self.buckets
            .iter()
            .for_each(|bucket| bucket.charge(now, octets));
        if let Some(quota) = &self.quota {
            quota.charge(unix_time, octets);
        }
    }
}

/// The capacity of a bucket, so that a burst of media such as a key frame passes whole.
pub const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_its_rate_after_a_burst() {
        let bucket = TokenBucket::new(1_000_000);
        let start = Instant(1_000_000_000_000);
        let taken = |at_ms: u64| {
            (0..1000)
                .filter(|_| bucket.take(start + Duration::from_millis(at_ms), 1000))
                .count()
        };
        assert_eq!(taken(0), 100, "100 ms of a megabyte a second");
        assert_eq!(taken(50), 50);
        assert_eq!(taken(1050), 100);
    }

    #[test]
    fn a_meter_allows_what_its_smallest_bucket_allows() {
        let (wide, tight) = (
            Arc::new(TokenBucket::new(1_000_000)),
            Arc::new(TokenBucket::new(10_000)),
        );
        let meter = Meter::new([Some(wide), None, Some(tight)], None).unwrap();
        let passed = (0..100)
            .filter(|_| meter.allows(Instant(1_000_000_000), Duration::ZERO, 100))
            .count();
        assert_eq!(passed, 10);
        assert!(Meter::new([None], None).is_none());
    }

    #[test]
    fn a_charged_stream_waits_until_its_octets_are_paid_for() {
        let meter = Meter::new(
            [Some(Arc::new(TokenBucket::new(1_000_000)))],
            Some(Arc::new(OctetQuota::new(2_000_000, DAY))),
        );
        let (meter, start) = (meter.unwrap(), Instant(1_000_000_000_000));
        let open = |at_ms: u64| meter.is_open(start + Duration::from_millis(at_ms), Duration::ZERO);
        assert!(open(0));
        meter.charge(start, Duration::ZERO, 1_000_000);
        assert_eq!(
            (open(0), open(899), open(901)),
            (false, false, true),
            "a second's worth, less a burst"
        );
        meter.charge(start, Duration::ZERO, 1_000_000);
        assert!(!open(10_000), "the quota is exhausted");
        assert!(meter.is_open(start + DAY, DAY));
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_octet_quota_starts_anew_with_each_period() {
        let quota = OctetQuota::new(1000, Duration::from_secs(60));
        let used = |at| {
            (0..20)
                .filter(|_| quota.take(Duration::from_secs(at), 100))
                .count()
        };
        assert_eq!((used(60), used(119), used(120)), (10, 0, 10));
        assert!(
            !quota.has_octets(Duration::from_secs(120))
                && quota.has_octets(Duration::from_secs(180))
        );
    }
}
