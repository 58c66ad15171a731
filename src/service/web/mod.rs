//! The web listener: the call page, signaling and ICE servers over one HTTP port.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` and the files that it names | the call page |
//! | `GET /signal?room=…` | a WebSocket: see [`crate::service::signaling`] |
//! | `GET /ice-servers?room=…` | `{"iceServers":[…],"ttl":…}`, to whom it is open ([`crate::service::ice_servers::Open`]) |
//! | `POST /v1/turn/keys/{key}/credentials/generate-ice-servers` with `Authorization: Bearer …` and `{"ttl":…}` | 201 and the same |
//!
//! ```text
//!     TcpListener --serve--+
//!                          +--> take (stream, Arrival): its turn --> hyper --> router --> page | signal | ice_servers
//!     TLS on 443 ----------+
//! ```
//!
//! What is refused is answered with the error message of the table in [`crate::service::signaling`].

mod asking;
mod routes;
mod settings;
mod turns;

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
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

pub use crate::service::web::asking::Arrival;
pub use crate::service::web::settings::{Origins, Settings};

use crate::service::signaling::{Counts, ResumeTokens, Rooms, Signaling};
use crate::service::web::routes::Shared;
use crate::service::web::turns::{Turn, Turns};
use crate::service::{http, ice_servers};

/// The web service: one for the process, served on any number of listeners. Cloning it shares it.
#[derive(Clone)]
pub struct Web {
    shared: Arc<Shared>,
    router: Router,
    turns: Arc<Turns>,
    stopped: watch::Sender<bool>,
}

/// Serves a web service of its own on `listener` until `stop` is ready; see [`Web::serve`].
///
/// # Errors
/// No randomness to be had.
pub async fn serve(
    listener: TcpListener,
    settings: Settings,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    Web::new(settings)?.serve(listener, stop).await;
    Ok(())
}

/// The router of a web service of its own. Requests tell where they came from by an [`Arrival`] in their extensions;
/// those without are taken for strangers'.
///
/// # Errors
/// No randomness to be had.
pub fn router(settings: Settings) -> io::Result<Router> {
    Ok(Web::new(settings)?.router)
}

/// The link to a call of one's own on a listener at `address`: a room that nobody guesses, ready to be opened by two.
///
/// # Errors
/// No randomness to be had.
pub fn call_url(address: SocketAddr) -> io::Result<String> {
    let mut octets = [0; 9];
    getrandom::fill(&mut octets)?;
    // Browsers give camera and microphone to this name as they do to https.
    let host = match address.ip() {
        ip if ip.is_unspecified() => "localhost".into(),
        ip => ice_servers::literal(ip),
    };
    Ok(format!(
        "http://{host}:{}/?room={}",
        address.port(),
        URL_SAFE_NO_PAD.encode(octets)
    ))
}

impl Web {
    /// A service without rooms yet.
    ///
    /// # Errors
    /// No randomness to be had.
    pub fn new(settings: Settings) -> io::Result<Web> {
        let signaling = Signaling {
            rooms: Arc::new(Rooms::default()),
            resume: ResumeTokens::random()?,
        };
        let shared = Arc::new(Shared {
            settings: ArcSwap::from_pointee(settings),
            signaling: Arc::new(signaling),
        });
        let (router, turns) = (routes::router(shared.clone()), Arc::default());
        Ok(Web {
            router,
            shared,
            turns,
            stopped: watch::Sender::new(false),
        })
    }

    /// Replaces the settings for whoever comes from now on.
    pub fn replace(&self, settings: Settings) {
        self.shared.settings.store(Arc::new(settings));
        self.turns.look_again();
    }

    /// Rooms, peers and messages, for metrics.
    pub fn counts(&self) -> Counts {
        self.shared.signaling.rooms.counts()
    }

    /// Accepts connections until `stop` is ready, then ends the service: peers are told `stopping`, and requests under
    /// way may finish for a moment.
    pub async fn serve(&self, listener: TcpListener, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {}
            () = self.accept(listener) => {}
        }
        self.stop().await;
    }

    /// Serves HTTP, on a task of its own, on one connection that was accepted elsewhere, until it ends or becomes a
    /// WebSocket. Waits for its turn like one that came in by [`Web::serve`]: the bound is one for all.
    pub async fn take<S>(&self, stream: S, arrival: Arrival)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let turn = self
            .turns
            .take(|| self.shared.settings.load().connections)
            .await;
        tokio::spawn(self.clone().serve_connection(stream, arrival, turn));
    }

    async fn serve_connection<S>(self, stream: S, arrival: Arrival, turn: Turn)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.router.clone().layer(axum::Extension(arrival));
        let patience = self.shared.settings.load().patience;
        let ended = http::converse(stream, router, patience, self.stopped.subscribe()).await;
        if let Err(error) = ended {
            tracing::debug!(peer = %arrival.peer, %error, "web connection ended");
        }
        drop(turn);
    }

    /// Ends the service: everybody is told, nobody is let in; returns when they are gone, after two seconds at most.
    pub async fn stop(&self) {
        self.stopped.send_replace(true);
        self.shared.signaling.rooms.stop();
        let end = Instant::now() + FAREWELL;
        while self.counts().connections > 0 && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(local) = stream.local_addr() else {
                        continue;
                    };
                    // Candidates are small and urgent.
                    let _ = stream.set_nodelay(true);
                    self.take(
                        stream,
                        Arrival {
                            peer,
                            local,
                            secure: false,
                        },
                    )
                    .await;
                }
                Err(error) => {
                    // Out of file descriptors, mostly: some become free as connections end.
                    tracing::warn!(%error, "a web connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// How long peers have to take their leave when the service stops.
const FAREWELL: Duration = Duration::from_secs(2);
