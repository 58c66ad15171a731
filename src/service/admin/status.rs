//! The status page, and the numbers that it draws. The page's files are part of the program; it asks nobody but this server.

use super::desk::Admin;
use crate::relay::Statistics;
use crate::turn::counters::Flow;
use crate::turn::{Counters, Discard, End, Transport};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

/// `GET /`.
pub(super) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)], PAGE)
}

/// `GET /status.js`.
pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

/// `GET /status.css`.
pub(super) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

/// `GET /status`: totals since the start, from which the page makes rates.
pub(super) async fn numbers(State(admin): State<Admin>) -> Json<Value> {
    let statistics = admin.relay.statistics();
    let all =
        |read: &dyn Fn(&Counters) -> u64| -> u64 { statistics.shards.iter().map(|shard| read(&shard.turn)).sum() };
    let discards = Discard::ALL.iter().map(|discard| {
        let count = all(&|counters| counters.discards.get(discard.index()).map_or(0, |count| count.get()));
        (discard.name().to_owned(), json!(count))
    });
    let ended = End::ALL.iter().map(|end| {
        let count = all(&|counters| counters.ended.get(end.index()).map_or(0, |count| count.get()));
        (end.name().to_owned(), json!(count))
    });
    let shards: Vec<f64> =
        statistics.shards.iter().map(|shard| shard.relay.busy_nanoseconds.get() as f64 / 1e9).collect();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": statistics.uptime.as_secs_f64(),
        "draining": admin.condition.draining(),
        "ports": statistics.ports,
        "ports_taken": statistics.ports_taken,
        "allocations": by_transport(&statistics, |counters, transport| {
            counters.allocations.get(transport.index()).map_or(0, |count| count.get())
        }),
        "started": all(&|counters| counters.started.get()),
        "ended": ended.collect::<Map<_, _>>(),
        "to_peers_bytes": flows(&statistics, |counters| &counters.to_peers),
        "to_clients_bytes": flows(&statistics, |counters| &counters.to_clients),
        "discards": discards.collect::<Map<_, _>>(),
        "shards_busy_seconds": shards,
    }))
}

fn flows(statistics: &Statistics, choose: impl Fn(&Counters) -> &[Flow; 4]) -> Value {
    by_transport(statistics, |counters, transport| Counters::flow(choose(counters), transport).octets.get())
}

fn by_transport(statistics: &Statistics, read: impl Fn(&Counters, Transport) -> u64) -> Value {
    let of = |transport| statistics.shards.iter().map(|shard| read(&shard.turn, transport)).sum::<u64>();
    let rows = Transport::ALL.into_iter().map(|transport| (transport.name().to_owned(), json!(of(transport))));
    Value::Object(rows.collect())
}

const PAGE: &str = include_str!("status/index.html");
const SCRIPT: &str = include_str!("status/status.js");
const STYLE: &str = include_str!("status/status.css");
/// Nothing but this server's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
