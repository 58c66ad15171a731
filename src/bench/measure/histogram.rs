//! A log-linear histogram of durations, like an HDR histogram: 64 steps to each doubling, so that a
//! value is known to within 1.6 % from one nanosecond to eighteen minutes, in a fixed 18 KB. (The
//! `hdrhistogram` crate allocates and can fail on every record, which the inner loop of a load
//! generator should not.)

/// Counts of durations in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    total: u64,
    sum: u128,
    least: u64,
    greatest: u64,
}

impl Histogram {
    /// Counts one duration in nanoseconds.
    pub fn record(&mut self, nanoseconds: u64) {
        let value = nanoseconds.min(LIMIT);
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.sum += u128::from(value);
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        for (count, other) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += other;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
    }

    /// The number of durations counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The shortest duration; zero if none was counted.
    pub fn min(&self) -> u64 {
        self.least.min(self.greatest)
    }

    /// The mean; zero if none was counted.
    pub fn mean(&self) -> u64 {
        (self.sum / u128::from(self.total.max(1))) as u64
    }

    /// The longest duration; zero if none was counted.
    pub fn max(&self) -> u64 {
        self.greatest
    }

    /// The duration that the fraction `quantile` of all durations does not exceed; zero if none was
    /// counted.
    pub fn quantile(&self, quantile: f64) -> u64 {
        let rank = ((self.total as f64 * quantile).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle(bucket).clamp(self.least, self.greatest);
            }
        }
        0
    }

    /// The number of durations in `from..to` nanoseconds, as exactly as the steps allow.
    pub fn between(&self, from: u64, to: u64) -> u64 {
        let is_inside = |bucket: &usize| (from..to).contains(&middle(*bucket));
        (0..BUCKETS)
            .filter(is_inside)
            .map(|bucket| self.counts[bucket])
            .sum()
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: Box::new([0; BUCKETS]),
            total: 0,
            sum: 0,
            least: u64::MAX,
            greatest: 0,
        }
    }
}

/// The bucket of a value: one bucket for each value below 64, then 64 for each doubling.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let doubling = value.ilog2() - STEPS.ilog2();
    ((u64::from(doubling) + 1) * STEPS + ((value >> doubling) - STEPS)) as usize
}

/// The value in the middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let doubling = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS) << doubling) + (1 << doubling) / 2
}

/// Steps to each doubling; a power of two.
const STEPS: u64 = 64;
/// Longer durations count as this one.
const LIMIT: u64 = (1 << 40) - 1;
/// Buckets up to the limit.
const BUCKETS: usize = (40 - STEPS.ilog2() as usize + 1) * STEPS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quantiles_of_a_uniform_distribution_are_within_one_percent() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.record(value * 1000);
        }
        for (quantile, expected) in [
            (0.5, 50_000_000.0),
            (0.9, 90_000_000.0),
            (0.999, 99_900_000.0),
        ] {
            let got = histogram.quantile(quantile) as f64;
            assert!((got / expected - 1.0).abs() < 0.01, "{quantile}: {got}");
        }
        assert_eq!(histogram.min(), 1000);
        assert_eq!(histogram.mean(), 50_000_500);
        assert_eq!(histogram.max(), 100_000_000);
        assert_eq!(histogram.between(0, u64::MAX), 100_000);
    }

    #[test]
    fn an_empty_histogram_returns_zero() {
        let empty = Histogram::default();
        assert_eq!((empty.min(), empty.mean(), empty.max()), (0, 0, 0));
        assert_eq!(empty.quantile(0.99), 0);
    }

    proptest! {
        #[test]
        fn a_value_lies_near_the_middle_of_its_bucket(value in 0u64..=LIMIT) {
            let middle = middle(bucket(value)) as f64;
            prop_assert!((middle - value as f64).abs() <= value as f64 / 100.0 + 0.5, "{value} {middle}");
        }

        #[test]
        fn merging_equals_recording_into_one(a in prop::collection::vec(0u64..1 << 36, 0..50), b in prop::collection::vec(0u64..1 << 36, 1..50)) {
            let (mut first, mut second, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
            for value in &a { first.record(*value); both.record(*value); }
            for value in &b { second.record(*value); both.record(*value); }
            first.merge(&second);
            prop_assert_eq!(first.total(), both.total());
            prop_assert_eq!((first.min(), first.mean(), first.max()), (both.min(), both.mean(), both.max()));
            prop_assert_eq!(first.quantile(0.9), both.quantile(0.9));
        }
    }
}
