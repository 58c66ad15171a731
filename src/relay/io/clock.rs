//! The time of a shard: one clock for all shards of a server, read once for each batch.

use crate::turn::Instant;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the supervisor started, which is the epoch of [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    pub(crate) fn start() -> Clock {
        Clock {
            epoch: std::time::Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The Unix time of the epoch. Changes when the system's clock is set.
    pub(crate) fn unix_at_epoch(&self) -> Duration {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        unix.saturating_sub(self.epoch.elapsed())
    }

    pub(crate) fn to_std(self, at: Instant) -> std::time::Instant {
        self.epoch + Duration::from_nanos(at.0.min(FOREVER.0))
    }

    pub(crate) fn instant_of(self, at: std::time::Instant) -> Instant {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        Instant(u64::try_from(since).unwrap_or(u64::MAX).min(FOREVER.0))
    }

    pub(crate) fn to_tokio(self, at: Instant) -> tokio::time::Instant {
        self.to_std(at).into()
    }
}

/// Later than any shard runs: thirty years. `std::time::Instant` cannot hold every `u64` of
/// nanoseconds.
pub(crate) const FOREVER: Instant = Instant(30 * 365 * 86_400 * 1_000_000_000);
