//! How fast: token buckets for what is relayed, shared by whoever shares a limit, across shards and without a lock. None
//! is asked where the operator set no limit.

use crate::turn::ids::time::Instant;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A token bucket in octets: one atomic number, the time until which what was taken is paid (GCRA).
#[derive(Debug)]
pub struct TokenBucket {
    /// Octets a second.
    rate: u64,
    paid_until: AtomicU64,
}

impl TokenBucket {
    /// A full bucket that fills at `rate` octets a second and holds [`BURST`] of them.
    pub const fn new(rate: u64) -> TokenBucket {
        TokenBucket {
            rate,
            paid_until: AtomicU64::new(0),
        }
    }

    /// Takes octets out, if there are any left: a packet is never cut, so the last may take more than there was.
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

    /// Whether there is anything left in it.
    pub fn is_open(&self, now: Instant) -> bool {
        self.paid_until.load(Ordering::Relaxed) < (now + BURST).0
    }

    /// Takes out what was carried already, also more than there is.
    pub fn charge(&self, now: Instant, octets: u64) {
        let cost = octets
            .saturating_mul(1_000_000_000)
            .checked_div(self.rate)
            .unwrap_or(u64::MAX);
        let charge = |paid: u64| Some(paid.max(now.0).saturating_add(cost));
        // It never fails: the closure always gives a number.
        let _ = self
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }

    /// The rate, in octets a second.
    pub const fn rate(&self) -> u64 {
        self.rate
    }
}

/// How much in a period of time: octets that a user relayed, all allocations together. Periods are counted from the Unix
/// epoch, so that a day begins at midnight UTC.
#[derive(Debug)]
pub struct OctetQuota {
    most: u64,
    period: Duration,
    /// Which period the octets are of.
    number: AtomicU64,
    octets: AtomicU64,
}

impl OctetQuota {
    /// `most` octets in each `period`, none of them used.
    pub const fn new(most: u64, period: Duration) -> OctetQuota {
        OctetQuota {
            most,
            period,
            number: AtomicU64::new(0),
            octets: AtomicU64::new(0),
        }
    }

    /// Uses octets, if there are any left in this period: the last packet may use more than there were.
    pub fn take(&self, unix: Duration, octets: usize) -> bool {
        self.turn_over(unix);
        let within = self.octets.load(Ordering::Relaxed) < self.most;
        if within {
            self.octets.fetch_add(octets as u64, Ordering::Relaxed);
        }
        within
    }

    /// Uses octets that were carried already, also more than are left.
    pub fn charge(&self, unix: Duration, octets: u64) {
        self.turn_over(unix);
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }

    /// Whether octets are left in this period.
    pub fn is_left(&self, unix: Duration) -> bool {
        self.turn_over(unix);
        self.octets.load(Ordering::Relaxed) < self.most
    }

    /// Whether these are the bounds.
    pub fn is(&self, most: u64, period: Duration) -> bool {
        self.most == most && self.period == period
    }

    /// Whether nothing was used in this period.
    pub fn is_fresh(&self, unix: Duration) -> bool {
        self.turn_over(unix);
        self.octets.load(Ordering::Relaxed) == 0
    }

    fn turn_over(&self, unix: Duration) {
        let number = unix.as_secs() / self.period.as_secs().max(1);
        if self.number.swap(number, Ordering::Relaxed) != number {
            self.octets.store(0, Ordering::Relaxed);
        }
    }
}

/// What one allocation draws from: buckets of its own, its user's, its realm's and the server's, and its user's allowance,
/// as far as they are limited.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    buckets: Vec<Arc<TokenBucket>>,
    allowance: Option<Arc<OctetQuota>>,
}

impl Meter {
    /// A meter; `None` where nothing is limited, so that nothing is asked for each packet.
    pub fn new(
        buckets: impl IntoIterator<Item = Option<Arc<TokenBucket>>>,
        allowance: Option<Arc<OctetQuota>>,
    ) -> Option<Box<Meter>> {
        let buckets: Vec<_> = buckets.into_iter().flatten().collect();
        (!buckets.is_empty() || allowance.is_some()).then(|| Box::new(Meter { buckets, allowance }))
    }

    /// Whether a packet of so many octets may pass; each bucket up to the first that is empty is drawn from.
    pub fn admits(&self, now: Instant, unix: Duration, octets: usize) -> bool {
        self.buckets.iter().all(|bucket| bucket.take(now, octets))
            && self
                .allowance
                .as_ref()
                .is_none_or(|allowance| allowance.take(unix, octets))
    }

