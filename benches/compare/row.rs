//! The rows of the table: what each measures, in which unit, and what is asked of Hairpin.

use crate::contender::{Contender, Needs, Running};
use crate::table::{Line, Numbers, median};
use crate::{Settings, crowd};
use hairpin::bench::error::Error;
use hairpin::bench::measure::process::read_usage;
use hairpin::bench::plan::{Direction, Plan, Workload};
use hairpin::bench::pool::{Pool, Run};
use hairpin::bench::rate::Rate;
use hairpin::bench::worker::Progress;
use hairpin::turn::Transport;
use std::process::Command;
use std::time::Duration;

/// One row: what is measured at once. It may fill several lines of the table.
pub struct Row {
    /// How the command line names it.
    pub key: &'static str,
    /// Its lines.
    pub cells: &'static [Cell],
    needs: Needs,
    measure: Measure,
}

/// One line of the table.
pub struct Cell {
    /// How the table names it.
    pub title: &'static str,
    /// What the numbers are.
    pub unit: &'static str,
    /// What is asked, beside the ratio to the reference.
    pub target: &'static str,
}

/// How numbers come about.
#[derive(Clone, Copy)]
enum Measure {
    /// CPU nanoseconds per packet, saturated.
    Packets(fn(&mut Plan)),
    /// CPU microseconds per Allocate.
    Allocate,
    /// Resident octets per idle allocation.
    Resident,
    /// CPU per packet with so many allocations, divided by that with ten.
    Crowd(usize),
    /// The same for packet, setup and memory, with as many as the command line asks for.
    Live,
    /// Latency in microseconds at half of the reference's capacity: p50, p99.
    Latency,
    /// System calls per packet, paced.
    Calls,
    /// Gbit of payload per second of CPU, for so many packets a write.
    Gigabits(Direction, usize),
}

/// What one run of one contender found: a number for each cell, and how busy the server was.
struct Found {
    numbers: Vec<f64>,
    cores: Option<f64>,
}

