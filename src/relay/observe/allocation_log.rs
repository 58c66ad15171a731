//! An allocation's life: lines of the log, and records for whoever keeps accounts.

use crate::relay::observe::escaped::Escaped;
use crate::turn::{AllocationRecord, EndReason};
use prometheus::{Histogram, HistogramOpts};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Where the lives of allocations are told.
#[derive(Clone, Debug, Default)]
pub struct AllocationLog {
    /// The log says only the network of a client, an IPv4 /24 or an IPv6 /48.
    pub anonymous: bool,
    /// Who gets the records besides the log.
    pub usage: Option<UsageSender>,
    /// How long allocations lived.
    pub lifetimes: LifetimeHistogram,
}

/// A histogram of allocations' lifetimes, in seconds.
#[derive(Clone, Debug)]
pub struct LifetimeHistogram(Option<Histogram>);

impl LifetimeHistogram {
    /// The histogram, for whoever shows it.
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
        LifetimeHistogram(Histogram::with_opts(options.buckets(LIFETIMES.to_vec())).ok())
    }
}

/// The shards' end of the way to whoever keeps accounts. A shard never waits: what finds no room is counted as lost.
#[derive(Clone, Debug)]
pub struct UsageSender {
    records: mpsc::Sender<AllocationRecord>,
    lost: Arc<AtomicU64>,
}

impl UsageSender {
    /// Both ends; so many records may wait in between.
    pub fn channel(waiting: usize) -> (UsageSender, mpsc::Receiver<AllocationRecord>) {
        let (records, kept) = mpsc::channel(waiting);
        (
            UsageSender {
                records,
                lost: Arc::default(),
            },
            kept,
        )
    }

    /// How many records found no room, now and later.
    pub fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }

    fn keep(&self, record: AllocationRecord) {
        if self.records.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl AllocationLog {
    /// An allocation began.
    pub(crate) fn started(&self, record: AllocationRecord) {
        tracing::info!(
            id = record.id,
            user = %Escaped(&record.user),
            realm = %Escaped(&record.realm),
            client = %self.shown(record.client.client),
            transport = record.client.transport.name(),
            relayed = ?record.relayed,
            "allocation started"
        );
        if let Some(usage) = &self.usage {
            usage.keep(record);
        }
    }

    /// An allocation ended.
    pub(crate) fn ended(&self, record: AllocationRecord) {
        self.lifetimes.observe(&record);
        tracing::info!(
            id = record.id,
            user = %Escaped(&record.user),
            realm = %Escaped(&record.realm),
            client = %self.shown(record.client.client),
            transport = record.client.transport.name(),
            relayed = ?record.relayed,
            to_peers_bytes = record.traffic.to_peers.octets,
            to_client_bytes = record.traffic.to_client.octets,
            seconds = record.elapsed.as_secs_f64(),
            reason = record.end_reason.map_or("alive", EndReason::name),
            "allocation ended"
        );
        if let Some(usage) = &self.usage {
            usage.keep(record);
        }
    }

    fn shown(&self, client: SocketAddr) -> String {
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

/// Upper ends of the histogram's buckets: from a check to a day's call.
const LIFETIMES: [f64; 10] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1_800.0, 3_600.0, 14_400.0, 86_400.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anonymous_journal_tells_networks() {
        let allocation_log = AllocationLog {
            anonymous: true,
            ..AllocationLog::default()
        };
        assert_eq!(
            allocation_log.shown("192.0.2.77:5000".parse().unwrap()),
            "192.0.2.0/24"
        );
        assert_eq!(
            allocation_log.shown("[2001:db8:1:2::3]:5000".parse().unwrap()),
            "2001:db8:1::/48"
        );
        assert_eq!(
            allocation_log.shown("[::ffff:192.0.2.77]:5000".parse().unwrap()),
            "192.0.2.0/24"
        );
        assert_eq!(
            AllocationLog::default().shown("192.0.2.77:5000".parse().unwrap()),
            "192.0.2.77:5000"
        );
    }
}
