//! What a run found out, in the units that people and scripts read.

pub mod file;
pub mod html;
pub mod text;

use crate::bench::error::Error;
use crate::bench::histogram::Histogram;
use crate::bench::plan::{Direction, Plan, Workload};
use crate::bench::pool::{Round, Run, Usage};
use crate::bench::rate::Rate;
use crate::bench::search::{LOSS, Probe};
use crate::turn::Transport;
use serde::Serialize;

/// The outcome of `hairpin bench`; `--json` prints exactly this.
#[derive(Serialize)]
pub struct Outcome {
    /// `relay`, `allocate` or `binding`.
    pub workload: &'static str,
    /// The server's URI.
    pub server: String,
    /// `udp`, `tcp`, `tls` or `dtls`.
    pub transport: &'static str,
    /// Clients.
    pub flows: usize,
    /// Octets of payload.
    pub size: usize,
    /// Packets back to back.
    pub burst: usize,
    /// `up`, `down`, `both` or `hairpin`; absent unless relaying.
    pub direction: Option<&'static str>,
    /// Whether indications carried the data.
    pub indications: bool,
    /// Seconds measured.
    pub seconds: f64,
    /// Why the run ended before its time, if it did.
    pub ended_early: Option<String>,
    /// How setting up went, or the allocations measured.
    pub allocations: Option<Allocations>,
    /// What became of the packets.
    pub packets: Option<Packets>,
    /// From sending to receiving (or from request to grant), in microseconds.
    pub latency: Latency,
    /// The server's process.
    pub process: Option<Process>,
    /// The loader's own.
    pub loader: Option<Process>,
    /// Rates tried by `--rate max`.
    pub probes: Vec<Tried>,
    /// Whether the loader was what could do no more.
    pub loader_bound: bool,
    /// Whether answers stopped about where a server of ours stops answering one network, unless it is told otherwise.
    pub answer_bound: bool,
    /// The run in time.
    pub timeline: Vec<Moment>,
    /// The server's process in time.
    pub usage: Vec<Used>,
}

/// Allocations made.
#[derive(Serialize)]
pub struct Allocations {
    /// How many.
    pub count: usize,
    /// How many a second.
    pub per_second: f64,
    /// From the first request over the challenge to the grant, in microseconds: median.
    pub p50_us: f64,
    /// The same for 99 of 100.
    pub p99_us: f64,
    /// Server CPU for one, in microseconds.
    pub cpu_us: Option<f64>,
    /// Growth of the server's resident memory by one, in octets; only where `allocate` measured it.
    pub resident_octets: Option<f64>,
}

/// What became of the packets.
#[derive(Serialize)]
pub struct Packets {
    /// Packets a second that were asked for.
    pub offered_per_second: Option<f64>,
    /// Packets sent.
    pub sent: u64,
    /// Packets received, each once.
    pub received: u64,
    /// Packets received, a second.
    pub per_second: f64,
    /// Payload received, bits a second.
    pub bits_per_second: f64,
    /// Packets that did not come.
    pub lost: u64,
    /// Of those sent, 0 to 1.
    pub loss: f64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that were not what was sent.
    pub corrupted: u64,
    /// Packets that were due but that the loader could not send.
    pub unsent: u64,
    /// Seconds at the end of the run in which packets were sent and none came.
    pub silent_seconds: f64,
}

/// A distribution of durations in microseconds.
#[derive(Serialize)]
pub struct Latency {
    /// The shortest.
    pub min_us: f64,
    /// The mean.
    pub mean_us: f64,
    /// The median.
    pub p50_us: f64,
    /// What 90 of 100 do not exceed.
    pub p90_us: f64,
    /// What 99 of 100 do not exceed.
    pub p99_us: f64,
    /// What 999 of 1000 do not exceed.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Counts between bounds that grow by a quarter of a doubling: lower bound, upper bound, count.
    pub histogram: Vec<(f64, f64, u64)>,
}

