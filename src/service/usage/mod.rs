//! Usage records for accounting: a JSON object when an allocation starts, at intervals while it
//! lives, and when it ends. Records go to a file, to a webhook, or to both.
//!
//! ```text
//!   shards ── AllocationRecord ──► bounded queue ──► run ──┬──► file, a line for each record
//!   Supervisor, at each interval: allocations ──►┘└─► spool on disk (bounded) ──► webhook, repeated until it answers 2xx
//! ```
//!
//! A shard never waits: if the queue is full, the record is counted as lost. While the webhook is
//! down, records stay in the spool, also over a restart. The webhook gets them in order, as JSON
//! arrays, each at least once; a repetition is recognized by its `number` and `id`.

mod counters;
mod record;
mod spool;
mod webhook;

pub use crate::service::usage::counters::UsageCounters;

use crate::relay::Supervisor;
use crate::service::usage::record::{UsageEvent, UsageRecord};
use crate::service::usage::spool::Spool;
use crate::turn::AllocationRecord;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, interval_at, timeout};

/// Where usage records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSettings {
    /// A file to which records are appended.
    pub file: Option<PathBuf>,
    /// An `http` or `https` URL to which arrays of records are posted.
    pub webhook: Option<String>,
    /// The directory of records that the webhook has not accepted yet.
    pub spool: PathBuf,
    /// The maximum size of the spool in bytes.
    pub spool_bytes: u64,
    /// The time between two records of an allocation that lives.
    pub interval: Duration,
}

impl UsageSettings {
    /// Returns true if records go anywhere.
    pub fn is_enabled(&self) -> bool {
        self.file.is_some() || self.webhook.is_some()
    }
}

/// Writes usage records until the last shard has stopped, then waits up to three seconds for the
/// webhook to accept what the spool holds. The rest stays in the spool for the next start.
///
/// # Errors
/// The spool cannot be opened. Later failures are logged and counted.
pub async fn run(
    settings: UsageSettings,
    relay: Weak<Supervisor>,
    mut records: mpsc::Receiver<AllocationRecord>,
    counters: Arc<UsageCounters>,
) -> std::io::Result<()> {
    let added = Arc::new(Notify::new());
    let opened = settings
        .webhook
        .as_ref()
        .map(|_| Spool::open(&settings.spool, settings.spool_bytes))
        .transpose();
    let spool = opened.inspect_err(|error| {
        let spool = settings.spool.display();
        tracing::error!(%spool, %error, "usage records are off: cannot open the spool");
    })?;
    let spool = spool.map(|spool| Arc::new(Mutex::new(spool)));
    let delivery = settings
        .webhook
        .clone()
        .zip(spool.clone())
        .map(|(url, spool)| {
            tokio::spawn(webhook::deliver(
                url,
                spool,
                added.clone(),
                counters.clone(),
            ))
        });
    let mut output = Output {
        file: settings.file.as_deref(),
        spool,
        added,
        counters,
        number: 0,
    };
    let mut updates = interval_at(Instant::now() + settings.interval, settings.interval);
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) if record.end_reason.is_some() => output.write(UsageEvent::End, &record),
                Some(record) => output.write(UsageEvent::Start, &record),
                None => break,
            },
            _ = updates.tick() => {
                let Some(relay) = relay.upgrade() else { continue };
                for record in relay.allocations().await {
                    output.write(UsageEvent::Update, &record);
                }
            }
        }
    }
    if let Some(delivery) = delivery {
        let _ = timeout(FINAL_DELIVERY, output.spool_is_empty()).await;
        delivery.abort();
    }
    Ok(())
}

struct Output<'a> {
    file: Option<&'a Path>,
    spool: Option<Arc<Mutex<Spool>>>,
    /// Notified when a record was added to the spool.
    added: Arc<Notify>,
    counters: Arc<UsageCounters>,
    /// The sequence number of the last record.
    number: u64,
}

impl Output<'_> {
    fn write(&mut self, event: UsageEvent, record: &AllocationRecord) {
        self.number += 1;
        let now = UNIX_EPOCH.elapsed().unwrap_or_default();
        let record = UsageRecord::new(event, record, now, self.number);
        let Ok(mut line) = serde_json::to_string(&record) else {
            return;
        };
        line.push('\n');
        if let Some(file) = self.file {
            // Opened anew for each record, so that the file can be rotated.
            let opened = OpenOptions::new().create(true).append(true).open(file);
            match opened.and_then(|mut file| file.write_all(line.as_bytes())) {
                Ok(()) => self.counters.count_written(),
                Err(error) => {
                    self.counters.count_lost();
                    let file = file.display();
                    tracing::error!(%file, %error, "usage record lost: cannot write the file");
                }
            }
        }
        if let Some(spool) = &self.spool {
            match webhook::lock(spool).push(&line) {
                Ok(true) => self.added.notify_one(),
                Ok(false) => self.counters.count_lost(),
                Err(error) => {
                    self.counters.count_lost();
                    tracing::error!(%error, "usage record lost: cannot write the spool");
                }
            }
        }
    }

    async fn spool_is_empty(&self) {
        let Some(spool) = &self.spool else { return };
        while matches!(webhook::lock(spool).is_empty(), Ok(false)) {
            tokio::time::sleep(POLL).await;
        }
    }
}

/// How long the webhook may take to accept the rest of the spool at the end.
const FINAL_DELIVERY: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_millis(20);
