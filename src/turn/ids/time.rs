//! Time as a number. The protocol never reads a clock: its caller passes the time to every call.

use std::ops::Add;
use std::time::Duration;

/// A point in time, in nanoseconds since an epoch of the caller's choice. It never runs backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Later than every time that is reached.
    pub const NEVER: Instant = Instant(u64::MAX);

    /// The time that has passed since `earlier`; zero if `earlier` is in the future.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, span: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// The time of day, as a function of [`Instant`]: it expires time-limited names and begins the
/// periods of octet quotas.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    unix_at_epoch: Duration,
}

impl WallClock {
    /// A clock for which `Instant(0)` is this Unix time.
    pub const fn new(unix_at_epoch: Duration) -> WallClock {
        WallClock { unix_at_epoch }
    }

    /// The Unix time at `now`.
    pub fn unix_time(self, now: Instant) -> Duration {
        self.unix_at_epoch + now.since(Instant(0))
    }
}
