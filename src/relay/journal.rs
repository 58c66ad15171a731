//! The log's lines about an allocation's life.

use crate::turn::{End, Record};

/// An allocation began.
pub(super) fn started(record: &Record) {
    tracing::info!(
        id = record.id,
        user = %record.user,
        realm = %record.realm,
        client = %record.client.client,
        transport = record.client.transport.name(),
        relayed = ?record.relayed,
        "allocation started"
    );
}

/// An allocation ended.
pub(super) fn ended(record: &Record) {
    tracing::info!(
        id = record.id,
        user = %record.user,
        realm = %record.realm,
        client = %record.client.client,
        transport = record.client.transport.name(),
        relayed = ?record.relayed,
        to_peers_bytes = record.traffic.to_peers.octets,
        to_client_bytes = record.traffic.to_client.octets,
        seconds = record.elapsed.as_secs_f64(),
        reason = record.end.map_or("alive", End::name),
        "allocation ended"
    );
}
