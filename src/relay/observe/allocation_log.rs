//! Start and end of allocations: lines of the log, usage records, and a histogram of durations.

use crate::relay::observe::escaped::Escaped;
use crate::turn::{AllocationRecord, EndReason};
use prometheus::{Histogram, HistogramOpts};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Records start and end of allocations.
#[derive(Clone, Debug, Default)]
pub struct AllocationLog {
    /// Logs a client's network, an IPv4 /24 or an IPv6 /48, instead of its address.
    pub anonymous: bool,
    /// Receives a usage record for each line of the log; `None` if usage is not recorded.
    pub usage: Option<UsageSender>,
    /// Durations of ended allocations.
    pub lifetimes: LifetimeHistogram,
}

/// A histogram of the durations of allocations, in seconds.
#[derive(Clone, Debug)]
pub struct LifetimeHistogram(Option<Histogram>);

impl LifetimeHistogram {
    /// The histogram, to be registered with a metrics registry; `None` if its options were invalid.
    pub fn histogram(&self) -> Option<Histogram> {
        self.0.clone()
    }

    fn observe(&self, record: &AllocationRecord) {
        if let Some(histogram) = &self.0 {
            histogram.observe(record.elapsed.as_secs_f64());
        }
    }
}

impl Default for LifetimeHistogram {
    fn default() -> LifetimeHistogram {
        let options = HistogramOpts::new(
            "hairpin_allocation_duration_seconds",
            "Time from the start to the end of an allocation.",
        );
        LifetimeHistogram(Histogram::with_opts(options.buckets(BUCKETS.to_vec())).ok())
    }
}

/// Sends usage records to the usage service. A shard never waits for the service: a record is
/// dropped, and counted, if the queue is full.
#[derive(Clone, Debug)]
pub struct UsageSender {
    records: mpsc::Sender<AllocationRecord>,
    lost: Arc<AtomicU64>,
}

impl UsageSender {
    /// Creates a queue of `capacity` records.
    pub fn channel(capacity: usize) -> (UsageSender, mpsc::Receiver<AllocationRecord>) {
        let (records, receiver) = mpsc::channel(capacity);
        (
            UsageSender {
                records,
                lost: Arc::default(),
            },
            receiver,
        )
    }

    /// The counter of dropped records, which stays current.
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    fn send(&self, record: AllocationRecord) {
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AllocationLog {
    /// Records the start of an allocation.
    pub(crate) fn started(&self, record: AllocationRecord) {
        tracing::info!(
            id = record.id,
            user = %Escaped(&record.user),
            realm = %Escaped(&record.realm),
            client = %self.client_name(record.client.client),
            transport = record.client.transport.name(),
            relayed = ?record.relayed,
            "allocation started"
        );
        if let Some(usage) = &self.usage {
            usage.send(record);
        }
    }

    /// Records the end of an allocation.
    pub(crate) fn ended(&self, record: AllocationRecord) {
        self.lifetimes.observe(&record);
        tracing::info!(
            id = record.id,
            user = %Escaped(&record.user),
            realm = %Escaped(&record.realm),
            client = %self.client_name(record.client.client),
            transport = record.client.transport.name(),
            relayed = ?record.relayed,
            to_peers_bytes = record.traffic.to_peers.octets,
            to_client_bytes = record.traffic.to_client.octets,
            seconds = record.elapsed.as_secs_f64(),
            reason = record.end_reason.map_or("alive", EndReason::name),
            "allocation ended"
        );
        if let Some(usage) = &self.usage {
            usage.send(record);
        }
    }

    /// The client as the log names it.
    fn client_name(&self, client: SocketAddr) -> String {
        match (self.anonymous, client.ip().to_canonical()) {
            (false, _) => client.to_string(),
            (true, IpAddr::V4(ip)) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            (true, IpAddr::V6(ip)) => {
                let [a, b, c, ..] = ip.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
        }
    }
}

/// Upper bounds of the histogram's buckets, from a connectivity check to a call of a day.
const BUCKETS: [f64; 10] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anonymous_log_names_networks_instead_of_addresses() {
        let allocation_log = AllocationLog {
            anonymous: true,
            ..AllocationLog::default()
        };
        assert_eq!(
            allocation_log.client_name("192.0.2.77:5000".parse().unwrap()),
            "192.0.2.0/24"
        );
        assert_eq!(
            allocation_log.client_name("[2001:db8:1:2::3]:5000".parse().unwrap()),
            "2001:db8:1::/48"
        );
        assert_eq!(
            allocation_log.client_name("[::ffff:192.0.2.77]:5000".parse().unwrap()),
            "192.0.2.0/24"
        );
        assert_eq!(
            AllocationLog::default().client_name("192.0.2.77:5000".parse().unwrap()),
            "192.0.2.77:5000"
        );
    }
}
