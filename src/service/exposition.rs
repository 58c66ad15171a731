//! Prometheus' text format: builds one response from numbers that other modules counted.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{CounterVec, GaugeVec, Opts, Registry, Result, TextEncoder};
use std::collections::HashMap;

/// The metrics of one response.
#[derive(Default)]
pub(super) struct Exposition {
    registry: Registry,
}

/// A counter or gauge without its samples. The name of a counter ends in `_total`.
#[derive(Clone, Copy)]
pub(super) struct Description<'a, const N: usize = 0> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) labels: [&'a str; N],
}

/// A histogram without its samples.
pub(super) struct HistogramDescription<'a> {
    pub(super) name: &'a str,
    pub(super) help: &'a str,
    pub(super) label: &'a str,
    /// Upper bounds of the buckets.
    pub(super) bounds: &'a [f64],
}

/// One row of a histogram.
pub(super) struct HistogramSample {
    pub(super) label: String,
    /// Observations in each bucket, not cumulative; the last bucket has no upper bound.
    pub(super) counts: Vec<u64>,
    pub(super) sum: f64,
}

/// A counter or gauge without labels.
pub(super) fn plain<'a>(name: &'a str, help: &'a str) -> Description<'a> {
    Description {
        name,
        help,
        labels: [],
    }
}

/// A counter or gauge with labels.
pub(super) fn labeled<'a, const N: usize>(
    name: &'a str,
    help: &'a str,
    labels: [&'a str; N],
) -> Description<'a, N> {
    Description { name, help, labels }
}

impl Exposition {
    /// Adds a counter with one sample for each set of label values.
    pub(super) fn counter<const N: usize>(
        &self,
        description: Description<'_, N>,
        samples: impl IntoIterator<Item = ([String; N], f64)>,
    ) -> Result<()> {
        let Description { name, help, labels } = description;
        let counters = CounterVec::new(Opts::new(name, help), &labels)?;
        for (values, value) in samples {
            counters.with_label_values(&values).inc_by(value);
        }
        self.register(counters)
    }

    /// Adds a gauge with one sample for each set of label values.
    pub(super) fn gauge<const N: usize>(
        &self,
        description: Description<'_, N>,
        samples: impl IntoIterator<Item = ([String; N], f64)>,
    ) -> Result<()> {
        let Description { name, help, labels } = description;
        let gauges = GaugeVec::new(Opts::new(name, help), &labels)?;
        for (values, value) in samples {
            gauges.with_label_values(&values).set(value);
        }
        self.register(gauges)
    }

    /// Adds a histogram.
    pub(super) fn histogram(
        &self,
        description: HistogramDescription<'_>,
        samples: impl IntoIterator<Item = HistogramSample>,
    ) -> Result<()> {
        let HistogramDescription {
            name,
            help,
            label,
            bounds,
        } = description;
        let desc = Desc::new(name.into(), help.into(), vec![label.into()], HashMap::new())?;
        let metrics = samples
            .into_iter()
            .map(|sample| to_metric(label, bounds, sample))
            .collect();
        self.register(FixedHistogram { desc, metrics })
    }

    /// Adds a metric that collects itself.
    pub(super) fn register(&self, metric: impl Collector + 'static) -> Result<()> {
        self.registry.register(Box::new(metric))
    }

    /// Encodes all metrics.
    pub(super) fn encode(&self) -> Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// A histogram whose samples were counted elsewhere.
struct FixedHistogram {
    desc: Desc,
    metrics: Vec<Metric>,
}

impl Collector for FixedHistogram {
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

fn to_metric(label: &str, bounds: &[f64], sample: HistogramSample) -> Metric {
    let mut cumulative = 0;
    let buckets = bounds.iter().zip(&sample.counts).map(|(bound, count)| {
        cumulative += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(sample.counts.iter().sum());
    histogram.set_sample_sum(sample.sum);
    let mut pair = LabelPair::default();
    pair.set_name(label.into());
    pair.set_value(sample.label);
    let mut metric = Metric::from_label(vec![pair]);
    metric.set_histogram(histogram);
    metric
}
