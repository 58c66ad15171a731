//! Counts of one run.

use crate::bench::measure::histogram::Histogram;

/// What one worker, or all of them, counted in one run.
#[derive(Clone, Default)]
pub struct Counters {
    /// How long packets were sent.
    pub nanoseconds: u64,
    /// Packets that the kernel accepted.
    pub sent: u64,
    /// Packets received, without duplicates.
    pub received: u64,
    /// Octets of payload received.
    pub octets: u64,
    /// Packets received after a later one.
    pub reordered: u64,
    /// Packets received a second time.
    pub duplicates: u64,
    /// Packets received with other octets than were sent.
    pub corrupted: u64,
    /// Packets that were due but not sent, because this process or the kernel below it was too
    /// slow.
    pub unsent: u64,
    /// Time from sending to receiving.
    pub latency: Histogram,
    /// The counts by slices of time.
    pub slices: Vec<TimeSlice>,
}

/// Counts of one slice of a run's time.
#[derive(Clone, Default)]
pub struct TimeSlice {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
    /// Time from sending to receiving.
    pub latency: Histogram,
}

impl Counters {
    /// Adds the counts of another worker.
    pub fn merge(&mut self, other: &Counters) {
        self.nanoseconds = self.nanoseconds.max(other.nanoseconds);
        self.sent += other.sent;
        self.received += other.received;
        self.octets += other.octets;
        self.reordered += other.reordered;
        self.duplicates += other.duplicates;
        self.corrupted += other.corrupted;
        self.unsent += other.unsent;
        self.latency.merge(&other.latency);
        let slices = self.slices.len().max(other.slices.len());
        self.slices.resize(slices, TimeSlice::default());
        for (slice, other) in self.slices.iter_mut().zip(&other.slices) {
            slice.sent += other.sent;
            slice.received += other.received;
            slice.latency.merge(&other.latency);
        }
    }

    /// Packets sent and not received.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// The lost share of the packets sent, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.lost() as f64 / self.sent.max(1) as f64
    }

    /// The share of the packets due that was not sent, 0 to 1.
    pub fn unsent_share(&self) -> f64 {
        self.unsent as f64 / (self.sent + self.unsent).max(1) as f64
    }
}
