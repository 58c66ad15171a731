//! Handover: a new server process takes over the ports of a running one, and no call is dropped.
//! The two processes exchange messages over a UNIX socket, one word per line.
//!
//! ```text
//!   new process                     running process
//!   connects ───────────────────►   prepares: its shards keep their clients and accept no new ones
//!            ◄─────────────ready
//!   binds the same ports
//!   here     ───────────────────►   commits: closes its listeners and drains
//!            ◄──────────────gone
//! ```
//!
//! Both processes have the ports bound between `ready` and `gone`, so that no packet of a new
//! client is lost. If the new process fails or does not respond in time, the running one aborts
//! the handover and serves as before.

use crate::cli::serve::error::HandoverError;
use crate::cli::serve::listeners::replace_socket;
use crate::relay::Supervisor;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// A running server that has prepared to hand over.
pub(super) struct Predecessor(BufReader<UnixStream>);

impl Predecessor {
    /// Asks the server behind a socket to prepare; `None` if there is none.
    pub(super) async fn connect(path: Option<&Path>) -> Result<Option<Predecessor>, HandoverError> {
        let Some(path) = path else { return Ok(None) };
        let Ok(stream) = UnixStream::connect(path).await else {
            return Ok(None);
        };
        let mut stream = BufReader::new(stream);
        match receive_line(&mut stream).await {
            Ok(line) if line == READY => Ok(Some(Predecessor(stream))),
            Ok(reason) => Err(HandoverError::Refused {
                path: path.into(),
                reason,
            }),
            Err(error) => Err(HandoverError::NoAnswer {
                path: path.into(),
                error,
            }),
        }
    }

    /// Reports that the ports are bound, and waits until the other server has closed its listeners.
    pub(super) async fn complete(mut self) {
        let answer = async {
            send_line(&mut self.0, BOUND).await?;
            receive_line(&mut self.0).await
        };
        match answer.await {
            Ok(line) if line == COMMITTED => tracing::info!("took over from the running server"),
            Ok(answer) => {
                tracing::warn!(%answer, "the server that handed over may still listen")
            }
            Err(error) => tracing::warn!(%error, "the server that handed over may still listen"),
        }
    }
}

/// Opens the socket for the next server, replacing the socket of the last one.
pub(super) fn open_socket(path: Option<&Path>) -> Result<Option<UnixListener>, HandoverError> {
    let Some(path) = path else { return Ok(None) };
    let socket = replace_socket(path, 0o600);
    socket.map(Some).map_err(|error| HandoverError::Socket {
        path: path.into(),
        error,
    })
}

/// Waits for the next server to connect. Without a socket it waits forever.
pub(super) async fn accept(socket: &Option<UnixListener>) -> UnixStream {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    loop {
        match socket.accept().await {
            Ok((stream, _)) => return stream,
            // Without a pause, an error that persists, such as EMFILE, would spin.
            Err(_) => tokio::time::sleep(ACCEPT_RETRY_PAUSE).await,
        }
    }
}

/// Hands over to the server that connected.
///
/// # Errors
/// A process of another user, a relay that cannot prepare, or a new server that did not start. The
/// relay then serves as before.
pub(super) async fn hand_over(stream: UnixStream, relay: &Supervisor) -> io::Result<()> {
    let own_user = std::fs::metadata("/proc/self")?.uid();
    let mut stream = BufReader::new(stream);
    if stream.get_ref().peer_cred()?.uid() != own_user {
        send_line(&mut stream, "it runs as another user").await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if let Err(error) = relay.prepare_handover().await {
        send_line(&mut stream, &error.to_string()).await?;
        return Err(error);
    }
    let answer = async {
        send_line(&mut stream, READY).await?;
        receive_line(&mut stream).await
    };
    let error = match answer.await {
        Ok(line) if line == BOUND => {
            relay.commit_handover().await;
            // The new server listens even if it does not receive this.
            let _ = send_line(&mut stream, COMMITTED).await;
            return Ok(());
        }
        Ok(_) => io::Error::other("the new server did not start"),
        Err(error) => error,
    };
    relay.abort_handover().await;
    Err(error)
}

async fn send_line(stream: &mut BufReader<UnixStream>, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    stream.flush().await
}

async fn receive_line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    match timeout(ANSWER_TIMEOUT, stream.read_line(&mut line)).await {
        Ok(read) => read?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    Ok(line.trim_end().to_owned())
}

const READY: &str = "ready";
const BOUND: &str = "here";
const COMMITTED: &str = "gone";
/// Long enough for a new server that has to discover its public address first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(100);
