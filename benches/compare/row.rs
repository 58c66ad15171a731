//! The rows of the table: what each measures, in which unit, and what is asked of Hairpin.

use crate::Settings;
use crate::contender::{Contender, Needs, Running};
use crate::table::{Line, median};
use hairpin::cli::bench::crew::Gauge;
use hairpin::cli::bench::plan::{Plan, Transport};
use hairpin::cli::bench::process::spent;
use hairpin::cli::bench::rate::Rate;
use hairpin::cli::bench::team::{Run, Team};
use hairpin::cli::bench::{Direction, Failure, Workload};
use std::process::Command;
use std::time::Duration;

/// One row.
pub struct Row {
    /// How the command line names it.
    pub key: &'static str,
    /// How the table names it.
    pub title: &'static str,
    /// What the numbers are.
    pub unit: &'static str,
    /// What is asked, beside the ratio to the reference.
    pub target: &'static str,
    needs: Needs,
    measure: Measure,
}

/// How a number comes about.
#[derive(Clone, Copy)]
enum Measure {
    /// CPU nanoseconds per packet, saturated.
    Packets(fn(&mut Plan)),
    /// CPU microseconds per Allocate.
    Allocate,
    /// Resident octets per idle allocation.
    Resident,
    /// CPU per packet with many allocations, divided by that with ten. The number of allocations at most.
    Crowd(usize),
    /// Latency in microseconds at half of the reference's capacity: a quantile.
    Latency(f64),
    /// System calls per packet, paced.
    Calls,
    /// Gbit of payload per second of CPU.
    Gigabits(Transport),
}

/// All rows, in the order of the issue.
pub const ROWS: &[Row] = &[
    cpu("up", "ChannelData client → peer, 50 flows", "≥ 1.3 ×", NOTHING, Measure::Packets(|_| {})),
    cpu(
        "down",
        "peer → client, 50 flows",
        "≥ 1.7 ×",
        NOTHING,
        Measure::Packets(|plan| plan.direction = Direction::Down),
    ),
    cpu("burst", "client → peer, bursts of 8", "≥ 3 ×", TRAINS, Measure::Packets(|plan| plan.burst = 8)),
    cpu(
        "hairpin",
        "both ends allocations of one server",
        "≥ 3 ×",
        PAIRS,
        Measure::Packets(|plan| plan.direction = Direction::Hairpin),
    ),
    cpu("send", "Send indications", "≥ 1.3 ×", NOTHING, Measure::Packets(|plan| plan.indications = true)),
    cpu(
        "data",
        "Data indications",
        "≥ 1.3 ×",
        NOTHING,
        Measure::Packets(|plan| {
            plan.indications = true;
            plan.direction = Direction::Down;
        }),
    ),
    cpu("binding", "Binding requests", "≥ 1.5 ×", NOTHING, Measure::Packets(|plan| plan.workload = Workload::Binding)),
    Row {
        key: "allocate",
        title: "Allocate with authentication",
        unit: "µs",
        target: "≥ 4 ×",
        needs: NOTHING,
        measure: Measure::Allocate,
    },
    Row {
        key: "resident",
        title: "resident memory per idle allocation, of 10,000",
        unit: "B",
        target: "≤ 1,000",
        needs: NOTHING,
        measure: Measure::Resident,
    },
    Row {
        key: "crowd",
        title: "CPU per packet, 9,000 allocations ÷ 10",
        unit: "÷",
        target: "≤ 1.2",
        needs: NOTHING,
        measure: Measure::Crowd(9_000),
    },
    Row {
        key: "limit",
        title: "CPU per packet, 18,000 allocations ÷ 10",
        unit: "÷",
        target: "≤ 1.3",
        needs: NOTHING,
        measure: Measure::Crowd(18_000),
    },
    Row {
        key: "p50",
        title: "latency at half of coturn's capacity, p50",
        unit: "µs",
        target: "≤ 1 ×",
        needs: NOTHING,
        measure: Measure::Latency(0.5),
    },
    Row {
        key: "p99",
        title: "the same, p99",
        unit: "µs",
        target: "≤ 1 ×",
        needs: NOTHING,
        measure: Measure::Latency(0.99),
    },
    Row {
        key: "calls",
        title: "system calls per packet, 500 flows × 200/s",
        unit: "",
        target: "≤ 1.5",
        needs: NOTHING,
        measure: Measure::Calls,
    },
    Row {
        key: "tcp",
        title: "relayed for TCP clients",
        unit: "Gbit per CPU s",
        target: "≥ 1.3 ×",
        needs: TCP,
        measure: Measure::Gigabits(Transport::Tcp),
    },
];

