//! `/metrics`: everything that is counted, in Prometheus' text format, each thing once and with its explanation.
//!
//! Nothing is labelled by user or address: the number of series is fixed by the code, whatever clients do. Values are
//! read from the shards' counters when somebody asks; nothing is kept here.

use crate::relay::Statistics;
use crate::relay::observe::counters::Kind;
use crate::relay::observe::counters::Kind::{Gauge, Total};
use crate::relay::observe::request_duration;
use crate::service::certificates;
use crate::service::exposition::{Exposition, Spread};
use crate::service::process;
use crate::turn::counters::Flow;
use crate::turn::{Counters, Discard, End, Transport};
use crate::wire::{ErrorCode, Method};
use prometheus::{CounterVec, GaugeVec, Histogram, Opts, Result};
use std::time::Duration;

/// What the page tells beside what shards count.
#[derive(Debug, Default)]
pub struct Beside {
    /// How much longer allocations may live, once the server leaves; `None` while it stays.
    pub drain_left: Option<Duration>,
    /// Counters of the services: name, explanation, value.
    pub counters: Vec<(&'static str, &'static str, u64)>,
    /// How long allocations lived.
    pub lifetimes: Option<Histogram>,
}

/// The page, from what all shards have counted.
///
/// # Errors
/// A name that Prometheus does not allow: a fault of the program.
pub fn page(statistics: &Statistics, beside: Beside) -> Result<String> {
    let page = Page {
        out: Exposition::default(),
    };
    page.server(statistics, beside.drain_left)?;
    for (name, help, count) in beside.counters {
        page.out.rows(Total, name, help, [], [([], count)])?;
    }
    page.allocations(statistics)?;
    if let Some(lifetimes) = beside.lifetimes {
        page.out.register(lifetimes)?;
    }
    page.traffic(statistics)?;
    page.protocol(statistics)?;
    page.times(statistics)?;
    page.shards(statistics)?;
    page.certificates(statistics)?;
    page.process()?;
    page.out.text()
}

struct Page {
    out: Exposition,
}

