//! `/metrics`: everything that is counted, in Prometheus' text format, each thing once and with its explanation.
//!
//! Nothing is labelled by user or address: the number of series is fixed by the code, whatever clients do. Values are
//! read from the shards' counters when somebody asks; nothing is kept here.

use crate::relay::Statistics;
use crate::relay::journal::Lifetimes;
use crate::relay::stats::Kind;
use crate::service::certificates;
use crate::service::process;
use crate::service::usage;
use crate::turn::counters::Flow;
use crate::turn::{Counters, Discard, End, Transport};
use crate::wire::{ErrorCode, Method};
use prometheus::core::Collector;
use prometheus::{CounterVec, Gauge, GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// The page, from what all shards have counted.
///
/// # Errors
/// A name that Prometheus does not allow: a fault of the program.
pub fn page(
    statistics: &Statistics,
    draining: bool,
    usage: &usage::Counts,
    lifetimes: &Lifetimes,
) -> prometheus::Result<String> {
    let page = Page { registry: Registry::new() };
    page.server(statistics, draining)?;
    for (name, help, count) in usage.each() {
        page.counter(name, help, [], [([], count)])?;
    }
    page.allocations(statistics)?;
    if let Some(histogram) = lifetimes.histogram() {
        page.register(histogram)?;
    }
    page.traffic(statistics)?;
    page.protocol(statistics)?;
    page.shards(statistics)?;
    page.certificates(statistics)?;
    page.process()?;
    TextEncoder::new().encode_to_string(&page.registry.gather())
}

/// Where metrics are gathered for one answer.
struct Page {
    registry: Registry,
}

impl Page {
    /// A counter, one row for each set of labels.
    fn counter<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], u64)>,
    ) -> prometheus::Result<()> {
        let counter = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (values, count) in rows {
            let values = values.each_ref().map(String::as_str);
            counter.with_label_values(&values).inc_by(count);
        }
        self.register(counter)
    }

    /// A gauge, one row for each set of labels.
    fn gauge<const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], u64)>,
    ) -> prometheus::Result<()> {
        let gauge = IntGaugeVec::new(Opts::new(name, help), &labels)?;
        for (values, count) in rows {
            let values = values.each_ref().map(String::as_str);
            gauge.with_label_values(&values).set(count as i64);
        }
        self.register(gauge)
    }

    /// One number that goes up and down.
    fn value(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let gauge = Gauge::new(name, help)?;
        gauge.set(value);
        self.register(gauge)
    }

    /// One number that only grows.
    fn total(&self, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
        let counter = prometheus::Counter::new(name, help)?;
        counter.inc_by(value);
        self.register(counter)
    }

    fn register(&self, metric: impl Collector + 'static) -> prometheus::Result<()> {
        self.registry.register(Box::new(metric))
    }

    fn server(&self, statistics: &Statistics, draining: bool) -> prometheus::Result<()> {
        let build = GaugeVec::new(Opts::new("hairpin_build_info", "The version that runs; always 1."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        self.register(build)?;
        self.value("hairpin_uptime_seconds", "Time since the relay started.", statistics.uptime.as_secs_f64())?;
        self.value("hairpin_draining", "1 while the server leaves and takes no new allocations.", f64::from(draining))?;
        self.value("hairpin_relay_ports", "Relayed ports there are, on all relay addresses.", statistics.ports as f64)?;
        self.value("hairpin_relay_ports_taken", "Relayed ports in use or reserved.", statistics.ports_taken as f64)
    }

    fn certificates(&self, statistics: &Statistics) -> prometheus::Result<()> {
        let Some(tls) = &statistics.tls else { return Ok(()) };
        let help = "Time until a certificate expires, by its first name; negative once it has.";
        let rows = certificates::left(tls).into_iter().map(|(name, seconds)| ([name], seconds as u64));
        self.gauge("hairpin_certificate_expiry_seconds", help, ["name"], rows)?;
        let help = "Times that new certificates could not be used and the old ones stayed.";
        self.counter("hairpin_certificate_reload_failures_total", help, [], [([], tls.failures())])
    }

    fn allocations(&self, statistics: &Statistics) -> prometheus::Result<()> {
        let alive = by_transport(|transport| {
            sum(statistics, |c| c.allocations.get(transport.index()).map_or(0, |count| count.get()))
        });
        self.gauge("hairpin_allocations", "Allocations alive, by the client's transport.", ["transport"], alive)?;
        let started = sum(statistics, |c| c.started.get());
        self.counter("hairpin_allocations_started_total", "Allocations begun.", [], [([], started)])?;
        let ended = End::ALL.iter().map(|end| {
            let count = sum(statistics, |c| c.ended.get(end.index()).map_or(0, |count| count.get()));
            ([end.name().to_owned()], count)
        });
        self.counter("hairpin_allocations_ended_total", "Allocations ended, by reason.", ["reason"], ended)
    }

    fn traffic(&self, statistics: &Statistics) -> prometheus::Result<()> {
        let labels = ["direction", "transport"];
        let (packets, octets) = (flows(statistics, |flow| flow.packets.get()), flows(statistics, |f| f.octets.get()));
        let help = "Packets relayed, by direction and the client's transport.";
        self.counter("hairpin_relayed_packets_total", help, labels, packets)?;
        let help = "Payload relayed, by direction and the client's transport.";
        self.counter("hairpin_relayed_bytes_total", help, labels, octets)?;
        let packets = sum(statistics, |c| c.hairpinned.packets.get());
        let help =
            "Packets whose both ends are allocations here and which took the short way; also counted as relayed.";
        self.counter("hairpin_hairpinned_packets_total", help, [], [([], packets)])?;
        let octets = sum(statistics, |c| c.hairpinned.octets.get());
        let help =
            "Payload whose both ends are allocations here and which took the short way; also counted as relayed.";
        self.counter("hairpin_hairpinned_bytes_total", help, [], [([], octets)])
    }

    fn protocol(&self, statistics: &Statistics) -> prometheus::Result<()> {
        let outcomes = || std::iter::once(None).chain(ErrorCode::ALL.iter().copied().map(Some));
        let answered =
            |method: Method, outcome| sum(statistics, |c| c.answers(method, outcome).map_or(0, |count| count.get()));
        let rows = Method::ALL.iter().flat_map(|&method| outcomes().map(move |outcome| (method, outcome)));
        let rows = rows.filter_map(|(method, outcome)| {
            let count = answered(method, outcome);
            let name = outcome.map_or_else(|| "success".to_owned(), |code: ErrorCode| code.0.to_string());
            (outcome.is_none() || count > 0).then(|| ([method.name().unwrap_or("other").to_owned(), name], count))
        });
        let help = "Requests answered, by method and outcome: success, or the error code.";
        self.counter("hairpin_requests_total", help, ["method", "outcome"], rows)?;
        let silent = Discard::ALL.iter().map(|discard| {
            let count = sum(statistics, |c| c.discards.get(discard.index()).map_or(0, |count| count.get()));
            ([discard.name().to_owned()], count)
        });
        self.counter("hairpin_discards_total", "Packets dropped without an answer, by reason.", ["reason"], silent)
    }

    /// Each shard's own counters, whose table is in [`crate::relay::stats`].
    fn shards(&self, statistics: &Statistics) -> prometheus::Result<()> {
        let Some(first) = statistics.shards.first() else { return Ok(()) };
        for (index, (name, kind, help, _)) in first.relay.each().enumerate() {
            let rows = statistics.shards.iter().enumerate().filter_map(|(shard, counted)| {
                counted.relay.each().nth(index).map(|(_, _, _, value)| ([shard.to_string()], value))
            });
            if let Some(stem) = name.strip_suffix("_nanoseconds") {
                let help = help.replace("nanoseconds", "seconds");
                let seconds =
                    CounterVec::new(Opts::new(format!("hairpin_shard_{stem}_seconds_total"), help), &["shard"])?;
                rows.for_each(|([shard], value)| seconds.with_label_values(&[shard]).inc_by(value as f64 / 1e9));
                self.register(seconds)?;
                continue;
            }
            match kind {
                Kind::Total => self.counter(&format!("hairpin_shard_{name}_total"), help, ["shard"], rows)?,
                Kind::Gauge => self.gauge(&format!("hairpin_shard_{name}"), help, ["shard"], rows)?,
            }
        }
        Ok(())
    }

    /// What every program that Prometheus knows says of its process.
    fn process(&self) -> prometheus::Result<()> {
        let Some(own) = process::own() else { return Ok(()) };
        self.total("process_cpu_seconds_total", "CPU time spent, user and system.", own.cpu_seconds)?;
        self.value("process_resident_memory_bytes", "Memory in use.", own.resident_bytes as f64)?;
        self.value("process_open_fds", "File descriptors open.", own.open_files as f64)?;
        self.value("process_max_fds", "File descriptors that may be open.", own.most_files as f64)?;
        self.value("process_threads", "Threads.", own.threads as f64)
    }
}

fn sum(statistics: &Statistics, read: impl Fn(&Counters) -> u64) -> u64 {
    statistics.shards.iter().map(|shard| read(&shard.turn)).fold(0, u64::wrapping_add)
}

fn by_transport(read: impl Fn(Transport) -> u64) -> impl Iterator<Item = ([String; 1], u64)> {
    Transport::ALL.into_iter().map(move |transport| ([transport.name().to_owned()], read(transport)))
}

fn flows(statistics: &Statistics, read: impl Fn(&Flow) -> u64) -> Vec<([String; 2], u64)> {
    let mut rows = Vec::new();
    for transport in Transport::ALL {
        let up = sum(statistics, |c| read(Counters::flow(&c.to_peers, transport)));
        let down = sum(statistics, |c| read(Counters::flow(&c.to_clients, transport)));
        rows.push((["to_peer".to_owned(), transport.name().to_owned()], up));
        rows.push((["to_client".to_owned(), transport.name().to_owned()], down));
    }
    rows
}