const fn cpu(key: &'static str, title: &'static str, target: &'static str, needs: Needs, measure: Measure) -> Row {
    Row { key, title, unit: "ns", target, needs, measure }
}

const NOTHING: Needs = Needs { trains: false, tcp: false, hairpin: false };
const TRAINS: Needs = Needs { trains: true, tcp: false, hairpin: false };
const PAIRS: Needs = Needs { trains: false, tcp: false, hairpin: true };
const TCP: Needs = Needs { trains: false, tcp: true, hairpin: false };

impl Row {
    /// Measures all contenders, round by round; a contender that cannot do it has no number.
    pub fn measure(&self, contenders: &[Contender], settings: &Settings) -> Result<Line, String> {
        let running: Vec<Option<Running>> = contenders
            .iter()
            .map(|contender| contender.can(self.needs).then(|| contender.start(self.needs))?)
            .collect();
        let mut numbers = vec![Vec::new(); contenders.len()];
        let rate = self.common_rate(contenders, &running, settings);
        let rounds = if matches!(self.measure, Measure::Resident) { 1 } else { settings.rounds };
        for _ in 0..rounds {
            for (at, (contender, running)) in contenders.iter().zip(&running).enumerate() {
                let Some(running) = running else { continue };
                match self.once(contender, running, settings, rate) {
                    Ok(number) => numbers[at].push(number),
                    Err(failure) => eprintln!("{} with {}: {failure}", self.key, contender.name),
                }
            }
        }
        if numbers.iter().all(Vec::is_empty) {
            return Err("nobody could".into());
        }
        let more_is_better = matches!(self.measure, Measure::Gigabits(_));
        Ok(Line {
            title: self.title,
            unit: self.unit,
            target: self.target,
            more_is_better,
            spread: numbers.iter().map(|all| spread(all)).collect(),
            numbers: numbers.into_iter().map(median).collect(),
        })
    }

    /// For latency: half of what the reference, or else the slowest, relays at most.
    fn common_rate(&self, contenders: &[Contender], running: &[Option<Running>], settings: &Settings) -> f64 {
        if !matches!(self.measure, Measure::Latency(_)) {
            return 0.0;
        }
        let reference = contenders.iter().position(Contender::is_reference).unwrap_or(0);
        let Some(running) = &running[reference] else { return 10_000.0 };
        let capacity = |_| {
            let run = relay(running.plan(), settings.length).ok()?;
            Some(run.tally.received as f64 / run.seconds)
        };
        median((0..3).filter_map(capacity).collect()).unwrap_or(20_000.0) / 2.0
    }

