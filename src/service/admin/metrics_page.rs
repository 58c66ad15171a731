//! What monitoring asks for.

use crate::service::admin::desk::Admin;
use crate::service::metrics;
use crate::service::metrics::ServiceMetrics;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// `GET /metrics`.
pub(super) async fn metrics(State(admin): State<Admin>) -> Response {
    let services = ServiceMetrics {
        drain_remaining: admin.condition.left(),
        counters: admin.usage.each().to_vec(),
        allocation_durations: admin.lifetimes.histogram(),
    };
    match metrics::page(&admin.relay.statistics(), services) {
        Ok(text) => (
            [(
                header::CONTENT_TYPE,
                "text/plain; version=0.0.4; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// `GET /readyz`.
pub(super) async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.condition.draining() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}
