//! Timers of allocations. An allocation has one valid timer entry. Refreshing it does not touch the
//! heap: when the entry is due, the allocation's actual deadline is looked up and a new entry is
//! made. So refreshes cost nothing, and nothing is ever scanned.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The timers of a shard.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<Timer>>);

/// A timer entry. The serial number reveals whether the allocation's index was reused since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When the entry is due. The first field, so that the derived order sorts by it.
    pub due: Instant,
    /// The allocation.
    pub allocation: AllocationId,
    /// The allocation's serial number.
    pub serial: u64,
}

impl Timers {
    /// Adds an entry.
    pub fn insert(&mut self, timer: Timer) {
        self.0.push(Reverse(timer));
    }

    /// When the next entry is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(timer)| timer.due)
    }

    /// Removes and returns the next entry that is due.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next_due()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }
}
