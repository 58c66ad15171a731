//! What the services on HTTP have in common: how a connection is served, and which hosts can only be ours.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// Answers the requests of one connection until it ends or becomes a WebSocket, or, once `stopped` is true, until the
/// request under way is answered. A request's head may take `patience` to come, and as long may a connection wait for
/// its next.
///
/// # Errors
/// Why the connection ended before its time.
pub async fn converse<S>(
    stream: S,
    router: Router,
    patience: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(LARGEST_HEAD);
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let stop = async { drop(stopped.wait_for(|stopped| *stopped).await) };
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Whether a `Host` is a name that somebody else's DNS answers for: neither an address nor `localhost`.
pub fn is_name(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if !port.ends_with(']') => bare,
        _ => host,
    };
    !bare.eq_ignore_ascii_case("localhost") && bare.trim_matches(['[', ']']).parse::<IpAddr>().is_err()
}

/// The largest request head, in octets.
const LARGEST_HEAD: usize = 16_384;