/// All rows, in the order of the issue.
pub const ROWS: &[Row] = &[
    packets(
        "up",
        &[ns("ChannelData client → peer, 50 flows", "≥ 1.3 ×")],
        |_| {},
    ),
    packets(
        "down",
        &[ns("peer → client, 50 flows", "≥ 1.7 ×")],
        |plan| plan.direction = Direction::Down,
    ),
    Row {
        key: "burst",
        cells: &[ns("client → peer, bursts of 8", "≥ 3 ×")],
        needs: Needs {
            trains: true,
            ..Needs::NOTHING
        },
        measure: Measure::Packets(|plan| plan.burst = 8),
    },
    packets(
        "hairpin",
        &[ns("both ends allocations of one server", "≥ 3 ×")],
        |plan| plan.direction = Direction::Hairpin,
    ),
    packets("send", &[ns("Send indications", "≥ 1.3 ×")], |plan| {
        plan.indications = true
    }),
    packets("data", &[ns("Data indications", "≥ 1.3 ×")], |plan| {
        plan.indications = true;
        plan.direction = Direction::Down;
    }),
    packets("binding", &[ns("Binding requests", "≥ 1.5 ×")], |plan| {
        plan.workload = Workload::Binding
    }),
    row(
        "allocate",
        &[cell("Allocate with authentication", "µs", "≥ 4 ×")],
        Measure::Allocate,
    ),
    row(
        "resident",
        &[cell(
            "resident memory per idle allocation, of 10,000",
            "B",
            "≤ 1,000",
        )],
        Measure::Resident,
    ),
    row(
        "crowd",
        &[cell(
            "CPU per packet, 10,000 allocations ÷ 10",
            "÷",
            "≤ 1.2",
        )],
        Measure::Crowd(10_000),
    ),
    Row {
        key: "live",
        cells: &[
            cell(
                "200,000 live allocations: CPU per packet ÷ with 10",
                "÷",
                "≤ 1.3",
            ),
            cell(
                "the same: CPU per Allocate, the last ÷ the first 10,000",
                "÷",
                "1",
            ),
            cell(
                "the same: resident memory of each ÷ of the first 10,000",
                "÷",
                "1",
            ),
        ],
        needs: Needs {
            relays: (1, 10),
            ..Needs::NOTHING
        },
        measure: Measure::Live,
    },
    row(
        "latency",
        &[
            cell("latency at half of coturn's capacity, p50", "µs", "≤ 1 ×"),
            cell("the same, p99", "µs", "≤ 1 ×"),
        ],
        Measure::Latency,
    ),
    row(
        "calls",
        &[cell(
            "system calls per packet, 500 flows × 200/s",
            "",
            "≤ 1.5",
        )],
        Measure::Calls,
    ),
    gigabits(
        "tcp",
        &[gigabit("TCP clients → peers, packet by packet")],
        Transport::Tcp,
        Direction::Up,
        1,
    ),
    gigabits(
        "tcp-down",
        &[gigabit("peers → TCP clients, packet by packet")],
        Transport::Tcp,
        Direction::Down,
        1,
    ),
    gigabits(
        "tls",
        &[gigabit("TLS clients → peers, packet by packet")],
        Transport::Tls,
        Direction::Up,
        1,
    ),
    gigabits(
        "tls-down",
        &[gigabit("peers → TLS clients, packet by packet")],
        Transport::Tls,
        Direction::Down,
        1,
    ),
    gigabits(
        "bulk-udp",
        &[cell("UDP clients → peers, in bulk", GIGABIT, "")],
        Transport::Udp,
        Direction::Up,
        BULK,
    ),
    gigabits(
        "bulk-tcp",
        &[gigabit("TCP clients → peers, in bulk")],
        Transport::Tcp,
        Direction::Up,
        BULK,
    ),
    gigabits(
        "bulk-tcp-down",
        &[gigabit("peers → TCP clients, in bulk")],
        Transport::Tcp,
        Direction::Down,
        BULK,
    ),
    gigabits(
        "bulk-tls",
        &[gigabit("TLS clients → peers, in bulk")],
        Transport::Tls,
        Direction::Up,
        BULK,
    ),
    gigabits(
        "bulk-tls-down",
        &[gigabit("peers → TLS clients, in bulk")],
        Transport::Tls,
        Direction::Down,
        BULK,
    ),
];

const fn row(key: &'static str, cells: &'static [Cell], measure: Measure) -> Row {
    Row {
        key,
        cells,
        needs: Needs::NOTHING,
        measure,
    }
}

const fn packets(key: &'static str, cells: &'static [Cell], shape: fn(&mut Plan)) -> Row {
    row(key, cells, Measure::Packets(shape))
}

const fn gigabits(
    key: &'static str,
    cells: &'static [Cell],
    over: Transport,
    direction: Direction,
    burst: usize,
) -> Row {
    let needs = Needs {
        over,
        ..Needs::NOTHING
    };
    Row {
        key,
        cells,
        needs,
        measure: Measure::Gigabits(direction, burst),
    }
}

const fn cell(title: &'static str, unit: &'static str, target: &'static str) -> Cell {
    Cell {
        title,
        unit,
        target,
    }
}

const fn ns(title: &'static str, target: &'static str) -> Cell {
    cell(title, "ns", target)
}

const fn gigabit(title: &'static str) -> Cell {
    cell(title, GIGABIT, "≥ 1.3 ×")
}

const GIGABIT: &str = "Gbit per CPU s";
/// Packets that a stream is given at once in bulk, as it is by clients that write what they have. With one a write the loader
/// is busier than the server, which is woken for every other packet: then waking is what is measured.
const BULK: usize = 16;

