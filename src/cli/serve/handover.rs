//! One server takes over from another on the same ports, by a UNIX socket between them.
//!
//! ```text
//!   the new one                    the old one
//!   connects ──────────────────▶   steps aside: keeps its clients, takes no others
//!            ◀──────────── ready
//!   listens on the same ports
//!   here ──────────────────────▶   leaves the ports, and drains
//!            ◀───────────── gone
//! ```

use crate::cli::serve::listeners::in_place;
use crate::relay::Supervisor;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// The server that runs already, and has stepped aside.
pub struct Predecessor(BufReader<UnixStream>);

impl Predecessor {
    /// Asks the server behind a socket to step aside; `None` when there is none.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn knock(path: Option<&Path>) -> Result<Option<Predecessor>, String> {
        let Some(path) = path else { return Ok(None) };
        let Ok(stream) = UnixStream::connect(path).await else {
            return Ok(None);
        };
        let mut stream = BufReader::new(stream);
        let why = match hear(&mut stream).await {
            Ok(word) if word == READY => return Ok(Some(Predecessor(stream))),
            Ok(why) => why,
            Err(error) => error.to_string(),
        };
        Err(format!(
            "the server at {} does not give way: {why}",
            path.display()
        ))
    }

    /// Tells it that its ports are listened on, and waits until it has left them.
    pub async fn relieve(mut self) {
        let left = async {
            say(&mut self.0, HERE).await?;
            hear(&mut self.0).await
        };
        match left.await {
            Ok(word) if word == GONE => tracing::info!("taken over from the server that was here"),
            Ok(word) => {
                tracing::warn!(%word, "the server that was here may not have left its ports")
            }
            Err(error) => {
                tracing::warn!(%error, "the server that was here may not have left its ports")
            }
        }
    }
}

/// Opens the socket at which the next server knocks, in place of the last server's.
///
/// # Errors
/// A sentence that says what to write instead.
pub fn open(path: Option<&Path>) -> Result<Option<UnixListener>, String> {
    let Some(path) = path else { return Ok(None) };
    let opened = || {
        let door = in_place(path)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
        Ok(door)
    };
    let named = |error: io::Error| {
        format!(
            "{} cannot be opened for --handover: {error}",
            path.display()
        )
    };
    opened().map(Some).map_err(named)
}

/// The next server that knocks.
pub async fn next(door: &Option<UnixListener>) -> UnixStream {
    let Some(door) = door else {
        return std::future::pending().await;
    };
    loop {
        match door.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Leaves the ports to who knocked; when this succeeds, there is another server.
///
/// # Errors
/// Somebody else's process, too few sockets, or a server that did not come up; then everything is as before.
pub async fn give_way(stream: UnixStream, relay: &Supervisor) -> io::Result<()> {
    let own = std::fs::metadata("/proc/self")?.uid();
    let mut stream = BufReader::new(stream);
    if stream.get_ref().peer_cred()?.uid() != own {
        say(&mut stream, "it runs as another user").await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if let Err(error) = relay.prepare_handover().await {
        say(&mut stream, &error.to_string()).await?;
        return Err(error);
    }
    let came = async {
        say(&mut stream, READY).await?;
        hear(&mut stream).await
    };
    match came.await {
        Ok(word) if word == HERE => {
            relay.commit_handover().await;
            // It is there, whether it hears this or not.
            let _ = say(&mut stream, GONE).await;
            Ok(())
        }
        other => {
            relay.abort_handover().await;
            Err(other
                .err()
                .unwrap_or_else(|| io::Error::other("the next server did not come up")))
        }
    }
}

async fn say(stream: &mut BufReader<UnixStream>, word: &str) -> io::Result<()> {
    stream.write_all(format!("{word}\n").as_bytes()).await?;
    stream.flush().await
}

async fn hear(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    match timeout(PATIENCE, stream.read_line(&mut line)).await {
        Ok(read) => read?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    Ok(line.trim_end().to_owned())
}

const READY: &str = "ready";
const HERE: &str = "here";
const GONE: &str = "gone";
/// How long the other one may take: a new one may have to ask what it is called from outside.
const PATIENCE: Duration = Duration::from_secs(15);
/// After a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);
