//! The search for the highest rate with a loss below 0.1 %: bisection over short runs, then a long
//! run at the result.

use crate::bench::error::Error;
use crate::bench::pool::{Pool, Run};
use crate::bench::rate::Rate;
use crate::bench::worker::Progress;
use std::time::Duration;

/// A run of the search.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Packets per second offered.
    pub rate: f64,
    /// The lost share of the packets sent, 0 to 1.
    pub loss: f64,
    /// The share of the packets due that was not sent, 0 to 1.
    pub unsent: f64,
}

/// The result of a search.
pub struct SearchResult {
    /// The run at the highest rate.
    pub run: Run,
    /// Every rate that was tried, in order.
    pub probes: Vec<Probe>,
    /// The load generator was the limit, not the server.
    pub loader_bound: bool,
}

/// Searches, then runs for `duration` at the highest rate. `on_progress` gets a word about the
/// current step.
///
/// # Errors
/// As [`Pool::run`].
pub fn search(
    pool: &mut Pool,
    duration: Duration,
    mut on_progress: impl FnMut(&str, &Progress),
) -> Result<SearchResult, Error> {
    // A first estimate: the rate at which a fixed number of packets in flight comes back.
    let in_flight = (pool.plan().burst * 8).max(64) * pool.plan().threads;
    let mut run = pool.run(Rate::InFlight(in_flight), PROBE, |progress, _| {
        on_progress("estimating", progress);
    })?;
    let mut bracket = Bracket::new(run.counters.received as f64 / run.seconds);
    let mut probes = Vec::new();
    while let Some(rate) = bracket.next().filter(|_| probes.len() < MAX_PROBES) {
        if is_over(pool, &run) {
            return Ok(unfinished(run, probes));
        }
        let step = format!("trying {rate:.0}/s");
        run = pool.run(Rate::PerSecond(rate), PROBE, |progress, _| {
            on_progress(&step, progress);
        })?;
        let probe = Probe::of(rate, &run);
        bracket.record(rate, probe.is_good() && run.counters.received > 0);
        probes.push(probe);
    }
    let mut rate = bracket.best.unwrap_or(bracket.estimate * 0.1);
    for final_run in 1.. {
        if is_over(pool, &run) {
            break;
        }
        let step = format!("measuring {rate:.0}/s");
        run = pool.run(Rate::PerSecond(rate), duration, |progress, _| {
            on_progress(&step, progress);
        })?;
        let probe = Probe::of(rate, &run);
        probes.push(probe);
        let is_good = probe.is_good() && run.counters.received > 0;
        if is_good || final_run == MAX_FINAL_RUNS {
            let lowest_failed = probes
                .iter()
                .filter(|probe| !probe.is_good())
                .min_by(|a, b| a.rate.total_cmp(&b.rate));
            return Ok(SearchResult {
                loader_bound: lowest_failed.is_some_and(|probe| probe.loss < MAX_LOSS),
                run,
                probes,
            });
        }
        // Every rate gets a second run: other work on the machine may have caused the loss.
        if final_run % 2 == 0 {
            rate *= 0.95;
        }
    }
    Ok(unfinished(run, probes))
}

impl Probe {
    fn of(rate: f64, run: &Run) -> Probe {
        Probe {
            rate,
            loss: run.counters.loss(),
            unsent: run.counters.unsent_share(),
        }
    }

    /// Returns true if both the loss and the unsent share are below [`MAX_LOSS`].
    pub fn is_good(&self) -> bool {
        self.loss < MAX_LOSS && self.unsent < MAX_LOSS
    }
}

/// The interval in which the highest good rate lies. A rate is bad only after two bad runs: on a
/// machine that does other work too, packets are lost at any rate now and then.
struct Bracket {
    estimate: f64,
    best: Option<f64>,
    worst: Option<f64>,
    /// A rate with one bad run.
    suspect: Option<f64>,
}

impl Bracket {
    fn new(estimate: f64) -> Bracket {
        Bracket {
            estimate: estimate.max(100.0),
            best: None,
            worst: None,
            suspect: None,
        }
    }

    /// The next rate to try; `None` once the result is known to within 3 %.
    fn next(&self) -> Option<f64> {
        match (self.best, self.worst) {
            _ if self.suspect.is_some() => self.suspect,
            (None, None) => Some(self.estimate),
            (Some(best), None) => Some(best * 1.25),
            (None, Some(worst)) => Some(worst * 0.7),
            (Some(best), Some(worst)) if worst / best > 1.03 => Some((best + worst) / 2.0),
            (Some(_), Some(_)) => None,
        }
    }

    fn record(&mut self, rate: f64, is_good: bool) {
        match (is_good, self.suspect.take()) {
            (true, _) => self.best = Some(rate),
            (false, None) => self.suspect = Some(rate),
            (false, Some(_)) => self.worst = Some(rate),
        }
    }
}

/// Returns true if the run failed or the search was stopped.
fn is_over(pool: &Pool, run: &Run) -> bool {
    run.error.is_some() || pool.plan().stop.is_requested()
}

fn unfinished(run: Run, probes: Vec<Probe>) -> SearchResult {
    SearchResult {
        run,
        probes,
        loader_bound: false,
    }
}

/// The loss that the search accepts: one in a thousand.
pub const MAX_LOSS: f64 = 0.001;
/// Duration of a probe.
const PROBE: Duration = Duration::from_secs(1);
/// Probes at most before the final run.
const MAX_PROBES: usize = 24;
/// Final runs at most.
const MAX_FINAL_RUNS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bracket_closes_on_the_limit() {
        for (estimate, limit) in [(1000.0, 5000.0), (100_000.0, 3000.0), (50_000.0, 50_100.0)] {
            let mut bracket = Bracket::new(estimate);
            let mut tried = 0;
            while let Some(rate) = bracket.next() {
                bracket.record(rate, rate <= limit);
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
            bracket.record(rate, rate <= 5000.0 && tried % 4 != 1);
            assert!(tried < MAX_PROBES);
        }
        let best = bracket.best.unwrap();
        assert!(best <= 5000.0 && best > 5000.0 * 0.96, "{best}");
    }
}
