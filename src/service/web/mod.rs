//! The web listener: the call page, signaling and ICE servers on one HTTP port.
//!
//! | request | response |
//! |---|---|
//! | `GET /` and the files that it references | the call page |
//! | `GET /signal?room=…` | a WebSocket: see [`crate::service::signaling`] |
//! | `GET /ice-servers?room=…` | `{"iceServers":[…],"ttl":…}`, for clients that may use the relay ([`crate::service::ice_servers::IceAccess`]) |
//! | `POST /v1/turn/keys/{key}/credentials/generate-ice-servers` with `Authorization: Bearer …` and `{"ttl":…}` | 201 and the same |
//!
//! ```text
//!     TcpListener ── serve ──┐
//!                            ├──▶ serve_stream (stream, ConnectionInfo): waits for a permit ──▶ hyper ──▶ router
//!     TLS on the relay ──────┘                                                 page │ signal │ ice_servers ◀──┘
//! ```
//!
//! A refusal is answered with the error message of the table in [`crate::service::signaling`].

mod request_source;
mod routes;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

pub use crate::service::web::request_source::ConnectionInfo;
pub use crate::service::web::settings::{Origins, WebSettings};

use crate::service::signaling::{ResumeTokens, RoomCounts, Rooms, Signaling};
use crate::service::web::routes::AppState;
use crate::service::{http, ice_servers};

/// The web service of the process, served on any number of listeners. Clones share it.
#[derive(Clone)]
pub struct Web {
    state: Arc<AppState>,
    router: Router,
    permits: Arc<Semaphore>,
    stopped: watch::Sender<bool>,
}

/// The URL of a call in a new room on a listener at `address`. The room's name cannot be guessed.
///
/// # Errors
/// The system has no randomness.
pub fn new_call_url(address: SocketAddr) -> io::Result<String> {
    let mut octets = [0; 9];
    getrandom::fill(&mut octets)?;
    // Browsers allow cameras on `localhost` as they do on https.
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".into(),
        ip => ice_servers::url_literal(ip),
    };
    Ok(format!(
        "http://{host}:{}/?room={}",
        address.port(),
        URL_SAFE_NO_PAD.encode(octets)
    ))
}

impl Web {
    /// A service without rooms.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(settings: WebSettings) -> io::Result<Web> {
        let permits = Arc::new(Semaphore::new(settings.http_connections));
        let state = Arc::new(AppState {
            settings: ArcSwap::from_pointee(settings),
            signaling: Arc::new(Signaling {
                rooms: Arc::new(Rooms::default()),
                resume_tokens: ResumeTokens::random()?,
            }),
        });
        Ok(Web {
            router: routes::router(state.clone()),
            state,
            permits,
            stopped: watch::Sender::new(false),
        })
    }

    /// Replaces the settings for all requests from now on.
    pub fn replace_settings(&self, settings: WebSettings) {
        self.state.settings.store(Arc::new(settings));
    }

    /// Gauges and counters for metrics.
    pub fn counts(&self) -> RoomCounts {
        self.state.signaling.rooms.counts()
    }

    /// Accepts connections until `stop` completes, then stops the service ([`Web::stop`]).
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.accept(listener) => {}
        }
        self.stop().await;
    }

    /// Serves HTTP on one connection, in a task, until it ends or becomes a WebSocket. Waits for a
    /// permit first, as [`Web::serve`] does: the limit of connections covers all listeners.
    pub async fn serve_stream<S>(&self, stream: S, info: ConnectionInfo)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The semaphore is never closed.
        if let Ok(permit) = self.permits.clone().acquire_owned().await {
            tokio::spawn(self.clone().serve_connection(stream, info, permit));
        }
    }

    async fn serve_connection<S>(
        self,
        stream: S,
        info: ConnectionInfo,
        permit: OwnedSemaphorePermit,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone().layer(axum::Extension(info));
        let timeout = self.state.settings.load().http_timeout;
        let served =
            http::serve_connection(stream, router, timeout, self.stopped.subscribe()).await;
        if let Err(error) = served {
            tracing::debug!(client = %info.client, %error, "web connection ended");
        }
        drop(permit);
    }

    /// Stops the service: WebSockets are closed with `stopping`, new ones are refused, and requests
    /// in progress may finish. Returns when all WebSockets are closed, after two seconds at most.
    pub async fn stop(&self) {
        self.stopped.send_replace(true);
        self.state.signaling.rooms.stop();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.counts().connections > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let Ok(local) = stream.local_addr() else {
                        continue;
                    };
                    // Candidates are small, and the call waits for them.
                    let _ = stream.set_nodelay(true);
                    let info = ConnectionInfo {
                        client,
                        local,
                        secure: false,
                    };
                    self.serve_stream(stream, info).await;
                }
                Err(error) => {
                    // Usually the process is out of file descriptors; ending connections free some.
                    tracing::warn!(%error, "accepting a web connection failed");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Time that WebSockets have for their close handshake when the service stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
