//! As many live allocations as are asked for, on one server: on several processes of it where the number of descriptors
//! that one process may have is not enough.
//!
//! ```text
//!   few (10)  ──►  the first 10,000  ──►  fillers: whole processes  ──►  the rest, over which packets then go
//!   cost/packet    cost, memory each      held by children of this one    cost, memory each, cost/packet
//! ```

use crate::contender::{Contender, Needs, PER_ADDRESS, Running, plan};
use crate::row::{cost, relay};
use crate::table::median;
use crate::{DESCRIPTORS, Settings};
use hairpin::bench::error::Error;
use hairpin::bench::measure::process::{ProcessUsage, read_usage};
use hairpin::bench::plan::{Plan, Workload};
use hairpin::bench::pool::Pool;
use hairpin::bench::rate::Rate;
use hairpin::bench::worker::Progress;
use hairpin::turn::Transport;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};

/// The argument that makes this executable one that holds allocations.
pub const FLAG: &str = "--hold";

/// What a crowd of allocations costs.
pub struct Crowd {
    /// CPU for a packet with all of them, divided by that with ten.
    pub packet: f64,
    /// CPU for an allocation among the last, divided by that among the first 10,000.
    pub setup: f64,
    /// Resident octets for an allocation of all, divided by those of the first 10,000.
    pub memory: f64,
}

/// Allocations on one server process, and what they cost it.
struct Part {
    running: Running,
    /// Who holds them: a child, or nobody where this process does.
    holders: Vec<Holder>,
}

/// A child that holds allocations until its standard input closes.
struct Holder(Child);

/// Raises `total` live allocations on a contender and measures.
pub fn measure(
    contender: &Contender,
    needs: Needs,
    total: usize,
    settings: &Settings,
) -> Result<Crowd, Error> {
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
        .and_then(|run| cost(&run))
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
    let last = parts.last().expect("the first at least");
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
            .and_then(|run| cost(&run))
    })?;
    eprintln!(
        "  {}: {total} allocations in {} processes; {few:.0} ns and {many:.0} ns a packet, {:.1} µs and {:.1} µs and {first_memory:.0} B and {:.0} B an allocation",
        contender.name,
        parts.len(),
        first_setup / 1000.0,
        setup / 1000.0,
        resident as f64 / total as f64,
    );
    Ok(Crowd {
        packet: many / few,
        setup: setup / first_setup,
        memory: resident as f64 / total as f64 / first_memory,
    })
}

/// Holds so many allocations on the server at a port of 127.0.0.1, until standard input closes.
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
    /// Starts process number `at` of a server, with relay addresses of its own for so many allocations.
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

    /// Makes allocations that stay, beside `others` on this host.
    fn fill(&mut self, allocations: usize, others: usize) -> Result<(), Error> {
        self.holders
            .push(Holder::start(self.running.port(), allocations, others).map_err(Error::Io)?);
        Ok(())
    }
}

impl Holder {
    /// Starts it and waits until it holds them.
    fn start(port: u16, allocations: usize, others: usize) -> io::Result<Holder> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(FLAG)
            .args([port.into(), allocations, others].map(|number: usize| number.to_string()));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no output"))?;
        let holder = Holder(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
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
    mut once: impl FnMut() -> Result<f64, Error>,
) -> Result<f64, Error> {
    let costs = (0..settings.rounds)
        .map(|_| once())
        .collect::<Result<Vec<_>, _>>()?;
    Ok(median(costs).unwrap_or(f64::NAN))
}

/// Allocations that one process can have, each with a socket.
fn per_process() -> usize {
    DESCRIPTORS.saturating_sub(RESERVE).min(1 << 20) as usize
}

/// The pace at which packets are compared: few flows and many get the same, and neither gathers into trains.
pub const RATE: Rate = Rate::PerSecond(40_000.0);
/// The first allocations, whose cost is that of a small server.
const FIRST: usize = 10_000;
/// Descriptors that a process needs for other things.
const RESERVE: u64 = 1_000;
