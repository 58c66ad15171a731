//! Metrics in Prometheus' text format, put together for one answer.

use crate::relay::observe::counters::Kind;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Counter, Gauge, IntCounterVec, IntGaugeVec, Opts, Registry, Result, TextEncoder};
use std::collections::HashMap;

/// Where metrics are gathered for one answer.
#[derive(Default)]
pub(super) struct Exposition {
    registry: Registry,
}

/// One row of a histogram: its label's value, how many fell below each bound and above the one before, how many above the
/// last, and the sum of all.
pub(super) struct Spread {
    pub(super) label: String,
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
}

impl Exposition {
    /// Whole numbers, one for each set of labels.
    pub(super) fn rows<const N: usize>(
        &self,
        kind: Kind,
        name: &str,
        help: &str,
        labels: [&str; N],
        rows: impl IntoIterator<Item = ([String; N], u64)>,
    ) -> Result<()> {
        let options = Opts::new(name, help);
        let rows = rows.into_iter();
        match kind {
            Kind::Total => {
                let counters = IntCounterVec::new(options, &labels)?;
                rows.for_each(|(values, count)| counters.with_label_values(&values).inc_by(count));
                self.register(counters)
            }
            Kind::Gauge => {
                let gauges = IntGaugeVec::new(options, &labels)?;
                rows.for_each(|(values, count)| {
                    gauges.with_label_values(&values).set(count as i64)
                });
                self.register(gauges)
            }
        }
    }

    /// One number, whole or not.
    pub(super) fn number(&self, kind: Kind, name: &str, help: &str, value: f64) -> Result<()> {
        match kind {
            Kind::Total => {
                let counter = Counter::new(name, help)?;
                counter.inc_by(value);
                self.register(counter)
            }
            Kind::Gauge => {
                let gauge = Gauge::new(name, help)?;
                gauge.set(value);
                self.register(gauge)
            }
        }
    }

    /// A histogram with one label, whose upper bounds are `bounds`.
    pub(super) fn histogram(
        &self,
        name: &str,
        help: &str,
        label: &str,
        bounds: &[f64],
        rows: impl IntoIterator<Item = Spread>,
    ) -> Result<()> {
        let desc = Desc::new(name.into(), help.into(), vec![label.into()], HashMap::new())?;
        let metrics = rows
            .into_iter()
            .map(|row| metric(label, bounds, row))
            .collect();
        self.register(Ready { desc, metrics })
    }

    /// Whatever knows by itself how it is told.
    pub(super) fn register(&self, metric: impl Collector + 'static) -> Result<()> {
        self.registry.register(Box::new(metric))
    }

    /// All of it.
    ///
    /// # Errors
    /// A name that Prometheus does not allow: a fault of the program.
    pub(super) fn text(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// A family that was counted elsewhere.
struct Ready {
    desc: Desc,
    metrics: Vec<Metric>,
}

impl Collector for Ready {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(self.metrics.clone());
        vec![family]
    }
}

fn metric(label: &str, bounds: &[f64], row: Spread) -> Metric {
    let mut below = 0;
    let buckets = bounds.iter().zip(&row.counts).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(row.counts.iter().sum());
    histogram.set_sample_sum(row.sum);
    let mut pair = LabelPair::default();
    pair.set_name(label.into());
    pair.set_value(row.label);
    let mut metric = Metric::from_label(vec![pair]);
    metric.set_histogram(histogram);
    metric
}
