//! The one timer of a shard.

use crate::relay::io::clock::{Clock, FOREVER};
use crate::turn::Instant;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use tokio::time::Sleep;

/// Wakes the event loop at the earliest deadline of its parts, or earlier.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    wakes_at: Instant,
    clock: Clock,
}

impl Timer {
    pub(crate) fn new(clock: Clock) -> Timer {
        Timer {
            sleep: Box::pin(tokio::time::sleep_until(clock.to_tokio(FOREVER))),
            wakes_at: FOREVER,
            clock,
        }
    }

    /// Wakes the loop at `deadline`. If the timer fires earlier anyway, it is not reset: deadlines
    /// change with every packet, and a needless wake-up costs less than a reset per iteration.
    pub(crate) fn set(&mut self, deadline: Option<Instant>, now: Instant) {
        let deadline = deadline.unwrap_or(FOREVER);
        if deadline < self.wakes_at || self.wakes_at <= now {
            self.wakes_at = deadline;
            self.sleep.as_mut().reset(self.clock.to_tokio(deadline));
        }
    }

    /// Returns true if the timer fired. Else it wakes the task of `cx`.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.sleep.as_mut().poll(cx).is_ready()
    }
}
