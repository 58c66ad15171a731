//! Which request goes where.

use super::desk::Admin;
use super::{allocations, guard, metrics_page, openapi, orders, status, users};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use std::io;
use tokio::net::{TcpListener, UnixListener};

/// Where operators come in.
#[derive(Debug)]
pub enum Listener {
    /// By HTTP on an address.
    Tcp(TcpListener),
    /// By HTTP on a UNIX socket, whose file's permissions say who may.
    Unix(UnixListener),
}

/// Answers operators until `stop` is ready.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    admin: Admin,
    listener: Listener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(admin);
    match listener {
        Listener::Tcp(listener) => axum::serve(listener, router).with_graceful_shutdown(stop).await,
        Listener::Unix(listener) => axum::serve(listener, router).with_graceful_shutdown(stop).await,
    }
}

fn router(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/allocations", get(allocations::list))
        .route("/allocations/{id}", get(allocations::one).delete(allocations::close))
        .route("/users", get(users::list))
        .route("/users/{user}/allocations", delete(users::close))
        .route("/users/{user}/block", put(orders::block).delete(orders::unblock))
        .route("/plan", get(orders::plan))
        .route("/status", get(status::numbers))
        .route("/reasons", get(status::reasons))
        .route("/log-level", get(orders::log_level).put(orders::set_log_level))
        .route("/drain", post(orders::drain))
        .route("/reload", post(orders::reload))
        .layer(from_fn_with_state(admin.guard.clone(), guard::authorized));
    let mut files = Router::new();
    for asset in status::ASSETS {
        files = files.route(asset.path, get(async move || status::file(asset)));
    }
    files
        .route("/metrics", get(metrics_page::metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(metrics_page::ready))
        .route("/openapi.json", get(openapi::document))
        .merge(guarded)
        .layer(from_fn(guard::same_site))
        .with_state(admin)
}
