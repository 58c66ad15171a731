//! The time of a shard: one clock for all shards of a server, read once for each batch.

use crate::turn::Instant;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since the supervisor's start, as the protocol counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// A clock that starts now.
    pub(crate) fn start() -> Clock {
        Clock {
            epoch: std::time::Instant::now(),
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Instant {
        Instant(u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The time of day when this clock was 0, by the system's clock as it is set now.
    pub(crate) fn unix_at_epoch(&self) -> Duration {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        unix.saturating_sub(self.epoch.elapsed())
    }

    /// A time as the system counts it.
    pub(crate) fn std(&self, at: Instant) -> std::time::Instant {
        self.epoch + Duration::from_nanos(at.0.min(FOREVER.0))
    }

    /// A time of the system's as the protocol counts it.
    pub(crate) fn instant(&self, at: std::time::Instant) -> Instant {
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        Instant(u64::try_from(since).unwrap_or(u64::MAX).min(FOREVER.0))
    }

    /// A time as the runtime's timers count it.
    pub(crate) fn tokio(&self, at: Instant) -> tokio::time::Instant {
        self.std(at).into()
    }
}

/// Later than any shard runs: thirty years.
pub(crate) const FOREVER: Instant = Instant(30 * 365 * 86_400 * 1_000_000_000);
