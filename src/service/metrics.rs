//! The page of `GET /metrics`: every counter once, in Prometheus' text format, by its naming rules.
//!
//! No metric is labeled by user or address, so the number of series is fixed by the code and does
//! not grow with clients. Values are read from the counters of the shards when the page is
//! requested.

use crate::net::host::process::{self, Process};
use crate::relay::Statistics;
use crate::relay::observe::counters::{Family, Kind};
use crate::relay::observe::request_duration;
use crate::service::certificates;
use crate::service::exposition::{
    Exposition, HistogramDescription, HistogramSample, labeled, plain,
};
use crate::turn::counters::Flow;
use crate::turn::{Counters, Discard, EndReason, Transport};
use crate::wire::{ErrorCode, Method};
use prometheus::{Histogram, Result};
use std::time::Duration;

/// Metrics that are not counted by shards.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    /// Time until a draining server ends its allocations; `None` unless it drains.
    pub drain_remaining: Option<Duration>,
    /// Counters: name, help text, value.
    pub counters: Vec<(&'static str, &'static str, u64)>,
    /// Durations of ended allocations.
    pub allocation_durations: Option<Histogram>,
}

/// Builds the page.
///
/// # Errors
/// A name that Prometheus does not allow, which is a fault of the program.
pub fn page(statistics: &Statistics, services: ServiceMetrics) -> Result<String> {
    let page = Page {
        statistics,
        out: Exposition::default(),
    };
    page.server(services.drain_remaining)?;
    for (name, help, value) in services.counters {
        page.total(name, help, value)?;
    }
    page.allocations()?;
    if let Some(durations) = services.allocation_durations {
        page.out.register(durations)?;
    }
    page.traffic()?;
    page.protocol()?;
    page.request_durations()?;
    page.shards()?;
    page.certificates()?;
    page.process()?;
    page.out.encode()
}

struct Page<'a> {
    statistics: &'a Statistics,
    out: Exposition,
}

