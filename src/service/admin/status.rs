//! The status page, and the numbers that it draws. The files of the page are compiled in, and the
//! page requests nothing from other hosts.

use crate::service::admin::error::GuardedErrors;
use crate::service::admin::extract::{NoParameters, Parameters};
use crate::service::admin::openapi;
use crate::service::admin::state::AdminState;
use crate::service::certificates;
use crate::service::page::Asset;
use crate::turn::{Counters, Discard, EndReason, Transport};
use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

const PAGE: Asset = Asset {
    path: "/",
    media_type: "text/html; charset=utf-8",
    text: include_str!("status/index.html"),
};

/// The files that the page loads.
pub(super) const ASSETS: &[Asset] = &[
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
        path: "/format.js",
        media_type: JAVASCRIPT,
        text: include_str!("status/format.js"),
    },
    Asset {
        path: "/icon.svg",
        media_type: "image/svg+xml",
        text: include_str!("../page/icon.svg"),
    },
];

/// The response with a file of the page.
pub(super) fn respond(asset: &Asset) -> Response {
    let head = [
        (header::CONTENT_TYPE, asset.media_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (head, asset.text).into_response()
}

/// The status page
#[utoipa::path(
    get,
    path = "/",
    operation_id = "page",
    security(()),
    responses((status = 200, description = "the page", content_type = "text/html", body = String))
)]
pub(super) async fn page() -> Response {
    respond(&PAGE)
}

/// The numbers that the status page draws: current values, and totals since the start from which it
/// derives rates.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: f64,
    draining: bool,
    /// Relayed ports on all relay addresses.
    ports: u64,
    /// Relayed ports in use or reserved.
    ports_taken: u64,
    /// Current allocations, by transport of the client.
    #[schema(schema_with = openapi::by_transport)]
    allocations: BTreeMap<&'static str, u64>,
    /// Allocations started.
    started: u64,
    /// Allocations ended, by reason.
    #[schema(schema_with = openapi::by_end)]
    ended: BTreeMap<&'static str, u64>,
    /// Payload relayed to peers, by transport of the client.
    #[schema(schema_with = openapi::by_transport)]
    to_peers_bytes: BTreeMap<&'static str, u64>,
    /// Payload relayed to clients, by transport of the client.
    #[schema(schema_with = openapi::by_transport)]
    to_clients_bytes: BTreeMap<&'static str, u64>,
    /// Packets dropped without an answer, by reason.
    #[schema(schema_with = openapi::by_discard)]
    discards: BTreeMap<&'static str, u64>,
    /// Time that each shard worked.
    shards_busy_seconds: Vec<f64>,
    /// Seconds until each certificate expires, by its first name; negative once it has.
    certificates: BTreeMap<String, i64>,
    /// Reloads and orders of certificates that failed.
    certificate_failures: u64,
}

/// What each reason of a discard means.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct DiscardReasons(BTreeMap<&'static str, &'static str>);

impl PartialSchema for DiscardReasons {
    fn schema() -> RefOr<Schema> {
        openapi::discard_texts()
    }
}

impl ToSchema for DiscardReasons {}

/// The numbers that the status page draws
#[utoipa::path(
    get,
    path = "/status",
    operation_id = "status",
    responses((status = 200, description = "the numbers", body = Status), GuardedErrors)
)]
pub(super) async fn status(
    State(state): State<AdminState>,
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Json<Status> {
    let statistics = state.relay.statistics();
    let sum = |read: &dyn Fn(&Counters) -> u64| -> u64 {
        statistics
            .shards
            .iter()
            .map(|shard| read(&shard.turn))
            .sum()
    };
    let by_transport = |read: &dyn Fn(&Counters, Transport) -> u64| {
        Transport::ALL
            .into_iter()
            .map(|transport| (transport.name(), sum(&|counters| read(counters, transport))))
            .collect()
    };
    let ended = EndReason::ALL.iter().map(|end| {
        (
            end.name(),
            sum(&|counters| {
                counters
                    .ended
                    .get(end.index())
                    .map_or(0, |count| count.get())
            }),
        )
    });
    let discards = Discard::ALL.iter().map(|discard| {
        let index = discard.index();
        let count = sum(&|counters| counters.discards.get(index).map_or(0, |count| count.get()));
        (discard.name(), count)
    });
    let shards = statistics.shards.iter();
    let tls = statistics.tls.as_ref();
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: statistics.uptime.as_secs_f64(),
        draining: state.drain.is_draining(),
        ports: statistics.ports,
        ports_taken: statistics.ports_taken,
        allocations: by_transport(&|counters, transport| {
            counters
                .allocations
                .get(transport.index())
                .map_or(0, |count| count.get())
        }),
        started: sum(&|counters| counters.started.get()),
        ended: ended.collect(),
        to_peers_bytes: by_transport(&|counters, transport| {
            Counters::flow(&counters.to_peers, transport).octets.get()
        }),
        to_clients_bytes: by_transport(&|counters, transport| {
            Counters::flow(&counters.to_clients, transport).octets.get()
        }),
        discards: discards.collect(),
        shards_busy_seconds: shards
            .map(|shard| shard.relay.busy_nanoseconds.get() as f64 / 1e9)
            .collect(),
        certificates: tls
            .map(|tls| certificates::seconds_left(tls))
            .unwrap_or_default(),
        certificate_failures: tls.map_or(0, |tls| tls.failures()),
    })
}

/// What each reason of a discard means
#[utoipa::path(
    get,
    path = "/reasons",
    operation_id = "reasons",
    responses((status = 200, description = "a sentence for each", body = DiscardReasons), GuardedErrors)
)]
pub(super) async fn reasons(
    Parameters(NoParameters {}): Parameters<NoParameters>,
) -> Json<DiscardReasons> {
    let reasons = Discard::ALL.iter();
    Json(DiscardReasons(
        reasons
            .map(|discard| (discard.name(), discard.about()))
            .collect(),
    ))
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// Only files of this server.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";
