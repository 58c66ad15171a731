//! What a shard does when its core has little left: it lets packets gather, so that those to one place leave together
//! (GSO), which takes a third of the time that they take one by one. That costs each at most [`PAUSE`], which no call
//! hears, and only where a queue would soon take longer; below that load every packet leaves as soon as it can.

use crate::turn::Instant;
use std::time::Duration;

/// How busy a shard was lately, and whether it pauses after its turns.
#[derive(Debug)]
pub(crate) struct Coalesce {
    /// When the current look at the load began.
    began: Instant,
    /// Nanoseconds of work since.
    busy: u64,
    /// Until when packets gather.
    until: Instant,
}

impl Coalesce {
    /// Not busy yet.
    pub(crate) fn new(now: Instant) -> Coalesce {
        Coalesce {
            began: now,
            busy: 0,
            until: now,
        }
    }

    /// Notes a turn, and says for how long to let packets gather before the next. What gathers takes less work, so the load
    /// is only looked at while nothing does: now and then for a moment.
    pub(crate) fn after(&mut self, began: Instant, ended: Instant) -> Option<Duration> {
        if ended < self.until {
            (self.began, self.busy) = (ended, 0);
            return Some(PAUSE);
        }
        self.busy += ended.0.saturating_sub(began.0);
        let looked = ended.0.saturating_sub(self.began.0);
        if looked >= LOOK {
            if self.busy.saturating_mul(100) / looked >= MUCH {
                self.until = ended + TERM;
            }
            (self.began, self.busy) = (ended, 0);
        }
        None
    }
}

/// How long packets gather: a fiftieth of what one packet of speech holds (20 ms).
const PAUSE: Duration = Duration::from_micros(400);
/// Nanoseconds of one look at the load.
const LOOK: u64 = 4_000_000;
/// For how long one look is good.
const TERM: Duration = Duration::from_millis(100);
/// Percent of a core from which packets gather.
const MUCH: u64 = 85;

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of 50 µs that take so many percent of the time, for a second from `from` on; how many percent of them were
    /// followed by a pause, and when the last one was.
    fn load(coalesce: &mut Coalesce, from: Instant, percent: u64) -> (u64, Instant) {
        let (mut at, mut turns, mut pauses) = (from, 0, 0);
        while at < from + Duration::from_secs(1) {
            turns += 1;
            pauses += u64::from(coalesce.after(at, at + Duration::from_micros(50)).is_some());
            at = at + Duration::from_nanos(50_000 * 100 / percent);
        }
        (pauses * 100 / turns, at)
    }

    #[test]
    fn packets_gather_while_a_core_has_little_left_and_no_longer() {
        let mut coalesce = Coalesce::new(Instant(0));
        let mut at = Instant(0);
        for (percent, expected) in [
            (10, 0..=0),
            (70, 0..=0),
            (95, 90..=99),
            (70, 0..=15),
            (70, 0..=0),
            (99, 90..=99),
        ] {
            let (pauses, ended) = load(&mut coalesce, at, percent);
            assert!(
                expected.contains(&pauses),
                "after {pauses} % of the turns at a load of {percent} %"
            );
            at = ended;
        }
    }

    #[test]
    fn after_a_silence_nothing_gathers() {
        let mut coalesce = Coalesce::new(Instant(0));
        let (pauses, ended) = load(&mut coalesce, Instant(0), 95);
        assert!(pauses > 90);
        let later = ended + Duration::from_secs(1);
        assert_eq!(
            coalesce.after(later, later + Duration::from_micros(50)),
            None
        );
    }
}
