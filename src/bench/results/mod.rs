//! The result of a run, in the units of reports.

pub mod file;
pub mod html;
mod plot;
pub mod text;

use crate::bench::error::Error;
use crate::bench::measure::counters::TimeSlice;
use crate::bench::measure::histogram::Histogram;
use crate::bench::measure::sampler::{UsageInterval, UsageSample};
use crate::bench::plan::{Direction, Plan, Workload};
use crate::bench::pool::{Round, Run};
use crate::bench::rate::Rate;
use crate::bench::search::{MAX_LOSS, Probe};
use crate::turn::Transport;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The result of a run. `--json` prints exactly this.
#[derive(Serialize)]
pub struct Outcome {
    /// `relay`, `allocate` or `binding`.
    pub workload: &'static str,
    /// The server's URI as the user wrote it.
    pub server: String,
    /// `udp`, `tcp`, `tls` or `dtls`.
    pub transport: &'static str,
    /// Clients.
    pub flows: usize,
    /// Octets of payload.
    pub size: usize,
    /// Packets that a flow sends back to back.
    pub burst: usize,
    /// `up`, `down`, `both` or `hairpin`; only for the relay workload.
    pub direction: Option<&'static str>,
    /// Send and Data indications instead of channels.
    pub indications: bool,
    /// Seconds measured.
    pub seconds: f64,
    /// Why the run ended before its time.
    pub ended_early: Option<String>,
    /// The allocations of the setup, or those measured.
    pub allocations: Option<Allocations>,
    /// The packets sent and received.
    pub packets: Option<Packets>,
    /// Time from sending to receiving, or from request to response.
    pub latency: Latency,
    /// The server's process.
    pub process: Option<ProcessReport>,
    /// The process of the load generator.
    pub loader: Option<ProcessReport>,
    /// Rates tried by `--rate max`.
    pub probes: Vec<ProbeReport>,
    /// The load generator was the limit, not the server.
    pub loader_bound: bool,
    /// The rate of answers was about the default `answer_rate` of hairpin, which may be the limit.
    pub answer_bound: bool,
    /// The run over time.
    pub timeline: Vec<TimelinePoint>,
    /// The server's process over time.
    pub usage: Vec<UsagePoint>,
}

/// Allocations created.
#[derive(Serialize)]
pub struct Allocations {
    /// Allocations created.
    pub count: usize,
    /// Allocations created per second.
    pub per_second: f64,
    /// Median time from the first request, over the challenge, to the success response.
    pub p50_us: f64,
    /// 99th percentile of that time.
    pub p99_us: f64,
    /// CPU time of the server for one allocation, in microseconds.
    pub cpu_us: Option<f64>,
    /// Growth of the server's resident memory for one allocation, in octets; only for the allocate
    /// workload.
    pub resident_octets: Option<f64>,
}

/// Packets sent and received.
#[derive(Serialize)]
pub struct Packets {
    /// Packets per second requested.
    pub offered_per_second: Option<f64>,
    /// Packets sent.
    pub sent: u64,
    /// Packets received, without duplicates.
    pub received: u64,
    /// Packets received per second.
    pub per_second: f64,
    /// Payload received, bits per second.
    pub bits_per_second: f64,
    /// Packets sent and not received.
    pub lost: u64,
    /// The lost share of the packets sent, 0 to 1.
    pub loss: f64,
    /// Packets received after a later one.
    pub reordered: u64,
    /// Packets received a second time.
    pub duplicates: u64,
    /// Packets received with other octets than were sent.
    pub corrupted: u64,
    /// Packets that were due but that the load generator could not send.
    pub unsent: u64,
    /// Seconds at the end of the run in which packets were sent and none was received.
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
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p99_9_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Bars whose bounds grow by a quarter of a doubling.
    pub histogram: Vec<Bar>,
}

/// One bar of a histogram. Serialized as an array in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "(f64, f64, u64)")]
pub struct Bar {
    /// Lower bound in microseconds.
    pub from_us: f64,
    /// Upper bound in microseconds.
    pub to_us: f64,
    /// Durations between the bounds.
    pub count: u64,
}

impl From<Bar> for (f64, f64, u64) {
    fn from(bar: Bar) -> (f64, f64, u64) {
        (bar.from_us, bar.to_us, bar.count)
    }
}

/// What a process used.
#[derive(Serialize)]
pub struct ProcessReport {
    /// Nanoseconds of CPU time for each packet relayed, or request answered.
    pub cpu_ns_per_packet: f64,
    /// Cores in use.
    pub cores: f64,
    /// The share of kernel time in CPU time, 0 to 1; absent if there were too few ticks.
    pub kernel: Option<f64>,
    /// Resident octets at the end.
    pub resident_octets: u64,
    /// Threads.
    pub threads: u64,
    /// Context switches for each packet.
    pub switches_per_packet: f64,
}

