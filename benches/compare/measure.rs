//! Single measurements of a running server.

use hairpin::bench::error::Error;
use hairpin::bench::measure::process::read_usage;
use hairpin::bench::plan::Plan;
use hairpin::bench::pool::{Pool, Run};
use hairpin::bench::worker::Progress;
use std::process::Command;
use std::time::Duration;

/// Allocates and binds, relays for `length`, and releases the allocations.
pub fn relay(plan: Plan, length: Duration) -> Result<Run, Error> {
    let mut pool = Pool::connect(&plan)?;
    let run = pool
        .set_up()
        .and_then(|_| pool.run(plan.rate, length, |_: &Progress, _| {}));
    pool.release();
    let mut run = run?;
    run.error.take().map_or(Ok(run), Err)
}

/// CPU nanoseconds of the server for one packet.
pub fn cpu_per_packet(run: &Run) -> Result<f64, Error> {
    match run.process {
        Some(usage) if usage.packets > 0 => Ok(usage.used.cpu as f64 / usage.packets as f64),
        _ => Err(Error::Io(std::io::Error::other("no packet was relayed"))),
    }
}

/// Cores that the server kept busy.
pub fn busy_cores(run: &Run) -> Option<f64> {
    run.process
        .map(|usage| usage.used.cpu as f64 / 1e9 / usage.seconds)
}

/// CPU microseconds of the server for one Allocate.
pub fn cpu_per_allocate(plan: Plan) -> Result<f64, Error> {
    let mut pool = Pool::connect(&plan)?;
    let round = pool.allocate(None)?;
    pool.release();
    Ok(round.process.map_or(f64::NAN, |usage| {
        usage.used.cpu as f64 / 1000.0 / usage.packets.max(1) as f64
    }))
}

/// Resident octets of the server for one allocation.
pub fn memory_per_allocation(plan: Plan) -> Result<f64, Error> {
    let resident = || {
        plan.pid
            .map_or(Ok(0), |pid| read_usage(pid).map(|usage| usage.resident))
            .map_err(Error::Process)
    };
    // The first allocations also make shared memory resident: code, tables, buffers.
    let mut few = Pool::connect(&Plan {
        flows: 100,
        ..plan.clone()
    })?;
    few.allocate(None)?;
    let mut pool = Pool::connect(&plan)?;
    let before = resident()?;
    pool.allocate(None)?;
    let grown = resident()?.saturating_sub(before) as f64 / plan.flows as f64;
    pool.release();
    few.release();
    Ok(grown)
}

/// System calls of the server for one packet at the plan's rate, counted by perf.
pub fn calls_per_packet(plan: Plan, length: Duration) -> Result<f64, Error> {
    let pid = plan.pid.unwrap_or(0).to_string();
    let mut pool = Pool::connect(&plan)?;
    pool.set_up()?;
    let seconds = format!("{}", length.as_secs_f64() * 0.8);
    let perf = Command::new("perf")
        .args([
            "stat",
            "-x,",
            "-e",
            "raw_syscalls:sys_enter",
            "-p",
            &pid,
            "--",
            "sleep",
            &seconds,
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(Error::Io)?;
    let run = pool.run(plan.rate, length, |_: &Progress, _| {})?;
    let output = perf.wait_with_output().map_err(Error::Io)?;
    pool.release();
    let report = String::from_utf8_lossy(&output.stderr);
    let counted: Option<f64> = report
        .lines()
        .find_map(|line| line.split(',').next()?.parse().ok());
    let packets = run.counters.received as f64 * 0.8;
    counted
        .map(|calls| calls / packets)
        .ok_or_else(|| Error::Io(std::io::Error::other(format!("perf: {report}"))))
}

/// The middle number, or the upper one of the two middle ones.
pub fn median(mut numbers: Vec<f64>) -> Option<f64> {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied()
}
