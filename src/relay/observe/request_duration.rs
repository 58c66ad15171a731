//! Histograms of the durations of requests, by method. One shard writes them, any thread reads
//! them. Relayed packets are not measured: the clock is read once per batch.

use crate::turn::counters::Counter;
use crate::wire::Method;
use std::time::Duration;

/// One histogram for each method.
#[derive(Debug, Default)]
pub struct RequestDurations {
    histograms: [DurationHistogram; Method::ALL.len()],
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct DurationHistogram {
    counts: [Counter; BUCKETS.len() + 1],
    nanoseconds: Counter,
}

impl RequestDurations {
    /// Records a request.
    pub(crate) fn observe(&self, method: Method, duration: Duration) {
        let Some(histogram) = self.of(method) else {
            return;
        };
        let bucket = BUCKETS.partition_point(|bound| *bound < duration);
        if let Some(count) = histogram.counts.get(bucket) {
            count.add(1);
        }
        histogram.nanoseconds.add(duration.as_nanos() as u64);
    }

    /// The histogram of a method; `None` for an unknown method.
    pub fn of(&self, method: Method) -> Option<&DurationHistogram> {
        self.histograms
            .get(Method::ALL.iter().position(|known| *known == method)?)
    }
}

impl DurationHistogram {
    /// Number of requests in each of [`BUCKETS`], and in the bucket above the last bound.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.counts.iter().map(Counter::get)
    }

    /// Sum of all durations in nanoseconds.
    pub fn nanoseconds(&self) -> u64 {
        self.nanoseconds.get()
    }
}

/// Upper bounds of the buckets, from a typical Binding request to a delay that users notice.
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
    fn a_duration_is_counted_in_the_first_bucket_with_a_bound_not_below_it() {
        let durations = RequestDurations::default();
        for micros in [10, 11, 25, 1_000_000] {
            durations.observe(Method::BINDING, Duration::from_micros(micros));
        }
        let binding = durations.of(Method::BINDING).unwrap();
        assert_eq!(
            binding.counts().collect::<Vec<_>>(),
            [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        );
        assert_eq!(binding.nanoseconds(), 1_000_046_000);
        assert_eq!(
            durations
                .of(Method::ALLOCATE)
                .unwrap()
                .counts()
                .sum::<u64>(),
            0
        );
    }
}