impl Page<'_> {
    fn server(&self, drain_remaining: Option<Duration>) -> Result<()> {
        let build = labeled(
            "hairpin_build_info",
            "The running version; always 1.",
            ["version"],
        );
        self.out
            .gauge(build, [([env!("CARGO_PKG_VERSION").to_owned()], 1.0)])?;
        self.level(
            "hairpin_draining",
            "1 while the server drains and rejects new allocations, otherwise 0.",
            f64::from(drain_remaining.is_some()),
        )?;
        self.level(
            "hairpin_drain_remaining_seconds",
            "Time until a draining server ends its allocations; 0 unless it drains.",
            drain_remaining.unwrap_or_default().as_secs_f64(),
        )?;
        self.level(
            "hairpin_relay_ports",
            "Relayed ports on all relay addresses.",
            self.statistics.ports as f64,
        )?;
        self.level(
            "hairpin_relay_ports_used",
            "Relayed ports in use or reserved.",
            self.statistics.ports_taken as f64,
        )
    }

    fn certificates(&self) -> Result<()> {
        let Some(tls) = &self.statistics.tls else {
            return Ok(());
        };
        let expiry = labeled(
            "hairpin_certificate_expiry_timestamp_seconds",
            "Unix time at which a certificate expires, by its first name.",
            ["name"],
        );
        let samples = certificates::expiries(tls).into_iter();
        self.out.gauge(
            expiry,
            samples.map(|(name, expiry)| ([name], expiry.as_secs() as f64)),
        )?;
        self.total(
            "hairpin_certificate_reload_failures_total",
            "Reloads and orders of certificates that failed and left the old ones in place.",
            tls.failures(),
        )
    }

    fn allocations(&self) -> Result<()> {
        let allocations = labeled(
            "hairpin_allocations",
            "Current allocations, by transport of the client.",
            ["transport"],
        );
        let count = |transport: Transport| {
            self.sum(|c| {
                c.allocations
                    .get(transport.index())
                    .map_or(0, |count| count.get())
            })
        };
        self.out.gauge(
            allocations,
            Transport::ALL.map(|transport| ([transport.name().to_owned()], count(transport))),
        )?;
        self.out.counter(
            plain("hairpin_allocations_started_total", "Allocations started."),
            [([], self.sum(|c| c.started.get()))],
        )?;
        let ended = labeled(
            "hairpin_allocations_ended_total",
            "Allocations ended, by reason.",
            ["reason"],
        );
        let count = |end: &EndReason| self.sum(|c| c.ended.get(end.index()).map_or(0, |n| n.get()));
        self.out.counter(
            ended,
            EndReason::ALL
                .iter()
                .map(|end| ([end.name().to_owned()], count(end))),
        )
    }

    fn traffic(&self) -> Result<()> {
        let labels = ["direction", "transport"];
        let packets = labeled(
            "hairpin_relayed_packets_total",
            "Packets relayed, by direction and transport of the client.",
            labels,
        );
        self.out
            .counter(packets, self.flows(|flow| flow.packets.get()))?;
        let bytes = labeled(
            "hairpin_relayed_bytes_total",
            "Payload relayed, by direction and transport of the client.",
            labels,
        );
        self.out
            .counter(bytes, self.flows(|flow| flow.octets.get()))?;
        self.out.counter(
            plain(
                "hairpin_hairpinned_packets_total",
                "Packets relayed between two allocations of this server without a socket; also counted as relayed.",
            ),
            [([], self.sum(|c| c.hairpinned.packets.get()))],
        )?;
        self.out.counter(
            plain(
                "hairpin_hairpinned_bytes_total",
                "Payload relayed between two allocations of this server without a socket; also counted as relayed.",
            ),
            [([], self.sum(|c| c.hairpinned.octets.get()))],
        )
    }

    fn protocol(&self) -> Result<()> {
        let requests = labeled(
            "hairpin_requests_total",
            "Requests answered, by method and outcome: success or the error code.",
            ["method", "outcome"],
        );
        // The product of methods and error codes is large and mostly zero: an error code appears
        // with its first answer.
        let mut samples = Vec::new();
        for method in Method::ALL.iter().copied() {
            let outcomes = ErrorCode::ALL.iter().copied().map(Some);
            for outcome in std::iter::once(None).chain(outcomes) {
                let count =
                    self.sum(|c| c.responses(method, outcome).map_or(0, |count| count.get()));
                let name = outcome.map_or("success".to_owned(), |code| code.0.to_string());
                if outcome.is_none() || count > 0.0 {
                    samples.push(([method_name(method), name], count));
                }
            }
        }
        self.out.counter(requests, samples)?;
        let discards = labeled(
            "hairpin_discards_total",
            "Packets that the protocol dropped without an answer, by reason.",
            ["reason"],
        );
        let count = |discard: &Discard| {
            self.sum(|c| {
                c.discards
                    .get(discard.index())
                    .map_or(0, |count| count.get())
            })
        };
        self.out.counter(
            discards,
            Discard::ALL
                .iter()
                .map(|discard| ([discard.name().to_owned()], count(discard))),
        )
    }

    /// Histograms of request durations, each over all shards.
    fn request_durations(&self) -> Result<()> {
        let bounds = request_duration::BUCKETS.map(|bound| bound.as_secs_f64());
        let sample = |method: &Method| {
            let mut counts = vec![0; bounds.len() + 1];
            let mut nanoseconds = 0;
            for shard in &self.statistics.shards {
                let Some(row) = shard.relay.request_durations.of(*method) else {
                    continue;
                };
                counts
                    .iter_mut()
                    .zip(row.counts())
                    .for_each(|(sum, count)| *sum += count);
                nanoseconds += row.nanoseconds();
            }
            let shown = *method == Method::BINDING || counts.iter().any(|count| *count > 0);
            shown.then(|| HistogramSample {
                label: method_name(*method),
                counts,
                sum: nanoseconds as f64 / 1e9,
            })
        };
        self.out.histogram(
            HistogramDescription {
                name: "hairpin_request_duration_seconds",
                help: "Time from receiving a request to queueing its answer, by method.",
                label: "method",
                bounds: &bounds,
            },
            Method::ALL.iter().filter_map(sample),
        )
    }

    /// The counters of each shard, from the table in [`crate::relay::observe::counters`].
    fn shards(&self) -> Result<()> {
        let shards: Vec<Vec<Family>> = self
            .statistics
            .shards
            .iter()
            .map(|shard| shard.relay.families())
            .collect();
        let families = shards.first().map_or(0, Vec::len);
        for index in 0..families {
            let rows = shards
                .iter()
                .enumerate()
                .filter_map(|(shard, families)| Some((shard.to_string(), families.get(index)?)));
            self.shard_family(&rows.collect::<Vec<_>>())?;
        }
        Ok(())
    }

    fn shard_family(&self, rows: &[(String, &Family)]) -> Result<()> {
        let Some((_, family)) = rows.first() else {
            return Ok(());
        };
        let (suffix, scale) = match family.kind {
            Kind::Counter => ("_total", 1.0),
            Kind::Seconds => ("_seconds_total", 1e-9),
            Kind::Gauge => ("", 1.0),
        };
        let name = format!("hairpin_shard_{}{suffix}", family.name);
        let help = format!("{}.", family.help);
        let samples = rows.iter().flat_map(|(shard, family)| {
            family
                .samples
                .iter()
                .map(move |(label, value)| (shard, label, *value as f64 * scale))
        });
        match (family.kind, family.label) {
            (Kind::Gauge, None) => self.out.gauge(
                labeled(&name, &help, ["shard"]),
                samples.map(|(shard, _, value)| ([shard.clone()], value)),
            ),
            (Kind::Gauge, Some(label)) => self.out.gauge(
                labeled(&name, &help, ["shard", label]),
                samples.map(|(shard, label, value)| ([shard.clone(), (*label).into()], value)),
            ),
            (Kind::Counter | Kind::Seconds, None) => self.out.counter(
                labeled(&name, &help, ["shard"]),
                samples.map(|(shard, _, value)| ([shard.clone()], value)),
            ),
            (Kind::Counter | Kind::Seconds, Some(label)) => self.out.counter(
                labeled(&name, &help, ["shard", label]),
                samples.map(|(shard, label, value)| ([shard.clone(), (*label).into()], value)),
            ),
        }
    }

    /// The metrics that Prometheus' client libraries export for every process.
    fn process(&self) -> Result<()> {
        let process = Process::current();
        if let (Ok(times), Ok(boot)) = (process.times(), process::boot_time()) {
            self.out.counter(
                plain(
                    "process_cpu_seconds_total",
                    "CPU time of the process, user and system.",
                ),
                [([], (times.user + times.system).as_secs_f64())],
            )?;
            self.level(
                "process_start_time_seconds",
                "Unix time at which the process started.",
                (boot + times.start).as_secs_f64(),
            )?;
        }
        if let Ok(memory) = process.memory() {
            let help = "Resident memory of the process.";
            self.level(
                "process_resident_memory_bytes",
                help,
                memory.resident as f64,
            )?;
            let help = "Virtual memory of the process.";
            self.level("process_virtual_memory_bytes", help, memory.mapped as f64)?;
        }
        if let Ok(threads) = process.thread_totals() {
            self.level(
                "process_threads",
                "Threads of the process.",
                threads.threads as f64,
            )?;
        }
        if let (Ok(open), Ok(max)) = (process.open_fds(), process.max_fds()) {
            self.level("process_open_fds", "Open file descriptors.", open as f64)?;
            self.level(
                "process_max_fds",
                "Limit of open file descriptors.",
                max as f64,
            )?;
        }
        Ok(())
    }

    fn total(&self, name: &str, help: &str, value: u64) -> Result<()> {
        self.out.counter(plain(name, help), [([], value as f64)])
    }

    fn level(&self, name: &str, help: &str, value: f64) -> Result<()> {
        self.out.gauge(plain(name, help), [([], value)])
    }

    /// The sum of a counter over all shards.
    fn sum(&self, read: impl Fn(&Counters) -> u64) -> f64 {
        let shards = self.statistics.shards.iter();
        shards
            .map(|shard| read(&shard.turn))
            .fold(0, u64::wrapping_add) as f64
    }

    /// A counter of both directions for every transport.
    fn flows(&self, read: impl Fn(&Flow) -> u64) -> Vec<([String; 2], f64)> {
        let mut samples = Vec::new();
        for transport in Transport::ALL {
            let name = transport.name();
            let to_peer = self.sum(|c| read(Counters::flow(&c.to_peers, transport)));
            let to_client = self.sum(|c| read(Counters::flow(&c.to_clients, transport)));
            samples.push((["to_peer".into(), name.into()], to_peer));
            samples.push((["to_client".into(), name.into()], to_client));
        }
        samples
    }
}

fn method_name(method: Method) -> String {
    method.name().unwrap_or("other").to_owned()
}
