//! The rows of the table: measured quantity, unit, and goal for Hairpin.

use crate::contender::{Contender, Needs, Running};
use crate::live;
use crate::measure::{
    busy_cores, calls_per_packet, cpu_per_allocate, cpu_per_packet, median, memory_per_allocation,
    relay,
};
use crate::settings::Settings;
use crate::table::{Cell, Line, Numbers};
use hairpin::bench::error::Error;
use hairpin::bench::plan::{Direction, Plan, Workload};
use hairpin::bench::rate::Rate;
use hairpin::turn::Transport;

/// One measurement, which fills one or more lines of the table.
pub struct Row {
    /// The name on the command line.
    pub key: &'static str,
    pub cells: &'static [Cell],
    needs: Needs,
    measure: Measure,
}

/// The kind of measurement.
#[derive(Clone, Copy)]
enum Measure {
    /// CPU nanoseconds per packet of a saturated server.
    Packets(fn(&mut Plan)),
    /// CPU microseconds per Allocate.
    Allocate,
    /// Resident octets per idle allocation.
    Resident,
    /// CPU per packet with this many allocations, divided by that with ten.
    Scale(usize),
    /// See [`live`]; the number of allocations comes from the command line.
    Live,
    /// Latency in microseconds at half of coturn's capacity: p50, p99.
    Latency,
    /// System calls per packet at a fixed rate.
    Calls,
    /// Gbit of payload per second of CPU; packets per write.
    Gigabits(Direction, usize),
}

/// The result of one run: a number for each cell.
struct Sample {
    numbers: Vec<f64>,
    cores: Option<f64>,
}

/// All rows, in the order of the table.
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
            segmentation: true,
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
        Measure::Scale(10_000),
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
/// Packets per write in bulk, as clients write all that they have. With one packet per write the
/// load generator is busier than the server, which wakes up for every other packet, so the cost of
/// waking is measured.
const BULK: usize = 16;

impl Row {
    /// Measures all servers, round by round; a server without the required features has no numbers.
    pub fn measure(
        &self,
        contenders: &[Contender],
        settings: &Settings,
    ) -> Result<Vec<Line>, String> {
        let able = |contender: &&Contender| contender.can(self.needs);
        // The row `live` starts its own processes, for one server after the other.
        let start = |contender: &Contender| match self.measure {
            Measure::Live => None,
            _ => Some(contender).filter(able)?.start(self.needs),
        };
        let running: Vec<Option<Running>> = contenders.iter().map(start).collect();
        let rate = self.latency_test_rate(contenders, &running, settings);
        let rounds = if matches!(self.measure, Measure::Resident | Measure::Live) {
            1
        } else {
            settings.rounds
        };
        let mut found: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (at, contender) in contenders.iter().enumerate() {
                let sample = match (&running[at], self.measure) {
                    (_, Measure::Live) if contender.can(self.needs) => {
                        measure_live(contender, self.needs, settings)
                    }
                    (Some(running), _) => self.run_once(contender, running, settings, rate),
                    _ => continue,
                };
                match sample {
                    Ok(sample) => found[at].push(sample),
                    Err(error) => eprintln!("{} with {}: {error}", self.key, contender.name),
                }
            }
        }
        if found.iter().all(Vec::is_empty) {
            return Err("no server could be measured".into());
        }
        let more_is_better = matches!(self.measure, Measure::Gigabits(..));
        Ok(self
            .cells
            .iter()
            .enumerate()
            .map(|(at, cell)| Line::new(cell, more_is_better, numbers(&found, at)))
            .collect())
    }

    /// Half of the capacity of coturn, or of the first server without it.
    fn latency_test_rate(
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

    fn run_once(
        &self,
        contender: &Contender,
        running: &Running,
        settings: &Settings,
        rate: f64,
    ) -> Result<Sample, Error> {
        let mut plan = running.plan();
        match self.measure {
            Measure::Packets(shape) => {
                shape(&mut plan);
                plan.peers = contender.peers(self.needs, plan.flows);
                let run = relay(plan, settings.length)?;
                Ok(Sample {
                    numbers: vec![cpu_per_packet(&run)?],
                    cores: busy_cores(&run),
                })
            }
            Measure::Allocate => cpu_per_allocate(Plan {
                workload: Workload::Allocate,
                flows: 1_000,
                ..plan
            })
            .map(Sample::one),
            Measure::Resident => memory_per_allocation(Plan {
                workload: Workload::Allocate,
                flows: 10_000,
                ..plan
            })
            .map(Sample::one),
            Measure::Scale(most) => {
                let paced = |flows| Plan {
                    flows,
                    rate: live::RATE,
                    ..plan.clone()
                };
                let few = cpu_per_packet(&relay(paced(10), settings.length)?)?;
                let many = relay(paced(most), settings.length)?;
                Ok(Sample {
                    numbers: vec![cpu_per_packet(&many)? / few],
                    cores: busy_cores(&many),
                })
            }
            Measure::Live => measure_live(contender, self.needs, settings),
            Measure::Latency => {
                plan.rate = Rate::PerSecond(rate);
                let run = relay(plan, settings.length)?;
                let numbers = [0.5, 0.99]
                    .map(|quantile| run.counters.latency.quantile(quantile) as f64 / 1000.0);
                Ok(Sample {
                    numbers: numbers.to_vec(),
                    cores: busy_cores(&run),
                })
            }
            Measure::Calls => calls_per_packet(
                Plan {
                    flows: 500,
                    rate: Rate::PerSecond(100_000.0),
                    ..plan
                },
                settings.length,
            )
            .map(Sample::one),
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
                Ok(Sample {
                    numbers: vec![octets_each * 8.0 / cpu_per_packet(&run)?],
                    cores: busy_cores(&run),
                })
            }
        }
    }
}

impl Sample {
    fn one(number: f64) -> Sample {
        Sample {
            numbers: vec![number],
            cores: None,
        }
    }
}

/// The results of each server for one cell.
fn numbers(found: &[Vec<Sample>], cell: usize) -> Vec<Numbers> {
    let of = |rounds: &Vec<Sample>| Numbers {
        all: rounds
            .iter()
            .filter_map(|found| found.numbers.get(cell).copied())
            .collect(),
        cores: median(rounds.iter().filter_map(|found| found.cores).collect()),
    };
    found.iter().map(of).collect()
}

fn measure_live(contender: &Contender, needs: Needs, settings: &Settings) -> Result<Sample, Error> {
    let ratios = live::measure(contender, needs, settings.live, settings)?;
    Ok(Sample {
        numbers: vec![ratios.packet, ratios.setup, ratios.memory],
        cores: None,
    })
}
