//! The highest rate that loses less than one packet in a thousand.

use crate::bench::error::Error;
use crate::bench::payload::Counters;
use crate::bench::pool::{Pool, Run};
use crate::bench::rate::Rate;
use std::time::Duration;

/// One rate that was tried.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Packets a second that were offered.
    pub rate: f64,
    /// What was lost of them, 0 to 1.
    pub loss: f64,
    /// What was due but never left the loader, 0 to 1.
    pub unsent: f64,
}

/// What the search found.
pub struct Found {
    /// The run at the highest rate.
    pub run: Run,
    /// Everything that was tried, in order.
    pub probes: Vec<Probe>,
    /// Whether the loader, not the server, was what could do no more.
    pub loader_bound: bool,
}

/// Searches, then runs for `duration` at what was found. `look` is given a word on what is being tried.
///
/// # Errors
/// Those of [`Pool::run`].
pub fn search(
    pool: &mut Pool,
    duration: Duration,
    mut look: impl FnMut(&str, &crate::bench::worker::Progress),
) -> Result<Found, Error> {
    let window = (pool.plan().burst * 8).max(64) * pool.plan().threads;
    let mut run = pool.run(Rate::Window(window), PROBE, |progress, _| {
        look("tasting", progress)
    })?;
    let mut bracket = Bracket::new(run.counters.received as f64 / run.seconds);
    let mut probes = Vec::new();
    while let Some(rate) = bracket.next().filter(|_| probes.len() < PROBES) {
        if over(pool, &run) {
            return Ok(Found {
                run,
                probes,
                loader_bound: false,
            });
        }
        let said = format!("trying {rate:.0}/s");
        run = pool.run(Rate::PerSecond(rate), PROBE, |progress, _| {
            look(&said, progress)
        })?;
        bracket.tried(rate, is_good(&run.counters));
        probes.push(Probe {
            rate,
            loss: run.counters.loss(),
            unsent: unsent(&run.counters),
        });
    }
    let mut rate = bracket.best.unwrap_or(bracket.estimate * 0.1);
    let mut finals = 0;
    loop {
        if over(pool, &run) {
            return Ok(Found {
                run,
                probes,
                loader_bound: false,
            });
        }
        finals += 1;
        let said = format!("measuring {rate:.0}/s");
        run = pool.run(Rate::PerSecond(rate), duration, |progress, _| {
            look(&said, progress)
        })?;
        let good = is_good(&run.counters);
        probes.push(Probe {
            rate,
            loss: run.counters.loss(),
            unsent: unsent(&run.counters),
        });
        if good || finals == FINALS {
            let failed = probes
                .iter()
                .filter(|probe| probe.loss >= LOSS || probe.unsent >= LOSS);
            let loader_bound = failed
                .min_by(|a, b| a.rate.total_cmp(&b.rate))
                .is_some_and(|probe| probe.loss < LOSS);
            return Ok(Found {
                run,
                probes,
                loader_bound,
            });
        }
        // Once more at the same rate: what was lost may have been somebody else's doing.
        if finals % 2 == 0 {
            rate *= 0.95;
        }
    }
}

/// Where the highest good rate may lie. A rate is bad once it was bad twice: on a machine that does other work too,
/// packets are lost at any rate now and then.
struct Bracket {
    estimate: f64,
    best: Option<f64>,
    worst: Option<f64>,
    doubted: Option<f64>,
}

impl Bracket {
    fn new(estimate: f64) -> Bracket {
        Bracket {
            estimate: estimate.max(100.0),
            best: None,
            worst: None,
            doubted: None,
        }
    }

    /// The next rate to try; `None` once it is known to within 3 %.
    fn next(&self) -> Option<f64> {
        match (self.best, self.worst) {
            _ if self.doubted.is_some() => self.doubted,
            (None, None) => Some(self.estimate),
            (Some(best), None) => Some(best * 1.25),
            (None, Some(worst)) => Some(worst * 0.7),
            (Some(best), Some(worst)) if worst / best > 1.03 => Some((best + worst) / 2.0),
            _ => None,
        }
    }

    fn tried(&mut self, rate: f64, good: bool) {
        match (good, self.doubted.take()) {
            (true, _) => self.best = Some(rate),
            (false, None) => self.doubted = Some(rate),
            (false, Some(_)) => self.worst = Some(rate),
        }
    }
}

/// Whether there is nothing to go on for.
fn over(pool: &Pool, run: &Run) -> bool {
    run.failure.is_some() || pool.plan().stop.is_requested()
}

fn is_good(counters: &Counters) -> bool {
    counters.loss() < LOSS && unsent(counters) < LOSS && counters.received > 0
}

fn unsent(counters: &Counters) -> f64 {
    counters.unsent as f64 / (counters.sent + counters.unsent).max(1) as f64
}

/// What may be lost: one in a thousand.
pub const LOSS: f64 = 0.001;
/// How long one rate is tried.
const PROBE: Duration = Duration::from_millis(1000);
/// Probes at most before the final run, and final runs.
const PROBES: usize = 24;
const FINALS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracket_closes_on_the_limit() {
        for (estimate, limit) in [(1000.0, 5000.0), (100_000.0, 3000.0), (50_000.0, 50_100.0)] {
            let mut bracket = Bracket::new(estimate);
            let mut tried = 0;
            while let Some(rate) = bracket.next() {
                bracket.tried(rate, rate <= limit);
                tried += 1;
                assert!(tried < 30);
            }
            let best = bracket.best.unwrap();
            assert!(best <= limit && best > limit * 0.96, "{best} of {limit}");
        }
    }

    #[test]
    fn one_bad_run_at_a_good_rate_does_not_mislead() {
        let mut bracket = Bracket::new(1000.0);
        let mut tried = 0;
        while let Some(rate) = bracket.next() {
            tried += 1;
            bracket.tried(rate, rate <= 5000.0 && tried % 4 != 1);
            assert!(tried < PROBES);
        }
        let best = bracket.best.unwrap();
        assert!(best <= 5000.0 && best > 5000.0 * 0.96, "{best}");
    }
}
