//! Counters of usage records, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Usage records written, delivered and lost.
#[derive(Debug, Default)]
pub struct UsageCounters {
    written: AtomicU64,
    delivered: AtomicU64,
    webhook_failures: AtomicU64,
    lost: Arc<AtomicU64>,
}

impl UsageCounters {
    /// Creates counters; `lost` already counts the records that shards could not queue.
    pub fn new(lost: Arc<AtomicU64>) -> UsageCounters {
        UsageCounters {
            lost,
            ..UsageCounters::default()
        }
    }

    pub(super) fn count_written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_delivered(&self, records: u64) {
        self.delivered.fetch_add(records, Ordering::Relaxed);
    }

    pub(super) fn count_webhook_failure(&self) {
        self.webhook_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Metric name, help text and value of each counter.
    pub fn snapshot(&self) -> [(&'static str, &'static str, u64); 4] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (
                "hairpin_usage_records_written_total",
                "Usage records written to the file.",
                get(&self.written),
            ),
            (
                "hairpin_usage_records_delivered_total",
                "Usage records that the webhook accepted.",
                get(&self.delivered),
            ),
            (
                "hairpin_usage_webhook_failures_total",
                "Requests to the webhook that failed.",
                get(&self.webhook_failures),
            ),
            (
                "hairpin_usage_records_lost_total",
                "Usage records lost because the queue or the spool was full or a write failed.",
                get(&self.lost),
            ),
        ]
    }
}
