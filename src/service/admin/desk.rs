//! What every request to the operators' listener sees of the server.

use crate::relay::Supervisor;
use crate::relay::observe::allocation_log::LifetimeHistogram;
use crate::service::admin::guard::Guard;
use crate::service::admin::order::Orders;
use crate::service::usage;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the operators' listener knows of the server. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The relay, to be read.
    pub relay: Arc<Supervisor>,
    /// How the server is.
    pub condition: Arc<Condition>,
    /// How usage goes.
    pub usage: Arc<usage::Counts>,
    /// How long allocations lived.
    pub lifetimes: LifetimeHistogram,
    /// Where orders go.
    pub orders: Orders,
    /// Who is let in.
    pub guard: Guard,
}

/// How the server is, as its loop says and requests read.
#[derive(Debug, Default)]
pub struct Condition {
    until: Mutex<Option<Instant>>,
}

impl Condition {
    /// The server leaves, in so much time at the latest.
    pub fn leave(&self, time: Duration) {
        *self.lock() = Some(Instant::now() + time);
    }

    /// Whether it leaves.
    pub fn draining(&self) -> bool {
        self.lock().is_some()
    }

    /// How much longer allocations may live; `None` while it stays.
    pub fn left(&self) -> Option<Duration> {
        self.lock()
            .map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
