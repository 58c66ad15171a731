//! Metrics, health and readiness, which need no authorization.

use crate::relay::Supervisor;
use crate::service::admin::state::AdminState;
use crate::service::metrics;
use crate::service::metrics::ServiceMetrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// Metrics for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    security(()),
    responses((status = 200, description = "all metrics", content_type = "text/plain", body = String))
)]
pub(super) async fn metrics(State(state): State<AdminState>) -> Response {
    let services = ServiceMetrics {
        drain_remaining: state.drain.remaining(),
        counters: state.usage.snapshot().to_vec(),
        allocation_durations: state.lifetimes.histogram(),
    };
    match metrics::page(&state.relay.statistics(), services) {
        Ok(text) => ([(header::CONTENT_TYPE, EXPOSITION_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Whether every shard serves clients
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    security(()),
    responses(
        (status = 200, description = "it does", content_type = "text/plain", body = String),
        (status = 503, description = "a shard does not respond", content_type = "text/plain", body = String),
    )
)]
pub(super) async fn health(State(state): State<AdminState>) -> (StatusCode, String) {
    match unresponsive_shards(&state.relay).await {
        Some(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

/// Whether the server accepts new allocations
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    security(()),
    responses(
        (status = 200, description = "it does", content_type = "text/plain", body = String),
        (status = 503, description = "the server drains, or a shard does not respond", content_type = "text/plain", body = String),
    )
)]
pub(super) async fn readiness(State(state): State<AdminState>) -> (StatusCode, String) {
    if state.drain.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    }
    match unresponsive_shards(&state.relay).await {
        Some(text) => (StatusCode::SERVICE_UNAVAILABLE, text),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}

/// One line for each shard that does not respond in time; `None` if all do.
async fn unresponsive_shards(relay: &Supervisor) -> Option<String> {
    let shards = relay.unresponsive_shards(SHARD_DEADLINE).await;
    let lines = shards
        .iter()
        .map(|shard| format!("shard {shard} does not respond\n"));
    (!shards.is_empty()).then(|| lines.collect())
}

/// An idle shard replies within microseconds. Probes usually wait for a second or more.
const SHARD_DEADLINE: Duration = Duration::from_millis(900);

const EXPOSITION_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Plan;
    use crate::service::admin::access::{AccessControl, Exposure};
    use crate::service::admin::commands::CommandSender;
    use crate::service::usage::UsageCounters;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_dead_shard_is_neither_healthy_nor_ready() {
        let relay = Arc::new(Supervisor::start(Plan::loopback(2)).unwrap());
        let state = AdminState {
            relay: relay.clone(),
            drain: Arc::default(),
            usage: Arc::new(UsageCounters::new(Arc::default())),
            lifetimes: Default::default(),
            commands: CommandSender::channel().0,
            access: AccessControl::new(None, Exposure::Loopback),
        };
        let ask = async || {
            let (health, _) = health(State(state.clone())).await;
            (health, readiness(State(state.clone())).await)
        };
        let ready = (StatusCode::OK, "ready\n".to_owned());
        assert_eq!(ask().await, (StatusCode::OK, ready));
        relay.panic_shard(1, "a test's panic").await;
        relay.failed().await;
        let text = "shard 1 does not respond\n".to_owned();
        let unready = (StatusCode::SERVICE_UNAVAILABLE, text);
        assert_eq!(ask().await, (StatusCode::SERVICE_UNAVAILABLE, unready));
    }
}