/// What the server's process spent.
#[derive(Serialize)]
pub struct Process {
    /// Nanoseconds of CPU for each packet relayed (or request answered).
    pub cpu_ns_per_packet: f64,
    /// Cores in use.
    pub cores: f64,
    /// Kernel time of all CPU time, 0 to 1; absent where there were too few ticks to tell.
    pub kernel: Option<f64>,
    /// Resident octets at the end.
    pub resident_octets: u64,
    /// Threads.
    pub threads: u64,
    /// Context switches for each packet.
    pub switches_per_packet: f64,
}

/// A rate that was tried.
#[derive(Serialize)]
pub struct Tried {
    /// Packets a second.
    pub rate: f64,
    /// What was lost, 0 to 1.
    pub loss: f64,
    /// What the loader could not send, 0 to 1.
    pub unsent: f64,
}

/// One slice of the run.
#[derive(Serialize)]
pub struct Moment {
    /// Seconds since its beginning.
    pub at: f64,
    /// Packets sent, a second.
    pub sent: f64,
    /// Packets received, a second.
    pub received: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of latency in microseconds.
    pub p99_us: f64,
}

/// One look at the server's process.
#[derive(Serialize)]
pub struct Used {
    /// Seconds since the run's beginning.
    pub at: f64,
    /// Cores in use.
    pub cores: f64,
    /// Resident octets.
    pub resident_octets: u64,
}

impl Outcome {
    /// The outcome of a run of packets.
    pub fn of_packets(
        plan: &Plan,
        setup: Option<&Round>,
        run: &Run,
        probes: &[Probe],
        loader_bound: bool,
    ) -> Outcome {
        let counters = &run.counters;
        let tried = |probe: &Probe| Tried {
            rate: probe.rate,
            loss: probe.loss,
            unsent: probe.unsent,
        };
        Outcome {
            seconds: run.seconds,
            allocations: setup.map(allocations),
            packets: Some(Packets {
                offered_per_second: run.offered,
                sent: counters.sent,
                received: counters.received,
                per_second: counters.received as f64 / run.seconds,
                bits_per_second: counters.octets as f64 * 8.0 / run.seconds,
                lost: counters.lost(),
                loss: counters.loss(),
                reordered: counters.reordered,
                duplicates: counters.duplicates,
                corrupted: counters.corrupted,
                unsent: counters.unsent,
                silent_seconds: silence(run),
            }),
            ended_early: run.failure.as_ref().map(Error::to_string),
            latency: Latency::of(&counters.latency),
            process: run.process.as_ref().map(Process::of),
            loader: run.loader.as_ref().map(Process::of),
            probes: probes.iter().map(tried).collect(),
            loader_bound,
            answer_bound: is_answer_bound(plan, counters.received, run.seconds, counters.loss()),
            timeline: moments(run),
            usage: used(run),
            ..Outcome::empty(plan)
        }
    }

    /// The outcome of rounds of allocations, and what one of them keeps resident.
    pub fn of_allocations(plan: &Plan, rounds: &[Round], resident_each: Option<f64>) -> Outcome {
        let mut all = Round {
            latency: Histogram::default(),
            seconds: 0.0,
            granted: 0,
            process: None,
        };
        let mut timeline = Vec::new();
        for round in rounds {
            timeline.push(Moment {
                at: all.seconds,
                sent: round.granted as f64 / round.seconds,
                received: round.granted as f64 / round.seconds,
                p50_us: micro(round.latency.quantile(0.5)),
                p99_us: micro(round.latency.quantile(0.99)),
            });
            all.latency.merge(&round.latency);
            all.seconds += round.seconds;
            all.granted += round.granted;
            if let Some(usage) = &round.process {
                let sum = all.process.get_or_insert_with(Usage::default);
                sum.seconds += usage.seconds;
                sum.packets += usage.packets;
                sum.spent.cpu += usage.spent.cpu;
                sum.spent.user += usage.spent.user;
                sum.spent.system += usage.spent.system;
                sum.spent.switches += usage.spent.switches;
                sum.spent.resident = sum.spent.resident.max(usage.spent.resident);
                sum.spent.threads = usage.spent.threads;
            }
        }
        Outcome {
            seconds: all.seconds,
            allocations: Some(Allocations {
                resident_octets: resident_each,
                ..allocations(&all)
            }),
            latency: Latency::of(&all.latency),
            process: all.process.as_ref().map(Process::of),
            timeline,
            ..Outcome::empty(plan)
        }
    }