    /// Whether anything may pass now. A stream, which cannot lose what is too much, waits until it may, and is then charged
    /// for what it carried.
    pub fn is_open(&self, now: Instant, unix: Duration) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_open(now))
            && self
                .allowance
                .as_ref()
                .is_none_or(|allowance| allowance.is_left(unix))
    }

    /// Draws what a stream carried from everything.
    pub fn charge(&self, now: Instant, unix: Duration, octets: u64) {
        self.buckets
            .iter()
            .for_each(|bucket| bucket.charge(now, octets));
        if let Some(allowance) = &self.allowance {
            allowance.charge(unix, octets);
        }
    }
}

/// How many new peers a second an allocation may have, against port scans through a relay. Most have no bound, so what a
/// bound takes is boxed.
#[derive(Clone, Debug, Default)]
pub struct NewPeerRate(Option<Box<Bound>>);

#[derive(Clone, Debug)]
struct Bound {
    /// Peers a second; not 0.
    rate: u32,
    paid_until: Instant,
    /// The peers that datagrams went to last, the newest last.
    recent: Vec<SocketAddr>,
}

impl NewPeerRate {
    /// At most `rate` new peers a second, in bursts of a second's worth; 0 for no bound.
    pub fn new(rate: u32) -> NewPeerRate {
        let bound = || {
            Box::new(Bound {
                rate,
                paid_until: Instant::default(),
                recent: Vec::new(),
            })
        };
        NewPeerRate((rate > 0).then(bound))
    }

    /// Whether one more may come.
    pub fn admits(&mut self, now: Instant) -> bool {
        self.0.as_mut().is_none_or(|bound| bound.admits(now))
    }

    /// Whether a datagram may go to a peer: one of the last few, or one more.
    pub fn admits_peer(&mut self, now: Instant, peer: SocketAddr) -> bool {
        self.0
            .as_mut()
            .is_none_or(|bound| bound.admits_peer(now, peer))
    }
}

impl Bound {
    fn admits(&mut self, now: Instant) -> bool {
        let cost = 1_000_000_000 / u64::from(self.rate.max(1));
        let next = self.paid_until.max(now) + Duration::from_nanos(cost);
        let admitted = next <= now + Duration::from_secs(1);
        if admitted {
            self.paid_until = next;
        }
        admitted
    }

    fn admits_peer(&mut self, now: Instant, peer: SocketAddr) -> bool {
        if self.recent.contains(&peer) {
            return true;
        }
        let admitted = self.admits(now);
        if admitted {
            if self.recent.len() >= RECENT {
                self.recent.remove(0);
            }
            self.recent.push(peer);
        }
        admitted
    }
}

/// How many peers are remembered as known.
const RECENT: usize = 32;
/// How much a full bucket holds: a burst of media, such as a key frame, passes whole.
pub const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_a_burst() {
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
    fn a_meter_is_as_tight_as_its_tightest_bucket() {
        let (wide, tight) = (
            Arc::new(TokenBucket::new(1_000_000)),
            Arc::new(TokenBucket::new(10_000)),
        );
        let meter = Meter::new([Some(wide), None, Some(tight)], None).unwrap();
        let passed = (0..100)
            .filter(|_| meter.admits(Instant(1_000_000_000), Duration::ZERO, 100))
            .count();
        assert_eq!(passed, 10);
        assert!(Meter::new([None], None).is_none());
    }

    #[test]
    fn a_stream_waits_until_what_it_carried_is_paid() {
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
        assert!(!open(10_000), "the allowance is used up");
        assert!(meter.is_open(start + DAY, DAY));
    }

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn an_allowance_begins_anew_with_each_period() {
        let allowance = OctetQuota::new(1000, Duration::from_secs(60));
        let used = |at| {
            (0..20)
                .filter(|_| allowance.take(Duration::from_secs(at), 100))
                .count()
        };
        assert_eq!((used(60), used(119), used(120)), (10, 0, 10));
        assert!(
            !allowance.is_left(Duration::from_secs(120))
                && allowance.is_left(Duration::from_secs(180))
        );
    }

    #[test]
    fn a_pace_lets_a_seconds_worth_through_at_once() {
        let (mut pace, now) = (NewPeerRate::new(20), Instant(1_000_000_000_000));
        let peer = |port| SocketAddr::from(([192, 0, 2, 1], port));
        assert_eq!(
            (0..100)
                .filter(|port| pace.admits_peer(now, peer(*port)))
                .count(),
            20
        );
        assert!(pace.admits_peer(now, peer(3)), "it is known");
        assert_eq!(
            (0..100)
                .filter(|_| pace.admits(now + Duration::from_millis(500)))
                .count(),
            10
        );
        assert!((0..100).all(|port| NewPeerRate::default().admits_peer(now, peer(port))));
    }
}