/// A rate that the search tried.
#[derive(Serialize)]
pub struct ProbeReport {
    /// Packets per second.
    pub rate: f64,
    /// The lost share, 0 to 1.
    pub loss: f64,
    /// The share that the load generator could not send, 0 to 1.
    pub unsent: f64,
}

/// One slice of the run's time.
#[derive(Serialize)]
pub struct TimelinePoint {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Packets sent per second.
    pub sent: f64,
    /// Packets received per second.
    pub received: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of latency in microseconds.
    pub p99_us: f64,
}

/// A sample of the server's process.
#[derive(Serialize)]
pub struct UsagePoint {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Cores in use.
    pub cores: f64,
    /// Resident octets.
    pub resident_octets: u64,
}

impl Outcome {
    /// The result of a run of packets.
    pub fn of_packets(
        plan: &Plan,
        setup: Option<&Round>,
        run: &Run,
        probes: &[Probe],
        loader_bound: bool,
    ) -> Outcome {
        let counters = &run.counters;
        let probe_report = |probe: &Probe| ProbeReport {
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
                silent_seconds: silence_at_end(run),
            }),
            ended_early: run.error.as_ref().map(Error::to_string),
            latency: Latency::of(&counters.latency),
            process: run.process.as_ref().map(ProcessReport::of),
            loader: run.loader.as_ref().map(ProcessReport::of),
            probes: probes.iter().map(probe_report).collect(),
            loader_bound,
            answer_bound: is_answer_bound(plan, counters.received, run.seconds, counters.loss()),
            timeline: timeline(run),
            usage: run.samples.iter().map(UsagePoint::of).collect(),
            ..Outcome::empty(plan)
        }
    }

    /// The result of rounds of allocations; `resident_each` is the server's resident memory for one
    /// allocation.
    pub fn of_allocations(plan: &Plan, rounds: &[Round], resident_each: Option<f64>) -> Outcome {
        let mut all = Round::default();
        let mut timeline = Vec::new();
        for round in rounds {
            timeline.push(TimelinePoint {
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
                all.process
                    .get_or_insert_with(UsageInterval::default)
                    .add(usage);
            }
        }
        Outcome {
            seconds: all.seconds,
            allocations: Some(Allocations {
                resident_octets: resident_each,
                ..allocations(&all)
            }),
            latency: Latency::of(&all.latency),
            process: all.process.as_ref().map(ProcessReport::of),
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

    /// Checks that the run is a success: it went to its end, and received what was sent.
    ///
    /// # Errors
    /// [`RunFailure`].
    pub fn check(&self) -> Result<(), RunFailure> {
        if let Some(cause) = &self.ended_early {
            return Err(RunFailure::EndedEarly {
                seconds: self.seconds,
                cause: cause.clone(),
            });
        }
        let Some(packets) = &self.packets else {
            return Ok(());
        };
        if packets.received == 0 {
            return Err(RunFailure::NothingReceived {
                sent: packets.sent,
                direction: self.direction,
            });
        }
        if packets.silent_seconds >= MAX_SECONDS_WITHOUT_PACKETS {
            return Err(RunFailure::NoTrafficAtEnd(packets.silent_seconds));
        }
        match packets.corrupted {
            0 => Ok(()),
            corrupted => Err(RunFailure::Corrupted(corrupted)),
        }
    }
}

/// Why a finished run is not a success.
#[derive(Clone, Debug, PartialEq)]
pub enum RunFailure {
    /// The run ended before its time.
    EndedEarly {
        /// Seconds measured.
        seconds: f64,
        /// Why it ended.
        cause: String,
    },
    /// No packet was received.
    NothingReceived {
        /// Packets sent.
        sent: u64,
        /// The direction of relayed packets; `None` for Binding requests.
        direction: Option<&'static str>,
    },
    /// Nothing was received in the last seconds of the run; their number.
    NoTrafficAtEnd(f64),
    /// The number of packets that arrived with other octets than were sent.
    Corrupted(u64),
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunFailure::EndedEarly { seconds, cause } => {
                write!(f, "ended after {seconds:.1} s: {cause}")
            }
            RunFailure::NothingReceived { sent, direction } => {
                let advice = match direction {
                    None => "the server answered once and then stopped",
                    Some(direction) if *direction == Direction::Hairpin.name() => {
                        "the server accepted the channels but forwards nothing between its own allocations"
                    }
                    Some(_) => {
                        "relay and this host must reach each other directly; try --direction hairpin, which does not need it"
                    }
                };
                write!(f, "none of {sent} packets was received: {advice}")
            }
            RunFailure::NoTrafficAtEnd(seconds) => write!(
                f,
                "nothing came in the last {seconds:.1} s: the server exited, or lost its allocations"
            ),
            RunFailure::Corrupted(packets) => {
                write!(
                    f,
                    "{packets} packets arrived with other octets than were sent"
                )
            }
        }
    }
}

