//! Who used how much: a JSON object for each allocation's start, every few minutes of its life, and its end, into a file and to
//! a webhook.
//!
//! ```text
//!   shards ──records──► UsageSender (bounded, never waited for) ──► run ──► file: a line each
//!   Supervisor ─ every interval: who lives ────────────────────►│
//!                                                               └────► spool on disk (bounded) ──► webhook, until it says 2xx
//! ```
//!
//! A webhook that is down loses nothing while the spool has room; what it gets is in order, at least once, as a JSON array, and
//! each line has a number by which it can be told from its repetition.

mod counts;
mod line;
mod spool;
mod webhook;

pub use crate::service::usage::counts::Counts;
pub use crate::service::usage::line::Line;

use crate::relay::Supervisor;
use crate::service::usage::line::Event;
use crate::service::usage::spool::Spool;
use crate::turn::AllocationRecord;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};

/// Where usage goes. Plain data, resolved elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A file that lines are appended to.
    pub file: Option<PathBuf>,
    /// An `http` or `https` URL that arrays of lines are posted to.
    pub webhook: Option<String>,
    /// Where lines wait for the webhook.
    pub spool: PathBuf,
    /// How many octets of them may.
    pub spool_octets: u64,
    /// Between two lines of an allocation that lives.
    pub interval: Duration,
}

impl Settings {
    /// Whether anybody wants to know.
    pub fn wanted(&self) -> bool {
        self.file.is_some() || self.webhook.is_some()
    }
}

/// Writes lines until the last shard is gone, and then until the webhook has them all or `FAREWELL` is over. What it does not
/// have by then stays in the spool for the next start.
///
/// # Errors
/// A spool that cannot be opened; later failures are logged and counted.
pub async fn run(
    settings: Settings,
    relay: Weak<Supervisor>,
    mut records: mpsc::Receiver<AllocationRecord>,
    counts: Arc<Counts>,
) -> std::io::Result<()> {
    let more = Arc::new(Notify::new());
    let opened = settings
        .webhook
        .as_ref()
        .map(|_| Spool::open(&settings.spool, settings.spool_octets))
        .transpose();
    let spool = opened.inspect_err(|error| {
        tracing::error!(spool = %settings.spool.display(), %error, "no usage is told: the spool cannot be opened");
    })?;
    let spool = spool.map(|spool| Arc::new(std::sync::Mutex::new(spool)));
    let poster = settings
        .webhook
        .clone()
        .zip(spool.clone())
        .map(|(url, spool)| {
            tokio::spawn(webhook::deliver(url, spool, more.clone(), counts.clone()))
        });
    let mut out = Out {
        settings: &settings,
        spool,
        more,
        counts: &counts,
        number: 0,
    };
    let mut interval = tokio::time::interval_at(
        tokio::time::Instant::now() + settings.interval,
        settings.interval,
    );
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) => out.write(if record.end_reason.is_some() { Event::End } else { Event::Start }, &record),
                None => break,
            },
            _ = interval.tick() => {
                let Some(relay) = relay.upgrade() else { continue };
                for record in relay.allocations().await {
                    out.write(Event::Update, &record);
                }
            }
        }
    }
    if let Some(poster) = poster {
        let spool = out.spool.clone();
        let emptied = async {
            while spool
                .as_ref()
                .is_some_and(|spool| !webhook::lock(spool).is_empty())
            {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, emptied).await;
        poster.abort();
    }
    Ok(())
}

struct Out<'a> {
    settings: &'a Settings,
    spool: Option<Arc<std::sync::Mutex<Spool>>>,
    more: Arc<Notify>,
    counts: &'a Counts,
    number: u64,
}

impl Out<'_> {
    fn write(&mut self, event: Event, record: &AllocationRecord) {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.number += 1;
        let line = Line::new(event, record, unix, self.number);
        let Ok(mut text) = serde_json::to_string(&line) else {
            return;
        };
        text.push('\n');
        if let Some(file) = &self.settings.file {
            let opened = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(file);
            match opened.and_then(|mut file| file.write_all(text.as_bytes())) {
                Ok(()) => self.counts.written(),
                Err(error) => {
                    self.counts.lost();
                    tracing::error!(file = %file.display(), %error, "usage could not be written");
                }
            }
        }
        if let Some(spool) = &self.spool {
            match webhook::lock(spool).push(&text) {
                Ok(true) => self.more.notify_one(),
                Ok(false) => self.counts.lost(),
                Err(error) => {
                    self.counts.lost();
                    tracing::error!(%error, "usage could not be spooled");
                }
            }
        }
    }
}

/// How long the webhook may take to get the rest when the server ends.
const FAREWELL: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);
