//! Metrics, health and readiness, which need no authorization.

use crate::service::admin::state::AdminState;
use crate::service::metrics;
use crate::service::metrics::ServiceMetrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

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

/// Whether the process serves requests
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "health",
    security(()),
    responses((status = 200, description = "it does", content_type = "text/plain", body = String))
)]
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// Whether the server accepts new allocations
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "readiness",
    security(()),
    responses(
        (status = 200, description = "it does", content_type = "text/plain", body = String),
        (status = 503, description = "the server drains", content_type = "text/plain", body = String),
    )
)]
pub(super) async fn readiness(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    if state.drain.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

const EXPOSITION_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