impl std::error::Error for RunFailure {}

/// Returns true if a run was probably limited by the default `answer_rate` of hairpin and not by
/// what the server can do.
fn is_answer_bound(plan: &Plan, received: u64, seconds: f64, loss: f64) -> bool {
    let is_limited = plan.workload == Workload::Binding && plan.target.transport == Transport::Udp;
    let is_at_limit = plan.rate == Rate::Max || loss > MAX_LOSS;
    let expected = DEFAULT_ANSWER_RATE * seconds;
    let is_met =
        (expected * 0.9..expected * 1.05 + DEFAULT_ANSWER_RATE / 2.0).contains(&(received as f64));
    is_limited && !plan.target.address.ip().is_loopback() && is_at_limit && is_met
}

impl Latency {
    fn of(histogram: &Histogram) -> Latency {
        let quantile = |quantile| micro(histogram.quantile(quantile));
        Latency {
            min_us: micro(histogram.min()),
            mean_us: micro(histogram.mean()),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p99_9_us: quantile(0.999),
            max_us: micro(histogram.max()),
            histogram: bars(histogram),
        }
    }
}

impl ProcessReport {
    fn of(usage: &UsageInterval) -> ProcessReport {
        let packets = usage.packets.max(1) as f64;
        let total = usage.used.user + usage.used.system;
        ProcessReport {
            cpu_ns_per_packet: usage.used.cpu as f64 / packets,
            cores: usage.used.cpu as f64 / 1e9 / usage.seconds.max(1e-9),
            kernel: (total >= MIN_CPU_TIME).then(|| usage.used.system.div_duration_f64(total)),
            resident_octets: usage.used.resident,
            threads: usage.used.threads,
            switches_per_packet: usage.used.switches as f64 / packets,
        }
    }
}

fn allocations(round: &Round) -> Allocations {
    let cpu = |usage: &UsageInterval| usage.used.cpu as f64 / 1000.0 / usage.packets.max(1) as f64;
    Allocations {
        count: round.granted,
        per_second: round.granted as f64 / round.seconds.max(1e-9),
        p50_us: micro(round.latency.quantile(0.5)),
        p99_us: micro(round.latency.quantile(0.99)),
        cpu_us: round.process.as_ref().map(cpu),
        resident_octets: None,
    }
}

/// The bars of a histogram, from the shortest to the longest duration.
fn bars(histogram: &Histogram) -> Vec<Bar> {
    if histogram.total() == 0 {
        return Vec::new();
    }
    let bound = |step: i32| (f64::from(step) / 4.0).exp2();
    let step = |duration: u64| ((duration.max(1) as f64).log2() * 4.0).floor() as i32;
    let bar = |step: i32| {
        let (from, to) = (bound(step), bound(step + 1));
        Bar {
            from_us: from / 1000.0,
            to_us: to / 1000.0,
            count: histogram.between(from.ceil() as u64, to.ceil() as u64),
        }
    };
    (step(histogram.min())..=step(histogram.max()))
        .map(bar)
        .collect()
}

/// Seconds at the end of a run in which packets were sent and none was received.
fn silence_at_end(run: &Run) -> f64 {
    let complete = (run.seconds / run.slice).floor() as usize;
    let slices = &run.counters.slices[..run.counters.slices.len().min(complete)];
    let silent = slices.iter().rev().take_while(|slice| slice.received == 0);
    silent.filter(|slice| slice.sent > 0).count() as f64 * run.slice
}

fn timeline(run: &Run) -> Vec<TimelinePoint> {
    let complete = (run.seconds / run.slice).floor() as usize;
    let point = |(number, slice): (usize, &TimeSlice)| TimelinePoint {
        at: number as f64 * run.slice,
        sent: slice.sent as f64 / run.slice,
        received: slice.received as f64 / run.slice,
        p50_us: micro(slice.latency.quantile(0.5)),
        p99_us: micro(slice.latency.quantile(0.99)),
    };
    run.counters
        .slices
        .iter()
        .enumerate()
        .take(complete)
        .map(point)
        .collect()
}

impl UsagePoint {
    fn of(sample: &UsageSample) -> UsagePoint {
        UsagePoint {
            at: sample.at,
            cores: sample.cores,
            resident_octets: sample.resident,
        }
    }
}

fn micro(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1000.0
}

/// CPU time below which the share of kernel time is unknown: it is measured in steps of 10 ms.
const MIN_CPU_TIME: Duration = Duration::from_millis(200);
/// Seconds without a received packet at the end of a run after which the server counts as dead.
const MAX_SECONDS_WITHOUT_PACKETS: f64 = 1.0;
/// Unauthenticated responses per second that hairpin sends to one network by default. The burst is
/// half a second's worth.
const DEFAULT_ANSWER_RATE: f64 = 2_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::BenchOptions;
    use crate::client::credentials::Credentials;

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
