//! The operators' listener.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | everything that is counted, for Prometheus |
//! | `GET /healthz` | 200 while the process serves requests |
//! | `GET /readyz` | 200 while new allocations are taken, 503 once the server leaves |
//!
//! It listens on loopback unless told otherwise, and what it answers names no user.

use crate::relay::Supervisor;
use crate::service::metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

/// What the operators' listener knows of the server.
#[derive(Clone, Debug)]
pub struct Admin {
    relay: Arc<Supervisor>,
    draining: Arc<AtomicBool>,
}

impl Admin {
    /// An operators' listener for a relay; `draining` says that it leaves.
    pub fn new(relay: Arc<Supervisor>, draining: Arc<AtomicBool>) -> Admin {
        Admin { relay, draining }
    }

    /// Answers until `stop` is ready.
    ///
    /// # Errors
    /// Those of the listener.
    pub async fn serve(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        axum::serve(listener, self.router()).with_graceful_shutdown(stop).await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(page))
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .with_state(self)
    }
}

async fn page(State(admin): State<Admin>) -> Response {
    match metrics::page(&admin.relay.statistics(), admin.draining.load(Ordering::Relaxed)) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.draining.load(Ordering::Relaxed) {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ready\n"),
    }
}
