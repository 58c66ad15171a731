//! The admin listener: its connections and its routes.

use crate::service::admin::state::AdminState;
use crate::service::admin::{access, allocations, control, monitoring, openapi, status, users};
use crate::service::http;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Extension, Router};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A listener for admin requests, by HTTP.
#[derive(Debug)]
pub enum AdminListener {
    /// On an address.
    Tcp(TcpListener),
    /// On a UNIX socket; the permissions of its file apply.
    Unix(UnixListener),
}

/// Serves admin requests until `stop` is ready.
///
/// # Errors
/// Errors of the listener.
pub async fn serve(
    state: AdminState,
    listener: AdminListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(state);
    match listener {
        AdminListener::Tcp(listener) => accept(listener, router, stop).await,
        AdminListener::Unix(listener) => accept(listener, router, stop).await,
    }
    Ok(())
}

/// Serves each connection on a task; requests in progress finish after `stop`. At the limit of
/// connections the oldest connection is closed to make room for the new one, so that idle
/// connections cannot lock out operators and monitoring.
async fn accept<L: axum::serve::Listener>(
    mut listener: L,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let stopped = watch::Sender::new(false);
    let mut connections = JoinSet::new();
    let mut oldest = VecDeque::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            (stream, _) = listener.accept() => {
                oldest.retain(|connection: &AbortHandle| !connection.is_finished());
                if oldest.len() >= MAX_CONNECTIONS && let Some(connection) = oldest.pop_front() {
                    connection.abort();
                }
                let serving = serve_connection(stream, router.clone(), stopped.subscribe());
                oldest.push_back(connections.spawn(serving));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    stopped.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection<S>(stream: S, router: Router, stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Err(error) = http::serve_connection(stream, router, TIMEOUT, stopped).await {
        tracing::debug!(%error, "admin connection failed");
    }
}

fn router(state: AdminState) -> Router {
    let guarded = OpenApiRouter::new()
        .routes(routes!(allocations::list))
        .routes(routes!(allocations::show, allocations::close))
        .routes(routes!(users::list))
        .routes(routes!(users::close))
        .routes(routes!(control::block, control::unblock))
        .routes(routes!(control::plan))
        .routes(routes!(status::status))
        .routes(routes!(status::reasons))
        .routes(routes!(control::log_level, control::set_log_level))
        .routes(routes!(control::drain))
        .routes(routes!(control::reload))
        .layer(from_fn_with_state(state.access.clone(), access::authorize));
    let (mut router, document) = OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(status::page))
        .routes(routes!(monitoring::metrics))
        .routes(routes!(monitoring::health))
        .routes(routes!(monitoring::readiness))
        .routes(routes!(openapi::document))
        .merge(guarded)
        .split_for_parts();
    for asset in status::ASSETS {
        router = router.route(asset.path, get(async || status::respond(asset)));
    }
    router
        .layer(Extension(Arc::new(document)))
        .layer(from_fn(access::reject_cross_origin))
        .with_state(state)
}

const MAX_CONNECTIONS: usize = 64;
/// Timeout for reading each part of a request, for writing a response, and for the next request on
/// a connection.
const TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn at_the_limit_the_oldest_connection_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/healthz", get(async || "ok\n"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(accept(listener, router, async { drop(stopped.await) }));
        let mut held = VecDeque::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push_back(TcpStream::connect(address).await.unwrap());
        }
        let mut last = TcpStream::connect(address).await.unwrap();
        last.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        last.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        assert_eq!(
            held.pop_front().unwrap().read(&mut [0]).await.unwrap(),
            0,
            "closed"
        );
        stop.send(()).unwrap();
        serving.await.unwrap();
    }
}
