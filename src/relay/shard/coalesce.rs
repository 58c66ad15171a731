//! Coalescing: a busy shard lets packets gather before the next iteration, so that packets to one
//! destination leave together as one GSO message, which takes a third of the CPU time of sending
//! them one by one.
//!
//! The shard gathers by sleeping after each iteration. That delays each packet by at most
//! [`PAUSE`], and only happens when the core is nearly exhausted and a queue would soon delay
//! packets for longer; below that load every packet leaves at once. A shard that gathers works
//! less, so its load then says nothing: it is measured in windows between gathering.

use crate::turn::Instant;
use std::time::Duration;

/// Measures the load of a shard and decides when it gathers packets.
#[derive(Debug)]
pub(crate) struct Coalesce {
    window_start: Instant,
    /// Nanoseconds of work in the current window.
    busy: u64,
    gather_until: Instant,
}

impl Coalesce {
    pub(crate) fn new(now: Instant) -> Coalesce {
        Coalesce {
            window_start: now,
            busy: 0,
            gather_until: now,
        }
    }

    /// Records an iteration; returns how long to sleep before the next one.
    pub(crate) fn pause_after(&mut self, began: Instant, ended: Instant) -> Option<Duration> {
        if ended < self.gather_until {
            self.start_window(ended);
            return Some(PAUSE);
        }
        self.busy += ended.0.saturating_sub(began.0);
        let elapsed = ended.0.saturating_sub(self.window_start.0);
        if elapsed >= WINDOW {
            if self.busy.saturating_mul(100) / elapsed >= BUSY_PERCENT {
                self.gather_until = ended + GATHER_TIME;
            }
            self.start_window(ended);
        }
        None
    }

    fn start_window(&mut self, now: Instant) {
        (self.window_start, self.busy) = (now, 0);
    }
}

/// A fiftieth of the 20 ms of sound in a packet of speech.
const PAUSE: Duration = Duration::from_micros(400);
/// Nanoseconds over which the load is measured.
const WINDOW: u64 = 4_000_000;
/// How long packets gather before the load is measured again.
const GATHER_TIME: Duration = Duration::from_millis(100);
/// The load from which packets gather.
const BUSY_PERCENT: u64 = 85;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs iterations of 50 µs for a second from `start` on, at a load of `percent`. Returns how
    /// many percent of the iterations were followed by a pause, and the end.
    fn run(coalesce: &mut Coalesce, start: Instant, percent: u64) -> (u64, Instant) {
        let (mut now, mut iterations, mut pauses) = (start, 0, 0);
        while now < start + Duration::from_secs(1) {
            let ended = now + Duration::from_micros(50);
            iterations += 1;
            pauses += u64::from(coalesce.pause_after(now, ended).is_some());
            now = now + Duration::from_nanos(50_000 * 100 / percent);
        }
        (pauses * 100 / iterations, now)
    }

    #[test]
    fn packets_gather_only_while_the_load_is_high() {
        let mut coalesce = Coalesce::new(Instant(0));
        let mut now = Instant(0);
        for (load, expected) in [
            (10, 0..=0),
            (70, 0..=0),
            (95, 90..=99),
            (70, 0..=15),
            (70, 0..=0),
            (99, 90..=99),
        ] {
            let (pauses, ended) = run(&mut coalesce, now, load);
            assert!(
                expected.contains(&pauses),
                "a pause after {pauses} % of the iterations at a load of {load} %"
            );
            now = ended;
        }
    }

    #[test]
    fn nothing_gathers_after_silence() {
        let mut coalesce = Coalesce::new(Instant(0));
        let (pauses, ended) = run(&mut coalesce, Instant(0), 95);
        assert!(pauses > 90);
        let began = ended + Duration::from_secs(1);
        let ended = began + Duration::from_micros(50);
        assert_eq!(coalesce.pause_after(began, ended), None);
    }
}
