//! What a shard does when its core has little left: it lets packets gather, so that those to one place leave together
//! (GSO), which takes a third of the time that they take one by one. That costs each at most [`PAUSE`], which no call
//! hears, and only where a queue would soon take longer; below that load every packet leaves as soon as it can.

use crate::turn::Instant;
use std::time::Duration;

/// How busy a shard was lately, and whether it pauses after its turns.
#[derive(Debug)]
pub(super) struct Coalesce {
    /// When the current look at the load began.
    began: Instant,
    /// Nanoseconds of work since.
    busy: u64,
    on: bool,
}

impl Coalesce {
    /// Not busy yet.
    pub(super) fn new(now: Instant) -> Coalesce {
        Coalesce { began: now, busy: 0, on: false }
    }

    /// Notes a turn, and says for how long to let packets gather before the next.
    pub(super) fn after(&mut self, began: Instant, ended: Instant) -> Option<Duration> {
        self.busy += ended.0.saturating_sub(began.0);
        let looked = ended.0.saturating_sub(self.began.0);
        if looked >= LOOK {
            let share = self.busy.saturating_mul(100) / looked;
            self.on = share >= if self.on { ENOUGH } else { MUCH };
            (self.began, self.busy) = (ended, 0);
        }
        self.on.then_some(PAUSE)
    }
}

/// How long packets gather: a fiftieth of what one packet of speech holds (20 ms).
const PAUSE: Duration = Duration::from_micros(400);
/// Nanoseconds of one look at the load.
const LOOK: u64 = 5_000_000;
/// Percent of a core from which packets gather. At half of a core none waits.
const MUCH: u64 = 70;
/// Percent of a core below which they gather no more. What gathers needs less, so this is far below the other.
const ENOUGH: u64 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of 50 µs that take so many percent of the time, for 20 ms from `from` on; whether the last one is followed by
    /// a pause, and when that was.
    fn load(coalesce: &mut Coalesce, from: Instant, percent: u64) -> (bool, Instant) {
        let (mut at, mut pauses) = (from, false);
        while at < from + Duration::from_millis(20) {
            let ended = at + Duration::from_micros(50);
            pauses = coalesce.after(at, ended).is_some();
            at = at + Duration::from_nanos(50_000 * 100 / percent);
        }
        (pauses, at)
    }

    #[test]
    fn packets_gather_from_much_load_on_until_there_is_enough_left() {
        let mut coalesce = Coalesce::new(Instant(0));
        let mut at = Instant(0);
        for (percent, gathers) in
            [(10, false), (60, false), (95, true), (50, true), (30, true), (15, false), (60, false)]
        {
            let (pauses, ended) = load(&mut coalesce, at, percent);
            assert_eq!(pauses, gathers, "at {percent} %");
            at = ended;
        }
    }

    #[test]
    fn after_a_silence_nothing_gathers() {
        let mut coalesce = Coalesce::new(Instant(0));
        let (pauses, ended) = load(&mut coalesce, Instant(0), 95);
        assert!(pauses);
        let later = ended + Duration::from_secs(1);
        assert_eq!(coalesce.after(later, later + Duration::from_micros(50)), None);
    }
}