    fn empty(plan: &Plan) -> Outcome {
        let relays = plan.workload == Workload::Relay;
        Outcome {
            workload: plan.workload.name(),
            server: plan.target.uri.clone(),
            transport: plan.target.transport.name(),
            flows: plan.flows,
            size: plan.size,
            burst: plan.burst,
            direction: relays.then(|| plan.direction.name()),
            indications: plan.indications,
            seconds: 0.0,
            ended_early: None,
            allocations: None,
            packets: None,
            latency: Latency::of(&Histogram::default()),
            process: None,
            loader: None,
            probes: Vec::new(),
            loader_bound: false,
            answer_bound: false,
            timeline: Vec::new(),
            usage: Vec::new(),
        }
    }

    /// Why this outcome is a failure, if it is one: it ended early, nothing came, not to the end, or not what was sent.
    pub fn verdict(&self) -> Result<(), String> {
        if let Some(cause) = &self.ended_early {
            return Err(format!("ended after {:.1} s: {cause}", self.seconds));
        }
        let Some(packets) = &self.packets else {
            return Ok(());
        };
        if packets.received == 0 {
            let cause = match self.direction {
                Some(direction) if direction != Direction::Hairpin.name() => {
                    "the relay's own address must be able to reach this host, and this host the relay; try --direction hairpin, which needs neither"
                }
                Some(_) => {
                    "the server accepted the channels but forwards nothing between its own allocations"
                }
                None => "the server answered once and then no more",
            };
            return Err(format!(
                "none of {} packets came back: {cause}",
                packets.sent
            ));
        }
        if packets.silent_seconds >= SILENCE {
            return Err(format!(
                "nothing came in the last {:.1} s: the server ended, or lost its allocations",
                packets.silent_seconds
            ));
        }
        if packets.corrupted > 0 {
            return Err(format!(
                "{} packets were not what was sent",
                packets.corrupted
            ));
        }
        Ok(())
    }
}

/// Whether a bound on unauthenticated answers is what a run met, and not what the server can do.
fn is_answer_bound(plan: &Plan, received: u64, seconds: f64, loss: f64) -> bool {
    let bounded = plan.workload == Workload::Binding && plan.target.transport == Transport::Udp;
    let stopped = plan.rate == Rate::Max || loss > LOSS;
    let due = ANSWERS * seconds;
    let met = (due * 0.9..due * 1.05 + ANSWERS / 2.0).contains(&(received as f64));
    bounded && !plan.target.address.ip().is_loopback() && stopped && met
}

impl Latency {
    fn of(histogram: &Histogram) -> Latency {
        let (min, mean, max) = histogram.extent();
        let quantile = |quantile| micro(histogram.quantile(quantile));
        Latency {
            min_us: micro(min),
            mean_us: micro(mean),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
            max_us: micro(max),
            histogram: bars(histogram, min, max),
        }
    }
}

impl Process {
    fn of(usage: &Usage) -> Process {
        let packets = usage.packets.max(1) as f64;
        let ticks = usage.spent.user + usage.spent.system;
        Process {
            cpu_ns_per_packet: usage.spent.cpu as f64 / packets,
            cores: usage.spent.cpu as f64 / 1e9 / usage.seconds.max(1e-9),
            kernel: (ticks >= TICKS).then(|| usage.spent.system as f64 / ticks as f64),
            resident_octets: usage.spent.resident,
            threads: usage.spent.threads,
            switches_per_packet: usage.spent.switches as f64 / packets,
        }
    }
}

fn allocations(round: &Round) -> Allocations {
    let cpu = |usage: &Usage| usage.spent.cpu as f64 / 1000.0 / usage.packets.max(1) as f64;
    Allocations {
        count: round.granted,
        per_second: round.granted as f64 / round.seconds.max(1e-9),
        p50_us: micro(round.latency.quantile(0.5)),
        p99_us: micro(round.latency.quantile(0.99)),
        cpu_us: round.process.as_ref().map(cpu),
        resident_octets: None,
    }
}

