//! Costs with very many live allocations. One process has too few file descriptors for them, so a
//! server runs as several processes, and child processes of this one hold the clients' ends.
//!
//! ```text
//!   few (10)  ──►  the first 10,000  ──►  fillers: whole processes  ──►  the rest, over which packets then go
//!   cost/packet    cost, memory each      held by children of this one    cost, memory each, cost/packet
//! ```

use crate::contender::{Contender, Needs, PER_ADDRESS, Running, plan};
use crate::measure::{cpu_per_packet, median, relay};
use crate::settings::{DESCRIPTORS, Settings};
use hairpin::bench::error::Error;
use hairpin::bench::measure::process::{ProcessUsage, read_usage};
use hairpin::bench::plan::{Plan, Workload};
use hairpin::bench::pool::Pool;
use hairpin::bench::rate::Rate;
use hairpin::bench::worker::Progress;
use hairpin::turn::Transport;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

/// The argument that makes this executable a process that holds allocations.
pub const FLAG: &str = "--hold";

/// Costs with many allocations, relative to the costs with few.
pub struct Ratios {
    /// CPU time per packet with all allocations, divided by the time with ten.
    pub packet: f64,
    /// CPU time per Allocate of the last allocations, divided by the time of the first 10,000.
    pub setup: f64,
    /// Resident octets per allocation over all, divided by the octets over the first 10,000.
    pub memory: f64,
}

/// One process of the server.
struct Part {
    running: Running,
    /// The children that hold allocations on it; none if this process does.
    holders: Vec<Holder>,
}

/// A child that holds allocations until its standard input closes.
struct Holder(Child);

/// Makes `total` allocations on a server and measures on the way.
pub fn measure(
    contender: &Contender,
    needs: Needs,
    total: usize,
    settings: &Settings,
) -> Result<Ratios, Error> {
    let first = FIRST.min(total / 2);
    let each = per_process().min(total);
    let mut parts = vec![Part::start(contender, needs, 0, each)?];
    let few = median_cost(settings, || {
        relay(
            Plan {
                flows: 10,
                rate: RATE,
                ..parts[0].running.plan()
            },
            settings.length,
        )
        .and_then(|run| cpu_per_packet(&run))
    })?;
    let (before, mut resident) = (parts[0].spent()?, 0);
    parts[0].fill(first, 0)?;
    let after = parts[0].spent()?;
    resident += after.resident.saturating_sub(before.resident);
    let first_setup = (after.cpu - before.cpu) as f64 / first as f64;
    let first_memory = resident as f64 / first as f64;

    let mut left = total - first;
    if left > each - first {
        while left > each {
            let mut part = Part::start(contender, needs, parts.len(), each)?;
            let before = part.spent()?;
            part.fill(each, total - left)?;
            resident += part.spent()?.resident.saturating_sub(before.resident);
            left -= each;
            parts.push(part);
        }
        parts.push(Part::start(contender, needs, parts.len(), each)?);
    }
    let last = parts.last().expect("one part at least");
    let before = last.spent()?;
    let mut pool = Pool::connect(&Plan {
        flows: left,
        other_clients: total - left,
        ..last.running.plan()
    })?;
    pool.allocate(None)?;
    let after = last.spent()?;
    let setup = (after.cpu - before.cpu) as f64 / left as f64;
    resident += after.resident.saturating_sub(before.resident);
    pool.bind()?;
    let many = median_cost(settings, || {
        pool.run(RATE, settings.length, |_: &Progress, _| {})
            .and_then(|run| cpu_per_packet(&run))
    })?;
    eprintln!(
        "  {}: {total} allocations in {} processes; {few:.0} ns and {many:.0} ns a packet, {:.1} µs and {:.1} µs and {first_memory:.0} B and {:.0} B an allocation",
        contender.name,
        parts.len(),
        first_setup / 1000.0,
        setup / 1000.0,
        resident as f64 / total as f64,
    );
    Ok(Ratios {
        packet: many / few,
        setup: setup / first_setup,
        memory: resident as f64 / total as f64 / first_memory,
    })
}

/// Holds this many allocations on the server at a port of 127.0.0.1 until standard input closes.
pub fn hold(port: u16, flows: usize, others: usize) -> ExitCode {
    let plan = Plan {
        workload: Workload::Allocate,
        flows,
        other_clients: others,
        ..plan(port, Transport::Udp, None)
    };
    let held =
        Pool::connect(&plan).and_then(|mut pool| pool.allocate(None).map(|round| (pool, round)));
    match held {
        Ok((pool, round)) => {
            println!("{}", round.granted);
            let _ = io::stdin().read_line(&mut String::new());
            drop(pool);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

impl Part {
    /// Starts process number `at` of a server, with enough relay addresses of its own for the
    /// allocations.
    fn start(
        contender: &Contender,
        needs: Needs,
        at: usize,
        allocations: usize,
    ) -> Result<Part, Error> {
        let addresses = allocations.div_ceil(PER_ADDRESS) as u8;
        let relays = (1 + at as u8 * addresses, addresses);
        let running = contender.start(Needs { relays, ..needs });
        let running =
            running.ok_or_else(|| Error::Io(io::Error::other("the server did not start")))?;
        Ok(Part {
            running,
            holders: Vec::new(),
        })
    }

    fn spent(&self) -> Result<ProcessUsage, Error> {
        read_usage(self.running.pid()).map_err(Error::Process)
    }

    /// Adds allocations that stay; `others` exist on this host already.
    fn fill(&mut self, allocations: usize, others: usize) -> Result<(), Error> {
        self.holders
            .push(Holder::start(self.running.port(), allocations, others).map_err(Error::Io)?);
        Ok(())
    }
}

impl Holder {
    /// Starts a child and waits until it holds the allocations.
    fn start(port: u16, allocations: usize, others: usize) -> io::Result<Holder> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(FLAG)
            .args([port.into(), allocations, others].map(|number: usize| number.to_string()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no output"))?;
        let holder = Holder(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match line.trim().parse::<usize>() {
            Ok(granted) if granted == allocations => Ok(holder),
            _ => Err(io::Error::other(format!(
                "could not hold {allocations} allocations"
            ))),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn median_cost(
    settings: &Settings,
    mut measure: impl FnMut() -> Result<f64, Error>,
) -> Result<f64, Error> {
    let costs = (0..settings.rounds)
        .map(|_| measure())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(median(costs).unwrap_or(f64::NAN))
}

/// Allocations that one process can hold, each with a socket.
fn per_process() -> usize {
    DESCRIPTORS.saturating_sub(RESERVE).min(1 << 20) as usize
}

/// The rate at which packets are compared: equal for few and many flows, and too low for batches to
/// form.
pub const RATE: Rate = Rate::PerSecond(40_000.0);
/// The first allocations, which stand for a small server.
const FIRST: usize = 10_000;
/// Descriptors that a process needs besides.
const RESERVE: u64 = 1_000;
