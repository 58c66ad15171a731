//! How long requests took, by method: histograms that one shard writes and anybody reads. What is only relayed is not timed.

use crate::turn::counters::Counter;
use crate::wire::Method;
use std::time::Duration;

/// One histogram for each method.
#[derive(Debug, Default)]
pub struct RequestDurations {
    rows: [DurationHistogram; Method::ALL.len()],
}

/// The times of one method.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    counts: [Counter; BUCKETS.len() + 1],
    nanoseconds: Counter,
}

impl RequestDurations {
    /// Notes a request of the method that took so long.
    pub(crate) fn observe(&self, method: Method, took: Duration) {
        let Some(row) = self.of(method) else { return };
        let at = BUCKETS.partition_point(|bound| *bound < took);
        if let Some(count) = row.counts.get(at) {
            count.add(1);
        }
        row.nanoseconds.add(took.as_nanos() as u64);
    }

    /// The times of a method.
    pub fn of(&self, method: Method) -> Option<&DurationHistogram> {
        self.rows
            .get(Method::ALL.iter().position(|known| *known == method)?)
    }
}

impl DurationHistogram {
    /// How many took no longer than each of [`BUCKETS`] and longer than the one before; the last took longer than all.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(Counter::get)
    }

    /// How long all took together, in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.get()
    }
}

/// Upper ends of the buckets: from what a Binding takes to what somebody notices.
pub const BUCKETS: [Duration; 12] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(250),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_that_holds_it() {
        let times = RequestDurations::default();
        for micros in [10, 11, 25, 1_000_000] {
            times.observe(Method::BINDING, Duration::from_micros(micros));
        }
        let row = times.of(Method::BINDING).unwrap();
        assert_eq!(
            row.counts().collect::<Vec<_>>(),
            [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        );
        assert_eq!(row.nanoseconds(), 1_000_046_000);
        assert_eq!(times.of(Method::ALLOCATE).unwrap().counts().sum::<u64>(), 0);
    }
}
