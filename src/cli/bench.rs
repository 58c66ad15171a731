//! `hairpin bench`: load for any STUN or TURN server, and what it did under it.
//!
//! ```text
//!   plan ──► team ──► crew (a thread: sockets, clients, peers) ──► load (packets out, packets in)
//!    what      all       lane (UDP, TCP, TLS)  converse (requests)     payload (numbers, pattern, tally)
//!   is meant   threads                                                 histogram
//!                │
//!              search (--rate max)   process (/proc/PID)  ──► outcome ──► text, page, JSON
//! ```

pub mod args;
pub mod converse;
pub mod crew;
pub mod failure;
pub mod histogram;
pub mod lane;
pub mod load;
pub mod outcome;
pub mod page;
pub mod payload;
pub mod plan;
pub mod process;
pub mod rate;
pub mod search;
pub mod team;
pub mod text;

pub use args::{Bench, Direction, Workload};
pub use failure::Failure;

use indicatif::{ProgressBar, ProgressStyle};
use outcome::Outcome;
use plan::Plan;
use rate::Rate;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use team::Team;

/// Runs it; prints the outcome to standard output and everything else to standard error.
///
/// The exit code is 0 when the run went as it should, 1 when the server did not let it, 2 for a wrong command line.
pub fn run(args: &Bench) -> ExitCode {
    let plan = match Plan::resolve(args) {
        Ok(plan) => plan,
        Err(sentence) => {
            eprintln!("hairpin bench: {sentence}");
            return ExitCode::from(2);
        }
    };
    let outcome = match measure(&plan) {
        Ok(outcome) => outcome,
        Err(failure) => {
            eprintln!("hairpin bench: {failure}");
            return ExitCode::from(1);
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome).unwrap_or_default());
    } else {
        print!("{}", text::render(&outcome));
    }
    if let Some(Err(sentence)) = args.report.as_deref().map(|path| write_report(path, &outcome)) {
        eprintln!("hairpin bench: {sentence}");
        return ExitCode::from(1);
    }
    match outcome.verdict() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("hairpin bench: {sentence}");
            ExitCode::from(1)
        }
    }
}

/// Runs a plan, drawing its progress on standard error.
///
/// # Errors
/// [`Failure`]: the server is silent, refuses, or breaks off.
pub fn measure(plan: &Plan) -> Result<Outcome, Failure> {
    match plan.workload {
        Workload::Allocate => measure_allocations(plan),
        _ => measure_packets(plan),
    }
}

fn measure_packets(plan: &Plan) -> Result<Outcome, Failure> {
    let bar = progress(plan);
    bar.set_message("setting up");
    let mut team = Team::enlist(plan)?;
    let setup = team.raise()?;
    let mut meter = Meter::new(&bar);
    let measured = match plan.rate {
        Rate::Max => {
            let found = search::search(&mut team, plan.duration, |said, gauge| meter.draw(said, gauge))?;
            (found.run, found.probes, found.loader_bound)
        }
        rate => {
            let run = team.run(rate, plan.duration, |gauge, at| {
                bar.set_position((at.as_millis() as u64).min(plan.duration.as_millis() as u64));
                meter.draw("", gauge);
            })?;
            (run, Vec::new(), false)
        }
    };
    if plan.workload == Workload::Relay {
        bar.set_message("releasing");
        // What cannot be released ends by itself; the measurement stands.
        let _ = team.release();
    }
    bar.finish_and_clear();
    let (run, probes, loader_bound) = measured;
    Ok(Outcome::of_packets(plan, setup.as_ref(), &run, &probes, loader_bound))
}

fn measure_allocations(plan: &Plan) -> Result<Outcome, Failure> {
    let bar = progress(plan);
    let rate = if let Rate::PerSecond(rate) = plan.rate { Some(rate) } else { None };
    let resident = |pid: u32| process::spent(pid).map(|spent| spent.resident).map_err(Failure::Process);
    let before = plan.pid.map(resident).transpose()?;
    let mut each = None;
    let mut rounds = Vec::new();
    let begun = Instant::now();
    while rounds.is_empty() || begun.elapsed() < plan.duration {
        // New sockets each time: some servers remember a five-tuple beyond its allocation's end.
        let mut team = Team::enlist(plan)?;
        rounds.push(team.allocate(rate)?);
        // Only the first round finds the server as it was before.
        if let (None, Some(before), Some(pid)) = (each, before, plan.pid) {
            each = Some(resident(pid)?.saturating_sub(before) as f64 / plan.flows as f64);
        }
        team.release()?;
        let made: usize = rounds.iter().map(|round| round.granted).sum();
        bar.set_position((begun.elapsed().as_millis() as u64).min(plan.duration.as_millis() as u64));
        bar.set_message(format!("{} allocations", text::count(made as f64)));
    }
    bar.finish_and_clear();
    Ok(Outcome::of_allocations(plan, &rounds, each))
}

/// Draws packets a second from a gauge that only grows.
struct Meter<'a> {
    bar: &'a ProgressBar,
    last: (Instant, u64, u64),
}

impl Meter<'_> {
    fn new(bar: &ProgressBar) -> Meter<'_> {
        Meter { bar, last: (Instant::now(), 0, 0) }
    }

    fn draw(&mut self, said: &str, gauge: &crew::Gauge) {
        let (sent, received) = (gauge.sent.load(Ordering::Relaxed), gauge.received.load(Ordering::Relaxed));
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
            text::count(rate),
            text::count(under_way as f64)
        ));
        self.last = (Instant::now(), sent, received);
    }
}

/// A bar over the plan's duration; a spinner while searching, which ends when it ends.
fn progress(plan: &Plan) -> ProgressBar {
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    if plan.rate == Rate::Max && plan.workload != Workload::Allocate {
        return ProgressBar::new_spinner().with_style(style("{spinner} {elapsed_precise} {wide_msg}"));
    }
    let bar = ProgressBar::new(plan.duration.as_millis() as u64);
    bar.with_style(style("{elapsed_precise} {bar:30} {wide_msg}"))
}

fn write_report(path: &Path, outcome: &Outcome) -> Result<(), String> {
    std::fs::write(path, page::render(outcome)).map_err(|error| format!("--report {}: {error}", path.display()))
}
