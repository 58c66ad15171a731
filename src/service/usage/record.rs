//! The JSON of a usage record.

use crate::turn::{AllocationRecord, EndReason};
use serde::Serialize;
use std::time::Duration;

/// When in the life of an allocation a record is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UsageEvent {
    Start,
    Update,
    End,
}

/// What an allocation has used since its start.
#[derive(Clone, Debug, Serialize)]
pub(super) struct UsageRecord {
    event: UsageEvent,
    /// Unix time in seconds.
    time: f64,
    /// Sequence number, from 1 at the start of the server: a repetition has the same one.
    number: u64,
    /// Identifies the allocation, also in the log.
    id: String,
    user: String,
    realm: String,
    client: String,
    transport: &'static str,
    relayed: Vec<String>,
    peers: Vec<String>,
    to_peers_bytes: u64,
    to_peers_packets: u64,
    to_client_bytes: u64,
    to_client_packets: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl UsageRecord {
    /// The usage of an allocation at a Unix time.
    pub(super) fn new(
        event: UsageEvent,
        record: &AllocationRecord,
        time: Duration,
        number: u64,
    ) -> UsageRecord {
        UsageRecord {
            event,
            time: time.as_millis() as f64 / 1000.0,
            number,
            id: record.id.to_string(),
            user: record.user.to_string(),
            realm: record.realm.to_string(),
            client: record.client.client.to_string(),
            transport: record.client.transport.name(),
            relayed: record.relayed.iter().map(ToString::to_string).collect(),
            peers: record.peers.iter().map(ToString::to_string).collect(),
            to_peers_bytes: record.traffic.to_peers.octets,
            to_peers_packets: record.traffic.to_peers.packets,
            to_client_bytes: record.traffic.to_client.octets,
            to_client_packets: record.traffic.to_client.packets,
            seconds: record.elapsed.as_secs_f64(),
            reason: record.end_reason.map(EndReason::name),
        }
    }
}
