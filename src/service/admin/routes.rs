//! Which request goes where.

use crate::service::admin::desk::Admin;
use crate::service::admin::{
    allocations, guard, metrics_page, openapi, orders, status, strict, users,
};
use crate::service::http;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post, put};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

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
        Listener::Tcp(listener) => accept(listener, router, stop).await,
        Listener::Unix(listener) => accept(listener, router, stop).await,
    }
    Ok(())
}

/// Serves each connection on a task of its own; at the end, those under way may finish. Where there are as many as there
/// may be, the one that has been here longest goes, not the one that comes: whoever holds connections, operators and
/// monitoring get in.
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
                if oldest.len() >= MOST && let Some(connection) = oldest.pop_front() {
                    connection.abort();
                }
                oldest.push_back(connections.spawn(converse(stream, router.clone(), stopped.subscribe())));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    stopped.send_replace(true);
    while connections.join_next().await.is_some() {}
}

async fn converse<S>(stream: S, router: Router, stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Err(error) = http::converse(stream, router, PATIENCE, stopped).await {
        tracing::debug!(%error, "an operator's connection ended");
    }
}

fn router(admin: Admin) -> Router {
    let guarded = Router::new()
        .route("/allocations", get(allocations::list))
        .route(
            "/allocations/{id}",
            get(allocations::one).delete(allocations::close),
        )
        .route("/users", get(users::list))
        .route("/users/{user}/allocations", delete(users::close))
        .route(
            "/users/{user}/block",
            put(orders::block).delete(orders::unblock),
        )
        .route("/plan", get(orders::plan))
        .route("/status", get(status::numbers))
        .route("/reasons", get(status::reasons))
        .route(
            "/log-level",
            get(orders::log_level).put(orders::set_log_level),
        )
        .route("/drain", post(orders::drain))
        .route("/reload", post(orders::reload))
        .route_layer(from_fn(strict::understood))
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

/// Connections at a time.
const MOST: usize = 64;
/// How long each part of a request may take to come, an answer to be read, and a connection to have a next request.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn who_comes_last_gets_in_and_the_oldest_goes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/healthz", get(async || "ok\n"));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(accept(listener, router, async { drop(stopped.await) }));
        let mut held = VecDeque::new();
        for _ in 0..MOST {
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