impl Row {
    /// Measures all contenders, round by round; a contender that cannot do it has no numbers.
    pub fn measure(
        &self,
        contenders: &[Contender],
        settings: &Settings,
    ) -> Result<Vec<Line>, String> {
        let able = |contender: &&Contender| contender.can(self.needs);
        // A crowd starts servers of its own, one contender after the other.
        let start = |contender: &Contender| match self.measure {
            Measure::Live => None,
            _ => Some(contender).filter(able)?.start(self.needs),
        };
        let running: Vec<Option<Running>> = contenders.iter().map(start).collect();
        let rate = self.common_rate(contenders, &running, settings);
        let rounds = if matches!(self.measure, Measure::Resident | Measure::Live) {
            1
        } else {
            settings.rounds
        };
        let mut found: Vec<Vec<Found>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (at, contender) in contenders.iter().enumerate() {
                let once = match (&running[at], self.measure) {
                    (_, Measure::Live) if contender.can(self.needs) => {
                        live(contender, self.needs, settings)
                    }
                    (Some(running), _) => self.once(contender, running, settings, rate),
                    _ => continue,
                };
                match once {
                    Ok(numbers) => found[at].push(numbers),
                    Err(failure) => eprintln!("{} with {}: {failure}", self.key, contender.name),
                }
            }
        }
        if found.iter().all(Vec::is_empty) {
            return Err("nobody could".into());
        }
        let more_is_better = matches!(self.measure, Measure::Gigabits(..));
        Ok(self
            .cells
            .iter()
            .enumerate()
            .map(|(at, cell)| Line::new(cell, more_is_better, numbers(&found, at)))
            .collect())
    }

    /// For latency: half of what the reference, or else the first that runs, relays at most.
    fn common_rate(
        &self,
        contenders: &[Contender],
        running: &[Option<Running>],
        settings: &Settings,
    ) -> f64 {
        if !matches!(self.measure, Measure::Latency) {
            return 0.0;
        }
        let reference = contenders
            .iter()
            .position(Contender::is_reference)
            .unwrap_or(0);
        let Some(running) = &running[reference] else {
            return 10_000.0;
        };
        let capacity = |_| {
            let run = relay(running.plan(), settings.length).ok()?;
            Some(run.counters.received as f64 / run.seconds)
        };
        median((0..3).filter_map(capacity).collect()).unwrap_or(20_000.0) / 2.0
    }

    fn once(
        &self,
        contender: &Contender,
        running: &Running,
        settings: &Settings,
        rate: f64,
    ) -> Result<Found, Error> {
        let mut plan = running.plan();
        match self.measure {
            Measure::Packets(shape) => {
                shape(&mut plan);
                plan.peers = contender.peers(self.needs, plan.flows);
                let run = relay(plan, settings.length)?;
                Ok(Found {
                    numbers: vec![cost(&run)?],
                    cores: cores(&run),
                })
            }
            Measure::Allocate => allocate(Plan {
                workload: Workload::Allocate,
                flows: 1_000,
                ..plan
            })
            .map(Found::one),
            Measure::Resident => resident(Plan {
                workload: Workload::Allocate,
                flows: 10_000,
                ..plan
            })
            .map(Found::one),
            Measure::Crowd(most) => {
                let paced = |flows| Plan {
                    flows,
                    rate: crowd::RATE,
                    ..plan.clone()
                };
                let few = cost(&relay(paced(10), settings.length)?)?;
                let many = relay(paced(most), settings.length)?;
                Ok(Found {
                    numbers: vec![cost(&many)? / few],
                    cores: cores(&many),
                })
            }
            Measure::Live => live(contender, self.needs, settings),
            Measure::Latency => {
                plan.rate = Rate::PerSecond(rate);
                let run = relay(plan, settings.length)?;
                let numbers = [0.5, 0.99]
                    .map(|quantile| run.counters.latency.quantile(quantile) as f64 / 1000.0);
                Ok(Found {
                    numbers: numbers.to_vec(),
                    cores: cores(&run),
                })
            }
            Measure::Calls => calls(
                Plan {
                    flows: 500,
                    rate: Rate::PerSecond(100_000.0),
                    ..plan
                },
                settings.length,
            )
            .map(Found::one),
            Measure::Gigabits(direction, burst) => {
                let run = relay(
                    Plan {
                        flows: 10,
                        direction,
                        burst,
                        ..plan
                    },
                    settings.length,
                )?;
                let octets_each = run.counters.octets as f64 / run.counters.received.max(1) as f64;
                Ok(Found {
                    numbers: vec![octets_each * 8.0 / cost(&run)?],
                    cores: cores(&run),
                })
            }
        }
    }
}

