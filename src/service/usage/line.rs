//! One line of usage.

use crate::turn::{AllocationRecord, EndReason};
use serde::Serialize;
use std::time::Duration;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The allocation began.
    Start,
    /// It lives.
    Update,
    /// It ended.
    End,
}

/// What one allocation has used so far. Numbers are totals since its start.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    event: Event,
    /// Unix time, in seconds.
    time: f64,
    /// Counts the lines of one run of the server.
    number: u64,
    /// The allocation's id, as the log says it.
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

impl Line {
    /// A record at a time of day.
    pub fn new(event: Event, record: &AllocationRecord, unix: Duration, number: u64) -> Line {
        Line {
            event,
            time: unix.as_millis() as f64 / 1000.0,
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