    fn once(&self, contender: &Contender, running: &Running, settings: &Settings, rate: f64) -> Result<f64, Failure> {
        let mut plan = running.plan();
        match self.measure {
            Measure::Packets(shape) => {
                shape(&mut plan);
                plan.peers = contender.peers(self.needs, plan.flows);
                Ok(cost(&relay(plan, settings.length)?))
            }
            Measure::Allocate => allocate(Plan { workload: Workload::Allocate, flows: 1_000, ..plan }),
            Measure::Resident => resident(Plan { workload: Workload::Allocate, flows: 10_000, ..plan }),
            Measure::Crowd(most) => {
                let few = cost(&relay(Plan { flows: 10, ..plan.clone() }, settings.length)?);
                Ok(cost(&relay(Plan { flows: most, ..plan }, settings.length)?) / few)
            }
            Measure::Latency(quantile) => {
                plan.rate = Rate::PerSecond(rate);
                let run = relay(plan, settings.length)?;
                Ok(run.tally.latency.quantile(quantile) as f64 / 1000.0)
            }
            Measure::Calls => calls(Plan { flows: 500, rate: Rate::PerSecond(100_000.0), ..plan }, settings.length),
            Measure::Gigabits(transport) => {
                plan.server.transport = transport;
                let run = relay(Plan { flows: 10, ..plan }, settings.length)?;
                let octets_each = run.tally.octets as f64 / run.tally.received.max(1) as f64;
                Ok(octets_each * 8.0 / cost(&run))
            }
        }
    }
}

/// Sets up, runs, and releases again.
fn relay(plan: Plan, length: Duration) -> Result<Run, Failure> {
    let rate = plan.rate;
    let mut team = Team::enlist(&plan)?;
    team.raise()?;
    let run = team.run(rate, length, |_: &Gauge, _| {})?;
    if plan.workload == Workload::Relay {
        let _ = team.release();
    }
    Ok(run)
}

/// CPU nanoseconds for one packet.
fn cost(run: &Run) -> f64 {
    run.process.map_or(f64::NAN, |usage| usage.spent.cpu as f64 / usage.packets.max(1) as f64)
}

fn allocate(plan: Plan) -> Result<f64, Failure> {
    let mut team = Team::enlist(&plan)?;
    let round = team.allocate(None)?;
    team.release()?;
    Ok(round.process.map_or(f64::NAN, |usage| usage.spent.cpu as f64 / 1000.0 / usage.packets.max(1) as f64))
}

fn resident(plan: Plan) -> Result<f64, Failure> {
    let look = || plan.pid.map_or(Ok(0), |pid| spent(pid).map(|spent| spent.resident)).map_err(Failure::Process);
    // The first allocations also bring what all share: code, tables, buffers.
    let mut few = Team::enlist(&Plan { flows: 100, ..plan.clone() })?;
    few.allocate(None)?;
    let mut team = Team::enlist(&plan)?;
    let before = look()?;
    team.allocate(None)?;
    let grown = look()?.saturating_sub(before) as f64 / plan.flows as f64;
    team.release()?;
    few.release()?;
    Ok(grown)
}

/// Counts the server's system calls while packets flow at a pace, with perf's tracepoint.
fn calls(plan: Plan, length: Duration) -> Result<f64, Failure> {
    let pid = plan.pid.unwrap_or(0).to_string();
    let mut team = Team::enlist(&plan)?;
    team.raise()?;
    let seconds = format!("{}", length.as_secs_f64() * 0.8);
    let perf = Command::new("perf")
        .args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &pid, "--", "sleep", &seconds])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .map_err(Failure::Io)?;
    let run = team.run(plan.rate, length, |_: &Gauge, _| {})?;
    let said = perf.wait_with_output().map_err(Failure::Io)?;
    team.release()?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let counted: Option<f64> = said.lines().find_map(|line| line.split(',').next()?.parse().ok());
    let packets = run.tally.received as f64 * 0.8;
    counted.map(|calls| calls / packets).ok_or_else(|| Failure::Io(std::io::Error::other(format!("perf: {said}"))))
}

/// How far apart the rounds were, of their median.
fn spread(numbers: &[f64]) -> f64 {
    let (least, most) = numbers.iter().fold((f64::MAX, 0.0f64), |(a, b), n| (a.min(*n), b.max(*n)));
    median(numbers.to_vec()).map_or(0.0, |middle| (most - least) / middle)
}
