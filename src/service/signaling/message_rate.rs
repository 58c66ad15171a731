//! The rate at which one peer may send messages: a token bucket, and the end of a peer that keeps
//! exceeding it.

use tokio::time::Instant;

use crate::service::signaling::limits::Limits;

/// One peer's token bucket.
pub struct MessageRate {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    /// Messages dropped since the bucket was last full.
    dropped: u32,
    last_warning: Option<Instant>,
}

/// What to do with one message.
#[derive(Debug, PartialEq, Eq)]
pub enum RateDecision {
    Accept,
    /// Drop the message and warn its sender.
    Warn,
    /// Drop the message; its sender was warned less than a second ago.
    Drop,
    Disconnect,
}

impl MessageRate {
    /// A full bucket.
    pub fn new(limits: &Limits, now: Instant) -> MessageRate {
        let burst = f64::from(limits.message_burst.max(1));
        MessageRate {
            rate: f64::from(limits.message_rate),
            burst,
            tokens: burst,
            refilled: now,
            dropped: 0,
            last_warning: None,
        }
    }

    /// Decides about a message that arrives at `now`.
    pub fn admit(&mut self, now: Instant) -> RateDecision {
        let refill = now.duration_since(self.refilled).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + refill).min(self.burst);
        self.refilled = now;
        if self.tokens >= self.burst {
            self.dropped = 0;
        }
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return RateDecision::Accept;
        }
        self.dropped += 1;
        if f64::from(self.dropped) > self.burst * MAX_DROPPED_BURSTS {
            return RateDecision::Disconnect;
        }
        if self
            .last_warning
            .is_some_and(|warning| now.duration_since(warning).as_secs() < 1)
        {
            return RateDecision::Drop;
        }
        self.last_warning = Some(now);
        RateDecision::Warn
    }
}

/// Number of bursts that may be dropped before the sender is disconnected.
const MAX_DROPPED_BURSTS: f64 = 4.0;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_accepted_then_the_rate_and_four_dropped_bursts_disconnect() {
        let start = Instant::now();
        let limits = Limits {
            message_rate: 10,
            message_burst: 5,
            ..Limits::default()
        };
        let mut rate = MessageRate::new(&limits, start);
        assert!((0..5).all(|_| rate.admit(start) == RateDecision::Accept));
        assert_eq!(rate.admit(start), RateDecision::Warn);
        assert_eq!(rate.admit(start), RateDecision::Drop);
        let refilled = start + Duration::from_millis(110);
        assert_eq!(rate.admit(refilled), RateDecision::Accept);
        assert!((0..18).all(|_| rate.admit(refilled) == RateDecision::Drop));
        assert_eq!(rate.admit(refilled), RateDecision::Disconnect);
        let later = start + Duration::from_secs(9);
        assert_eq!(rate.admit(later), RateDecision::Accept);
        assert_eq!(rate.dropped, 0);
    }
}
