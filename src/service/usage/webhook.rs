//! Delivers the records of the spool to the webhook.

use crate::service::http_client;
use crate::service::usage::counters::UsageCounters;
use crate::service::usage::spool::Spool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Posts the oldest records until they are accepted, then the next ones. Never returns; abort the
/// task to end it.
pub(super) async fn deliver(
    url: String,
    spool: Arc<Mutex<Spool>>,
    added: Arc<Notify>,
    counters: Arc<UsageCounters>,
) {
    // During a handover the other process may deliver.
    while !matches!(lock(&spool).claim_delivery(), Ok(true)) {
        sleep(CLAIM_INTERVAL).await;
    }
    let mut retry = MIN_RETRY;
    loop {
        let oldest = lock(&spool).peek(BATCH);
        let (records, end) = match oldest {
            Ok((records, _)) if records.is_empty() => {
                added.notified().await;
                continue;
            }
            Ok(oldest) => oldest,
            Err(error) => {
                tracing::error!(%error, "cannot read the usage spool");
                sleep(MAX_RETRY).await;
                continue;
            }
        };
        let body = format!("[{}]", records.join(","));
        match http_client::post_json(&url, body.into_bytes(), TIMEOUT).await {
            Ok(status) if status.is_success() => {
                counters.count_delivered(records.len() as u64);
                retry = MIN_RETRY;
                if let Err(error) = lock(&spool).remove_until(end) {
                    tracing::error!(%error, "cannot write the usage spool");
                }
                continue;
            }
            Ok(status) => {
                let status = status.as_u16();
                tracing::warn!(status, "usage webhook refused records; trying again");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot reach the usage webhook; trying again");
            }
        }
        counters.count_webhook_failure();
        sleep(retry).await;
        retry = (retry * 2).min(MAX_RETRY);
    }
}

/// Locks the spool, even if a thread panicked while it held the lock.
pub(super) fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records of one request.
const BATCH: usize = 500;
/// Limit of one request.
const TIMEOUT: Duration = Duration::from_secs(10);
const CLAIM_INTERVAL: Duration = Duration::from_secs(1);
const MIN_RETRY: Duration = Duration::from_millis(250);
const MAX_RETRY: Duration = Duration::from_secs(60);
