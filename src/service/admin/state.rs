//! What the handlers of the admin listener share.

use crate::relay::Supervisor;
use crate::relay::observe::allocation_log::LifetimeHistogram;
use crate::service::admin::access::AccessControl;
use crate::service::admin::commands::CommandSender;
use crate::service::usage::UsageCounters;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The state of all handlers. Clones share it.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// The relay, which handlers only read.
    pub relay: Arc<Supervisor>,
    /// Whether the server drains.
    pub drain: Arc<DrainState>,
    /// Counters of usage records.
    pub usage: Arc<UsageCounters>,
    /// Durations of ended allocations.
    pub lifetimes: LifetimeHistogram,
    /// Everything that changes the server goes through here.
    pub commands: CommandSender,
    /// Authorization of requests.
    pub access: AccessControl,
}

/// Whether the server drains and until when. The main loop writes it, requests read it.
#[derive(Debug, Default)]
pub struct DrainState {
    deadline: Mutex<Option<Instant>>,
}

impl DrainState {
    /// Starts to drain; allocations end after `time` at the latest.
    pub fn start(&self, time: Duration) {
        *self.lock() = Some(Instant::now() + time);
    }

    /// Returns true once the server drains.
    pub fn is_draining(&self) -> bool {
        self.lock().is_some()
    }

    /// The time until allocations are ended; `None` unless the server drains.
    pub fn remaining(&self) -> Option<Duration> {
        self.lock()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
