//! The status page, and the numbers that it draws. The page's files are part of the program; it asks nobody but this server.

use crate::relay::Statistics;
use crate::service::admin::desk::Admin;
use crate::service::certificates;
use crate::service::page::Asset;
use crate::turn::counters::Flow;
use crate::turn::{Counters, Discard, EndReason, Transport};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// The page and all that it loads.
pub(super) const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        media_type: "text/html; charset=utf-8",
        text: include_str!("status/index.html"),
    },
    Asset {
        path: "/status.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("status/status.css"),
    },
    Asset {
        path: "/status.js",
        media_type: JAVASCRIPT,
        text: include_str!("status/status.js"),
    },
    Asset {
        path: "/plot.js",
        media_type: JAVASCRIPT,
        text: include_str!("status/plot.js"),
    },
    Asset {
        path: "/words.js",
        media_type: JAVASCRIPT,
        text: include_str!("status/words.js"),
    },
    Asset {
        path: "/icon.svg",
        media_type: "image/svg+xml",
        text: include_str!("../page/icon.svg"),
    },
];

/// One of the page's files.
pub(super) fn file(asset: &Asset) -> Response {
    let head = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (head, asset.text).into_response()
}

/// `GET /status`: totals since the start, from which the page makes rates.
pub(super) async fn numbers(State(admin): State<Admin>) -> Json<Value> {
    let statistics = admin.relay.statistics();
    let all = |read: &dyn Fn(&Counters) -> u64| -> u64 {
        statistics
            .shards
            .iter()
            .map(|shard| read(&shard.turn))
            .sum()
    };
    let discards = Discard::ALL.iter().map(|discard| {
        let count = all(&|counters| {
            counters
                .discards
                .get(discard.index())
                .map_or(0, |count| count.get())
        });
        (discard.name().to_owned(), json!(count))
    });
    let ended = EndReason::ALL.iter().map(|end| {
        let count = all(&|counters| {
            counters
                .ended
                .get(end.index())
                .map_or(0, |count| count.get())
        });
        (end.name().to_owned(), json!(count))
    });
    let shards: Vec<f64> = statistics
        .shards
        .iter()
        .map(|shard| shard.relay.busy_nanoseconds.get() as f64 / 1e9)
        .collect();
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
        "certificates": statistics.tls.as_ref().map(|tls| certificates::seconds_left(tls)).unwrap_or_default(),
        "certificate_failures": statistics.tls.as_ref().map_or(0, |tls| tls.failures()),
    }))
}

/// `GET /reasons`: what each reason of a discard means.
pub(super) async fn reasons() -> Json<Value> {
    Json(
        Discard::ALL
            .iter()
            .map(|discard| (discard.name().to_owned(), json!(discard.about())))
            .collect(),
    )
}

fn flows(statistics: &Statistics, choose: impl Fn(&Counters) -> &[Flow; 4]) -> Value {
    by_transport(statistics, |counters, transport| {
        Counters::flow(choose(counters), transport).octets.get()
    })
}

fn by_transport(statistics: &Statistics, read: impl Fn(&Counters, Transport) -> u64) -> Value {
    let of = |transport| {
        statistics
            .shards
            .iter()
            .map(|shard| read(&shard.turn, transport))
            .sum::<u64>()
    };
    let rows = Transport::ALL
        .into_iter()
        .map(|transport| (transport.name().to_owned(), json!(of(transport))));
    Value::Object(rows.collect())
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Nothing but this server's own files.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";
