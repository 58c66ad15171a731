//! `hairpin bench`: load for any STUN or TURN server, and what it did under it.
//!
//! ```text
//!   plan ──► pool ──► worker (a thread: sockets, clients, peers) ──► load (packets out, packets in)
//!    what      all       lane (UDP, TCP, TLS,  exchange_all (requests)     payload (numbers, pattern, counters)
//!   is meant   threads      dtls)                                     histogram
//!                │
//!              search (--rate max)   process (/proc/PID)  ──► outcome ──► text, page, JSON
//! ```

pub mod args;

pub use crate::cli::bench::args::Bench;

use crate::bench::error::Error;
use crate::bench::plan::{Plan, Workload};
use crate::bench::pool::{Pool, Round};
use crate::bench::rate::Rate;
use crate::bench::results::Outcome;
use crate::bench::results::file::Report;
use crate::bench::stop::{INTERRUPTED, Stop};
use crate::cli::output::{print, print_error};
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Runs it; prints the outcome to standard output and everything else to standard error.
///
/// The exit code is 0 when the run went as it should, 1 when the server did not let it, 2 for a wrong command line, and 130
/// when a signal broke it off: what was measured until then is told, and what was allocated is released.
pub fn run(args: &Bench) -> ExitCode {
    // Every flow is a socket.
    crate::net::host::fd_limit::raise(0);
    let plan = args.options().and_then(|options| Plan::resolve(&options));
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(sentence) => {
            print_error(&format_args!("hairpin bench: {sentence}"));
            return ExitCode::from(2);
        }
    };
    let report = match args.report.as_deref().map(Report::open).transpose() {
        Ok(report) => report,
        Err(sentence) => {
            print_error(&format_args!("hairpin bench: {sentence}"));
            return ExitCode::from(2);
        }
    };
    let told = Stop::by_signal()
        .map_err(|error| error.to_string())
        .and_then(|stop| {
            plan.stop = stop;
            let outcome = measure(&plan).map_err(|failure| failure.to_string())?;
            let printed = match args.json {
                true => print(
                    &serde_json::to_string_pretty(&outcome).map_err(|error| error.to_string())?,
                ),
                false => print(&crate::bench::results::text::render(&outcome).trim_end()),
            };
            report.map_or(Ok(()), |report| report.write(&outcome))?;
            printed?;
            outcome.verdict()
        });
    let code = match &told {
        _ if plan.stop.is_requested() => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    };
    if let Err(sentence) = told {
        print_error(&format_args!("hairpin bench: {sentence}"));
    }
    code
}

/// Runs a plan, drawing its progress on standard error.
///
/// # Errors
/// [`Error`]: the server is silent, refuses, or breaks off.
pub fn measure(plan: &Plan) -> Result<Outcome, Error> {
    match plan.workload {
        Workload::Allocate => measure_allocations(plan),
        _ => measure_packets(plan),
    }
}

fn measure_packets(plan: &Plan) -> Result<Outcome, Error> {
    let bar = progress(plan);
    bar.set_message("setting up");
    let mut pool = Pool::connect(plan)?;
    let outcome = load(&mut pool, &bar);
    bar.set_message("releasing");
    pool.release();
    bar.finish_and_clear();
    outcome
}

fn load(pool: &mut Pool, bar: &ProgressBar) -> Result<Outcome, Error> {
    let plan = pool.plan().clone();
    let setup = pool.set_up()?;
    let mut meter = Meter::new(bar);
    let (run, probes, loader_bound) = match plan.rate {
        Rate::Max => {
            let found = crate::bench::search::search(pool, plan.duration, |said, progress| {
                meter.draw(said, progress)
            })?;
            (found.run, found.probes, found.loader_bound)
        }
        rate => {
            let run = pool.run(rate, plan.duration, |progress, at| {
                bar.set_position((at.as_millis() as u64).min(plan.duration.as_millis() as u64));
                meter.draw("", progress);
            })?;
            (run, Vec::new(), false)
        }
    };
    let mut outcome = Outcome::of_packets(&plan, setup.as_ref(), &run, &probes, loader_bound);
    note_interruption(&plan, &mut outcome);
    Ok(outcome)
}

