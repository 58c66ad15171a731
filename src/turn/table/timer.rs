//! When an allocation has to be looked at. One entry for each counts, its earliest; a later deadline is found out when
//! the earlier one comes due, so that refreshing costs nothing and nothing is ever scanned.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The deadlines of a shard's allocations.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(Instant, AllocationId, u64)>>);

impl Timers {
    /// Asks for an allocation, known by its serial number too, to be looked at.
    pub fn set(&mut self, at: Instant, allocation: AllocationId, serial: u64) {
        self.0.push(Reverse((at, allocation, serial)));
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next allocation whose look is due, with when that was, and the serial number that it had when it was asked for.
    pub fn due(&mut self, now: Instant) -> Option<(Instant, AllocationId, u64)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}
