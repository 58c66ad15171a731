//! What every request to the operators' listener sees of the server.

use super::guard::Guard;
use super::order::Orders;
use crate::relay::Supervisor;
use crate::relay::journal::Lifetimes;
use crate::service::usage;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    pub lifetimes: Lifetimes,
    /// Where orders go.
    pub orders: Orders,
    /// Who is let in.
    pub guard: Guard,
}

/// How the server is, as its loop says and requests read.
#[derive(Debug, Default)]
pub struct Condition {
    draining: AtomicBool,
}

impl Condition {
    /// The server leaves, or stays after all.
    pub fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::Relaxed);
    }

    /// Whether it leaves.
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
