//! `hairpin bench`: load for a STUN or TURN server, and a report of how it did.

mod args;
mod progress;

pub use crate::cli::bench::args::Bench;

use crate::bench::error::Error;
use crate::bench::measure::process::read_usage;
use crate::bench::plan::{Plan, Workload};
use crate::bench::pool::{Pool, Round};
use crate::bench::rate::Rate;
use crate::bench::results::file::ReportFile;
use crate::bench::results::{Outcome, text};
use crate::bench::search::search;
use crate::bench::stop::{INTERRUPTED, Stop};
use crate::cli::bench::progress::ProgressLine;
use crate::cli::output::{print, print_error};
use std::error;
use std::process::ExitCode;
use std::time::Instant;

/// Runs the command. The result goes to standard output, everything else to standard error.
///
/// Exit codes: 0 success, 1 the server refused, failed or lost everything, 2 usage error, 130
/// interrupted by a signal. An interrupted run still prints what it measured and releases its
/// allocations.
pub fn run(args: &Bench) -> ExitCode {
    // Every flow needs a socket.
    crate::net::host::fd_limit::raise(0);
    let plan = args.options().and_then(|options| Plan::resolve(&options));
    let mut plan = match plan {
        Ok(plan) => plan,
        Err(error) => return usage_error(&error),
    };
    let report = match args.report.as_deref().map(ReportFile::open).transpose() {
        Ok(report) => report,
        Err(error) => return usage_error(&error),
    };
    let result = measure_and_report(&mut plan, report, args.json);
    let code = match &result {
        _ if plan.stop.is_requested() => ExitCode::from(INTERRUPTED),
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(1),
    };
    if let Err(error) = result {
        print_error(&format_args!("hairpin bench: {error}"));
    }
    code
}

fn usage_error(error: &dyn error::Error) -> ExitCode {
    print_error(&format_args!("hairpin bench: {error}"));
    ExitCode::from(2)
}

fn measure_and_report(
    plan: &mut Plan,
    report: Option<ReportFile>,
    as_json: bool,
) -> Result<(), Box<dyn error::Error>> {
    plan.stop = Stop::on_signal()?;
    let outcome = match plan.workload {
        Workload::Allocate => measure_allocations(plan)?,
        Workload::Relay | Workload::Binding => measure_packets(plan)?,
    };
    let printed = match as_json {
        true => print(&serde_json::to_string_pretty(&outcome)?),
        false => print(&text::render(&outcome).trim_end()),
    };
    // The report is written even if standard output is closed.
    if let Some(report) = report {
        report.write(&outcome)?;
    }
    printed?;
    outcome.check()?;
    Ok(())
}

fn measure_packets(plan: &Plan) -> Result<Outcome, Error> {
    let mut line = ProgressLine::start(plan);
    line.set_message("setting up");
    let mut pool = Pool::connect(plan)?;
    let outcome = load(&mut pool, &mut line);
    line.set_message("releasing");
    pool.release();
    line.finish();
    outcome
}

fn load(pool: &mut Pool, line: &mut ProgressLine) -> Result<Outcome, Error> {
    let plan = pool.plan().clone();
    let setup = pool.set_up()?;
    let mut outcome = match plan.rate {
        Rate::Max => {
            let found = search(pool, plan.duration, |step, progress| {
                line.show_packets(step, progress);
            })?;
            let (run, probes) = (&found.run, &found.probes);
            Outcome::of_packets(&plan, setup.as_ref(), run, probes, found.loader_bound)
        }
        rate @ (Rate::PerSecond(_) | Rate::InFlight(_)) => {
            let run = pool.run(rate, plan.duration, |progress, elapsed| {
                line.set_elapsed(elapsed);
                line.show_packets("", progress);
            })?;
            Outcome::of_packets(&plan, setup.as_ref(), &run, &[], false)
        }
    };
    record_interruption(&plan, &mut outcome);
    Ok(outcome)
}

fn measure_allocations(plan: &Plan) -> Result<Outcome, Error> {
    let line = ProgressLine::start(plan);
    let rate = match plan.rate {
        Rate::PerSecond(rate) => Some(rate),
        Rate::Max | Rate::InFlight(_) => None,
    };
    let resident = |pid: u32| {
        read_usage(pid)
            .map(|usage| usage.resident)
            .map_err(Error::Process)
    };
    let resident_before = plan.pid.map(resident).transpose()?;
    let mut resident_each = None;
    let mut rounds: Vec<Round> = Vec::new();
    let mut ended_early = None;
    let started = Instant::now();
    while rounds.is_empty() || started.elapsed() < plan.duration {
        // New sockets for each round: some servers keep a five-tuple beyond the end of its
        // allocation.
        let mut pool = Pool::connect(plan)?;
        let round = pool.allocate(rate);
        // Only before the first round is the server without memory that earlier allocations left
        // behind.
        if let (None, Some(before), Some(pid)) = (resident_each, resident_before, plan.pid) {
            let grown = resident(pid)?.saturating_sub(before);
            resident_each = Some(grown as f64 / plan.flows as f64);
        }
        pool.release();
        match round {
            Ok(round) => rounds.push(round),
            Err(error) if rounds.is_empty() => return Err(error),
            Err(error) => {
                ended_early = Some(error.to_string());
                break;
            }
        }
        let allocations: usize = rounds.iter().map(|round| round.granted).sum();
        line.set_elapsed(started.elapsed());
        line.set_message(&format!("{} allocations", text::count(allocations as f64)));
    }
    line.finish();
    let mut outcome = Outcome::of_allocations(plan, &rounds, resident_each);
    outcome.ended_early = ended_early;
    record_interruption(plan, &mut outcome);
    Ok(outcome)
}

/// An interruption is the cause of every error after it.
fn record_interruption(plan: &Plan, outcome: &mut Outcome) {
    if plan.stop.is_requested() {
        outcome.ended_early = Some("interrupted".into());
    }
}