impl Page {
    fn server(&self, statistics: &Statistics, drain_left: Option<Duration>) -> Result<()> {
        let build = GaugeVec::new(
            Opts::new("hairpin_build_info", "The version that runs; always 1."),
            &["version"],
        )?;
        build
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1.0);
        self.out.register(build)?;
        self.out.number(
            Gauge,
            "hairpin_uptime_seconds",
            "Time since the relay started.",
            statistics.uptime.as_secs_f64(),
        )?;
        self.out.number(
            Gauge,
            "hairpin_draining",
            "1 while the server leaves and takes no new allocations.",
            f64::from(drain_left.is_some()),
        )?;
        let left = drain_left.unwrap_or_default().as_secs_f64();
        self.out.number(
            Gauge,
            "hairpin_drain_seconds_left",
            "How much longer allocations may live while it leaves.",
            left,
        )?;
        self.out.number(
            Gauge,
            "hairpin_relay_ports",
            "Relayed ports there are, on all relay addresses.",
            statistics.ports as f64,
        )?;
        self.out.number(
            Gauge,
            "hairpin_relay_ports_taken",
            "Relayed ports in use or reserved.",
            statistics.ports_taken as f64,
        )
    }

    fn certificates(&self, statistics: &Statistics) -> Result<()> {
        let Some(tls) = &statistics.tls else {
            return Ok(());
        };
        let help = "Time until a certificate expires, by its first name; negative once it has.";
        let rows = certificates::left(tls)
            .into_iter()
            .map(|(name, seconds)| ([name], seconds as u64));
        self.out.rows(
            Gauge,
            "hairpin_certificate_expiry_seconds",
            help,
            ["name"],
            rows,
        )?;
        let help = "Times that new certificates could not be used and the old ones stayed.";
        self.out.rows(
            Total,
            "hairpin_certificate_reload_failures_total",
            help,
            [],
            [([], tls.failures())],
        )
    }

    fn allocations(&self, statistics: &Statistics) -> Result<()> {
        let alive = by_transport(|transport| {
            sum(statistics, |c| {
                c.allocations
                    .get(transport.index())
                    .map_or(0, |count| count.get())
            })
        });
        self.out.rows(
            Gauge,
            "hairpin_allocations",
            "Allocations alive, by the client's transport.",
            ["transport"],
            alive,
        )?;
        let started = sum(statistics, |c| c.started.get());
        self.out.rows(
            Total,
            "hairpin_allocations_started_total",
            "Allocations begun.",
            [],
            [([], started)],
        )?;
        let ended = End::ALL.iter().map(|end| {
            let count = sum(statistics, |c| {
                c.ended.get(end.index()).map_or(0, |count| count.get())
            });
            ([end.name().to_owned()], count)
        });
        self.out.rows(
            Total,
            "hairpin_allocations_ended_total",
            "Allocations ended, by reason.",
            ["reason"],
            ended,
        )
    }

    fn traffic(&self, statistics: &Statistics) -> Result<()> {
        let labels = ["direction", "transport"];
        let (packets, octets) = (
            flows(statistics, |flow| flow.packets.get()),
            flows(statistics, |f| f.octets.get()),
        );
        let help = "Packets relayed, by direction and the client's transport.";
        self.out.rows(
            Total,
            "hairpin_relayed_packets_total",
            help,
            labels,
            packets,
        )?;
        let help = "Payload relayed, by direction and the client's transport.";
        self.out
            .rows(Total, "hairpin_relayed_bytes_total", help, labels, octets)?;
        let packets = sum(statistics, |c| c.hairpinned.packets.get());
        let help = "Packets whose both ends are allocations here and which took the short way; also counted as relayed.";
        self.out.rows(
            Total,
            "hairpin_hairpinned_packets_total",
            help,
            [],
            [([], packets)],
        )?;
        let octets = sum(statistics, |c| c.hairpinned.octets.get());
        let help = "Payload whose both ends are allocations here and which took the short way; also counted as relayed.";
        self.out.rows(
            Total,
            "hairpin_hairpinned_bytes_total",
            help,
            [],
            [([], octets)],
        )
    }

    fn protocol(&self, statistics: &Statistics) -> Result<()> {
        let outcomes = || std::iter::once(None).chain(ErrorCode::ALL.iter().copied().map(Some));
        let answered = |method: Method, outcome| {
            sum(statistics, |c| {
                c.answers(method, outcome).map_or(0, |count| count.get())
            })
        };
        let rows = Method::ALL
            .iter()
            .flat_map(|&method| outcomes().map(move |outcome| (method, outcome)));
        let rows = rows.filter_map(|(method, outcome)| {
            let count = answered(method, outcome);
            let name = outcome.map_or_else(
                || "success".to_owned(),
                |code: ErrorCode| code.0.to_string(),
            );
            (outcome.is_none() || count > 0)
                .then(|| ([method.name().unwrap_or("other").to_owned(), name], count))
        });
        let help = "Requests answered, by method and outcome: success, or the error code.";
        self.out.rows(
            Total,
            "hairpin_requests_total",
            help,
            ["method", "outcome"],
            rows,
        )?;
        let silent = Discard::ALL.iter().map(|discard| {
            let count = sum(statistics, |c| {
                c.discards
                    .get(discard.index())
                    .map_or(0, |count| count.get())
            });
            ([discard.name().to_owned()], count)
        });
        self.out.rows(
            Total,
            "hairpin_discards_total",
            "Packets dropped without an answer, by reason.",
            ["reason"],
            silent,
        )
    }

    /// How long requests took, all shards together.
    fn times(&self, statistics: &Statistics) -> Result<()> {
        let bounds = request_duration::BOUNDS.map(|bound| bound.as_secs_f64());
        let spread = |method: &Method| {
            let rows = || {
                statistics
                    .shards
                    .iter()
                    .filter_map(|shard| shard.relay.times.of(*method))
            };
            let mut counts = vec![0; bounds.len() + 1];
            rows().for_each(|row| {
                counts
                    .iter_mut()
                    .zip(row.counts())
                    .for_each(|(all, more)| *all += more)
            });
            let sum = rows().map(request_duration::Row::nanoseconds).sum::<u64>() as f64 / 1e9;
            (*method == Method::BINDING || counts.iter().any(|count| *count > 0)).then(|| Spread {
                label: method.name().unwrap_or("other").to_owned(),
                counts,
                sum,
            })
        };
        let help =
            "How long requests took from when the shard took them up to the answer, by method.";
        self.out.histogram(
            "hairpin_request_seconds",
            help,
            "method",
            &bounds,
            Method::ALL.iter().filter_map(spread),
        )
    }

    /// Each shard's own counters, whose table is in [`crate::relay::observe::counters`].
    fn shards(&self, statistics: &Statistics) -> Result<()> {
        let Some(first) = statistics.shards.first() else {
            return Ok(());
        };
        for (index, (name, kind, help, _)) in first.relay.each().enumerate() {
            let rows = statistics
                .shards
                .iter()
                .enumerate()
                .filter_map(|(shard, counted)| {
                    counted
                        .relay
                        .each()
                        .nth(index)
                        .map(|(_, _, _, value)| ([shard.to_string()], value))
                });
            if let Some(stem) = name.strip_suffix("_nanoseconds") {
                let help = help.replace("nanoseconds", "seconds");
                let seconds = CounterVec::new(
                    Opts::new(format!("hairpin_shard_{stem}_seconds_total"), help),
                    &["shard"],
                )?;
                rows.for_each(|([shard], value)| {
                    seconds
                        .with_label_values(&[shard])
                        .inc_by(value as f64 / 1e9)
                });
                self.out.register(seconds)?;
                continue;
            }
            let suffix = if kind == Kind::Total { "_total" } else { "" };
            self.out.rows(
                kind,
                &format!("hairpin_shard_{name}{suffix}"),
                help,
                ["shard"],
                rows,
            )?;
        }
        Ok(())
    }

    /// What every program that Prometheus knows says of its process.
    fn process(&self) -> Result<()> {
        let Some(own) = process::own() else {
            return Ok(());
        };
        self.out.number(
            Total,
            "process_cpu_seconds_total",
            "CPU time spent, user and system.",
            own.cpu_seconds,
        )?;
        self.out.number(
            Gauge,
            "process_resident_memory_bytes",
            "Memory in use.",
            own.resident_bytes as f64,
        )?;
        self.out.number(
            Gauge,
            "process_open_fds",
            "File descriptors open.",
            own.open_files as f64,
        )?;
        self.out.number(
            Gauge,
            "process_max_fds",
            "File descriptors that may be open.",
            own.most_files as f64,
        )?;
        self.out
            .number(Gauge, "process_threads", "Threads.", own.threads as f64)
    }
}

fn sum(statistics: &Statistics, read: impl Fn(&Counters) -> u64) -> u64 {
    statistics
        .shards
        .iter()
        .map(|shard| read(&shard.turn))
        .fold(0, u64::wrapping_add)
}

fn by_transport(read: impl Fn(Transport) -> u64) -> impl Iterator<Item = ([String; 1], u64)> {
    Transport::ALL
        .into_iter()
        .map(move |transport| ([transport.name().to_owned()], read(transport)))
}

fn flows(statistics: &Statistics, read: impl Fn(&Flow) -> u64) -> Vec<([String; 2], u64)> {
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        let up = sum(statistics, |c| read(Counters::flow(&c.to_peers, transport)));
        let down = sum(statistics, |c| {
            read(Counters::flow(&c.to_clients, transport))
        });
        rows.push((["to_peer".to_owned(), transport.name().to_owned()], up));
        rows.push((["to_client".to_owned(), transport.name().to_owned()], down));
    }
    rows
}
