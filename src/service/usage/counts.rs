//! How usage itself goes, for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines written, delivered and lost.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    delivered: AtomicU64,
    failures: AtomicU64,
    lost: Arc<AtomicU64>,
}

impl Counts {
    /// None yet; `lost` counts those too that never got here.
    pub fn new(lost: Arc<AtomicU64>) -> Counts {
        Counts {
            lost,
            ..Counts::default()
        }
    }

    /// A line went into the file.
    pub fn written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// The webhook took lines.
    pub fn delivered(&self, lines: u64) {
        self.delivered.fetch_add(lines, Ordering::Relaxed);
    }

    /// The webhook did not answer, or not with 2xx.
    pub fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// A line went nowhere.
    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// Name, explanation and value of each.
    pub fn each(&self) -> [(&'static str, &'static str, u64); 4] {
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
                get(&self.failures),
            ),
            (
                "hairpin_usage_records_lost_total",
                "Usage records lost because the queue or the spool was full or a write failed.",
                get(&self.lost),
            ),
        ]
    }
}