fn measure_allocations(plan: &Plan) -> Result<Outcome, Error> {
    let bar = progress(plan);
    let rate = if let Rate::PerSecond(rate) = plan.rate {
        Some(rate)
    } else {
        None
    };
    let resident = |pid: u32| {
        crate::bench::process::spent(pid)
            .map(|spent| spent.resident)
            .map_err(Error::Process)
    };
    let before = plan.pid.map(resident).transpose()?;
    let mut each = None;
    let mut rounds: Vec<Round> = Vec::new();
    let mut failure = None;
    let begun = Instant::now();
    while rounds.is_empty() || begun.elapsed() < plan.duration {
        // New sockets each time: some servers remember a five-tuple beyond its allocation's end.
        let mut pool = Pool::connect(plan)?;
        let round = pool.allocate(rate);
        // Only the first round finds the server as it was before.
        if let (None, Some(before), Some(pid)) = (each, before, plan.pid) {
            each = Some(resident(pid)?.saturating_sub(before) as f64 / plan.flows as f64);
        }
        pool.release();
        match round {
            Ok(round) => rounds.push(round),
            Err(error) if rounds.is_empty() => return Err(error),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
        let made: usize = rounds.iter().map(|round| round.granted).sum();
        bar.set_position(
            (begun.elapsed().as_millis() as u64).min(plan.duration.as_millis() as u64),
        );
        bar.set_message(format!(
            "{} allocations",
            crate::bench::results::text::count(made as f64)
        ));
    }
    bar.finish_and_clear();
    let mut outcome = Outcome::of_allocations(plan, &rounds, each);
    outcome.ended_early = failure.map(|failure| failure.to_string());
    note_interruption(plan, &mut outcome);
    Ok(outcome)
}

/// Who broke a run off knows why it ended early.
fn note_interruption(plan: &Plan, outcome: &mut Outcome) {
    if plan.stop.is_requested() {
        outcome.ended_early = Some("interrupted".into());
    }
}

/// Draws packets a second from a progress that only grows.
struct Meter<'a> {
    bar: &'a ProgressBar,
    last: (Instant, u64, u64),
}

impl Meter<'_> {
    fn new(bar: &ProgressBar) -> Meter<'_> {
        Meter {
            bar,
            last: (Instant::now(), 0, 0),
        }
    }

    fn draw(&mut self, said: &str, progress: &crate::bench::worker::Progress) {
        let (sent, received) = (
            progress.sent.load(Ordering::Relaxed),
            progress.received.load(Ordering::Relaxed),
        );
        let passed = self.last.0.elapsed();
        if received < self.last.2 {
            self.last = (Instant::now(), sent, received);
        }
        if passed < Duration::from_millis(200) {
            return;
        }
        let rate = (received - self.last.2) as f64 / passed.as_secs_f64();
        let under_way = sent.saturating_sub(received);
        let comma = if said.is_empty() { "" } else { ": " };
        self.bar.set_message(format!(
            "{said}{comma}{}/s, {} missing",
            crate::bench::results::text::count(rate),
            crate::bench::results::text::count(under_way as f64)
        ));
        self.last = (Instant::now(), sent, received);
    }
}

/// A bar over the plan's duration; a spinner while searching, which ends when it ends.
fn progress(plan: &Plan) -> ProgressBar {
    let style = |template| {
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
    };
    if plan.rate == Rate::Max && plan.workload != Workload::Allocate {
        return ProgressBar::new_spinner()
            .with_style(style("{spinner} {elapsed_precise} {wide_msg}"));
    }
    let bar = ProgressBar::new(plan.duration.as_millis() as u64);
    bar.with_style(style("{elapsed_precise} {bar:30} {wide_msg}"))
}