/// The histogram in bounds that grow by a quarter of a doubling, from the shortest to the longest.
fn bars(histogram: &Histogram, min: u64, max: u64) -> Vec<(f64, f64, u64)> {
    if histogram.total() == 0 {
        return Vec::new();
    }
    let step = |at: i32| (f64::from(at) / 4.0).exp2();
    let first = ((min.max(1) as f64).log2() * 4.0).floor() as i32;
    let last = ((max.max(1) as f64).log2() * 4.0).floor() as i32;
    let bar = |at: i32| {
        let (from, to) = (step(at), step(at + 1));
        (
            from / 1000.0,
            to / 1000.0,
            histogram.between(from.ceil() as u64, to.ceil() as u64),
        )
    };
    (first..=last).map(bar).collect()
}

/// How long packets were sent at the end of a run without one that came.
fn silence(run: &Run) -> f64 {
    let whole = (run.seconds / run.slice).floor() as usize;
    let slices = &run.counters.slices[..run.counters.slices.len().min(whole)];
    let quiet = slices.iter().rev().take_while(|slice| slice.received == 0);
    quiet.filter(|slice| slice.sent > 0).count() as f64 * run.slice
}

fn moments(run: &Run) -> Vec<Moment> {
    let whole = (run.seconds / run.slice).floor() as usize;
    let moment = |(at, slice): (usize, &crate::bench::payload::Slice)| Moment {
        at: at as f64 * run.slice,
        sent: slice.sent as f64 / run.slice,
        received: slice.received as f64 / run.slice,
        p50_us: micro(slice.latency.quantile(0.5)),
        p99_us: micro(slice.latency.quantile(0.99)),
    };
    run.counters
        .slices
        .iter()
        .enumerate()
        .take(whole)
        .map(moment)
        .collect()
}

fn used(run: &Run) -> Vec<Used> {
    let used = |sample: &crate::bench::pool::Sample| Used {
        at: sample.at,
        cores: sample.cores,
        resident_octets: sample.resident,
    };
    run.samples.iter().map(used).collect()
}

fn micro(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// Ticks of CPU time that tell user from kernel time well enough.
const TICKS: u64 = 20;
/// Seconds of silence at a run's end that are no chance.
const SILENCE: f64 = 1.0;
/// Unauthenticated answers a second that a server of ours gives one network by default; half a second's worth may come at once.
const ANSWERS: f64 = 2_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::BenchOptions;
    use crate::client::credentials::Credentials;
    use std::time::Duration;

    fn plan(workload: Workload, server: &str, rate: Option<Rate>) -> Plan {
        let options = BenchOptions {
            workload,
            server: server.into(),
            credentials: Credentials::None,
            flows: 10,
            size: None,
            burst: None,
            rate,
            duration: Duration::from_secs(10),
            direction: None,
            indications: false,
            pid: None,
            threads: None,
        };
        Plan::resolve(&options).unwrap()
    }

    #[test]
    fn answers_that_stop_at_the_default_answer_rate_are_noted() {
        use Workload::{Binding, Relay};
        let (max, default, fixed) = (Some(Rate::Max), None, Some(Rate::PerSecond(2000.0)));
        for (workload, server, rate, received, loss, expected) in [
            (Binding, "stun:192.0.2.1", max, 20_000, 0.0, true),
            (Binding, "stun:192.0.2.1", default, 20_900, 0.79, true),
            (Binding, "stun:192.0.2.1", fixed, 20_000, 0.0, false),
            (Binding, "stun:192.0.2.1", max, 400_000, 0.0, false),
            (Binding, "stun:192.0.2.1", max, 5_000, 0.0, false),
            (Binding, "stun:127.0.0.1", max, 20_000, 0.0, false),
            (
                Binding,
                "turn:192.0.2.1?transport=tcp",
                max,
                20_000,
                0.0,
                false,
            ),
            (Relay, "turn:192.0.2.1", max, 20_000, 0.0, false),
        ] {
            let plan = plan(workload, server, rate);
            let is_bound = is_answer_bound(&plan, received, 10.0, loss);
            assert_eq!(
                is_bound, expected,
                "{workload:?} {server} {rate:?} {received}"
            );
        }
    }
}
