//! Decides when the next bursts are due.

use crate::bench::measure::counters::Counters;
use crate::bench::measure::recorder::Recorder;
use crate::bench::rate::Rate;
use std::time::Duration;

/// Paces one worker's packets. If the worker falls behind, the overdue packets are not sent later
/// but counted as unsent, so that a slow load generator does not look like a slow server.
pub struct Pacer {
    rate: Rate,
    burst: u64,
    started: u64,
    /// Bursts that were due and have been sent or given up.
    handled: u64,
    /// Packets received when [`Rate::InFlight`] last looked and saw more, and the time of that.
    last_received: (u64, u64),
    /// Packets in flight that are considered lost.
    given_up: u64,
}

impl Pacer {
    /// A pacer for bursts of `burst` packets, whose first burst is due at `started`.
    pub fn new(rate: Rate, burst: u64, started: u64) -> Pacer {
        Pacer {
            rate,
            burst,
            started,
            handled: 0,
            last_received: (0, started),
            given_up: 0,
        }
    }

    /// Bursts to send now. Those overdue by more than [`MAX_DELAY`] are recorded as unsent.
    pub fn due(&mut self, recorder: &mut Recorder, now: u64) -> u64 {
        let rate = match self.rate {
            Rate::InFlight(limit) => return self.room(recorder.counters(), now, limit as u64),
            Rate::PerSecond(rate) => rate,
            Rate::Max => return 0,
        };
        // The first burst is due at once.
        let due_so_far = self.periods(now, rate) + 1;
        let due = due_so_far.saturating_sub(self.handled);
        let limit = ((rate * MAX_DELAY.as_secs_f64() / self.burst as f64) as u64).max(2);
        let skipped = due.saturating_sub(limit);
        recorder.record_unsent(skipped * self.burst);
        self.handled += skipped;
        due - skipped
    }

    /// Records that a burst was sent.
    pub fn record_burst(&mut self) {
        self.handled += 1;
    }

    /// How long no burst is due, in whole milliseconds. A shorter time is returned as zero, because
    /// a wait cannot keep it: the caller spins.
    pub fn idle_time(&self, counters: &Counters, now: u64) -> Duration {
        match self.rate {
            Rate::PerSecond(rate) => {
                let packets = self.handled as f64 * self.burst as f64;
                let next = self.started + (packets * 1e9 / rate) as u64;
                Duration::from_millis(next.saturating_sub(now) / 1_000_000)
            }
            Rate::InFlight(_) | Rate::Max if counters.sent > counters.received + self.given_up => {
                Duration::from_millis(STALL / 1_000_000)
            }
            Rate::InFlight(_) | Rate::Max => Duration::ZERO,
        }
    }

    /// Whole periods between bursts since the start.
    fn periods(&self, now: u64, rate: f64) -> u64 {
        ((now - self.started) as f64 * rate / 1e9 / self.burst as f64) as u64
    }

    /// Bursts that fit below the limit of packets in flight. If nothing is received for [`STALL`],
    /// all in flight are considered lost.
    fn room(&mut self, counters: &Counters, now: u64, limit: u64) -> u64 {
        let received = counters.received + counters.duplicates;
        if received != self.last_received.0 {
            self.last_received = (received, now);
        }
        let in_flight = counters.sent.saturating_sub(received + self.given_up);
        if in_flight > 0 && now - self.last_received.1 > STALL {
            self.given_up += in_flight;
            self.last_received.1 = now;
            return limit.div_ceil(self.burst);
        }
        let room = limit.saturating_sub(in_flight) / self.burst;
        match in_flight {
            0 => room.max(1),
            _ => room,
        }
    }
}

/// Delay beyond which due packets are given up.
const MAX_DELAY: Duration = Duration::from_millis(20);
/// Nanoseconds without a packet after which packets in flight are considered lost.
const STALL: u64 = 50_000_000;