impl Found {
    fn one(number: f64) -> Found {
        Found {
            numbers: vec![number],
            cores: None,
        }
    }
}

/// Of each contender: what every round found for one cell, and how busy the server was.
fn numbers(found: &[Vec<Found>], cell: usize) -> Vec<Numbers> {
    let of = |rounds: &Vec<Found>| Numbers {
        all: rounds
            .iter()
            .filter_map(|found| found.numbers.get(cell).copied())
            .collect(),
        cores: median(rounds.iter().filter_map(|found| found.cores).collect()),
    };
    found.iter().map(of).collect()
}

fn live(contender: &Contender, needs: Needs, settings: &Settings) -> Result<Found, Error> {
    let crowd = crowd::measure(contender, needs, settings.live, settings)?;
    Ok(Found {
        numbers: vec![crowd.packet, crowd.setup, crowd.memory],
        cores: None,
    })
}

/// Sets up, runs, and releases again.
pub fn relay(plan: Plan, length: Duration) -> Result<Run, Error> {
    let mut pool = Pool::connect(&plan)?;
    let run = pool
        .set_up()
        .and_then(|_| pool.run(plan.rate, length, |_: &Progress, _| {}));
    pool.release();
    let mut run = run?;
    run.error.take().map_or(Ok(run), Err)
}

/// CPU nanoseconds for one packet.
pub fn cost(run: &Run) -> Result<f64, Error> {
    match run.process {
        Some(usage) if usage.packets > 0 => Ok(usage.used.cpu as f64 / usage.packets as f64),
        _ => Err(Error::Io(std::io::Error::other("nothing was relayed"))),
    }
}

/// How many cores the server was busy with.
fn cores(run: &Run) -> Option<f64> {
    run.process
        .map(|usage| usage.used.cpu as f64 / 1e9 / usage.seconds)
}

fn allocate(plan: Plan) -> Result<f64, Error> {
    let mut pool = Pool::connect(&plan)?;
    let round = pool.allocate(None)?;
    pool.release();
    Ok(round.process.map_or(f64::NAN, |usage| {
        usage.used.cpu as f64 / 1000.0 / usage.packets.max(1) as f64
    }))
}

fn resident(plan: Plan) -> Result<f64, Error> {
    let look = || {
        plan.pid
            .map_or(Ok(0), |pid| read_usage(pid).map(|usage| usage.resident))
            .map_err(Error::Process)
    };
    // The first allocations also bring what all share: code, tables, buffers.
    let mut few = Pool::connect(&Plan {
        flows: 100,
        ..plan.clone()
    })?;
    few.allocate(None)?;
    let mut pool = Pool::connect(&plan)?;
    let before = look()?;
    pool.allocate(None)?;
    let grown = look()?.saturating_sub(before) as f64 / plan.flows as f64;
    pool.release();
    few.release();
    Ok(grown)
}

/// Counts the server's system calls while packets flow at a pace, with perf's tracepoint.
fn calls(plan: Plan, length: Duration) -> Result<f64, Error> {
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
    let said = perf.wait_with_output().map_err(Error::Io)?;
    pool.release();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let counted: Option<f64> = said
        .lines()
        .find_map(|line| line.split(',').next()?.parse().ok());
    let packets = run.counters.received as f64 * 0.8;
    counted
        .map(|calls| calls / packets)
        .ok_or_else(|| Error::Io(std::io::Error::other(format!("perf: {said}"))))
}
