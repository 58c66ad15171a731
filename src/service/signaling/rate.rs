//! How fast one peer may speak: a token bucket, and patience with those who keep on.

use tokio::time::Instant;

use crate::service::signaling::bounds::Bounds;
use crate::service::signaling::refusal::Refusal;

/// One peer's rate.
pub struct Rate {
    rate: f64,
    burst: f64,
    tokens: f64,
    filled: Instant,
    /// Messages dropped since the bucket was last full.
    dropped: u32,
    told: Option<Instant>,
}

/// What becomes of one message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Pass,
    /// It is dropped, and its sender is told.
    Tell(Refusal),
    /// It is dropped like the one before it, in silence.
    Drop,
    /// It is dropped, and its sender with it.
    End(Refusal),
}

impl Rate {
    /// A full bucket.
    pub fn new(bounds: &Bounds, now: Instant) -> Rate {
        let burst = f64::from(bounds.burst.max(1));
        Rate {
            rate: f64::from(bounds.rate),
            burst,
            tokens: burst,
            filled: now,
            dropped: 0,
            told: None,
        }
    }

    /// Takes one message's token at `now`.
    pub fn take(&mut self, now: Instant) -> Verdict {
        self.tokens = (self.tokens + now.duration_since(self.filled).as_secs_f64() * self.rate)
            .min(self.burst);
        self.filled = now;
        if self.tokens >= self.burst {
            self.dropped = 0;
        }
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Verdict::Pass;
        }
        self.dropped += 1;
        if f64::from(self.dropped) > self.burst * PATIENCE {
            return Verdict::End(Refusal::Flood);
        }
        if self
            .told
            .is_some_and(|told| now.duration_since(told).as_secs() < 1)
        {
            return Verdict::Drop;
        }
        self.told = Some(now);
        Verdict::Tell(Refusal::TooFast)
    }
}

/// How many bursts may be dropped before the sender is.
const PATIENCE: f64 = 4.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_then_patience_ends() {
        let start = Instant::now();
        let mut rate = Rate::new(
            &Bounds {
                rate: 10,
                burst: 5,
                ..Bounds::default()
            },
            start,
        );
        assert!((0..5).all(|_| rate.take(start) == Verdict::Pass));
        assert_eq!(rate.take(start), Verdict::Tell(Refusal::TooFast));
        assert_eq!(rate.take(start), Verdict::Drop);
        assert_eq!(rate.take(start + Duration::from_millis(110)), Verdict::Pass);
        assert!((0..18).all(|_| rate.take(start + Duration::from_millis(110)) == Verdict::Drop));
        assert_eq!(
            rate.take(start + Duration::from_millis(110)),
            Verdict::End(Refusal::Flood)
        );
        let later = start + Duration::from_secs(9);
        assert_eq!(rate.take(later), Verdict::Pass);
        assert_eq!(rate.dropped, 0);
    }
}
