//! Carries what waits in the spool to the webhook, as long as it takes.

use crate::service::outbound;
use crate::service::usage::counts::Counts;
use crate::service::usage::spool::Spool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Posts the oldest lines again and again until they are taken, then the next. It ends when it is aborted.
pub async fn deliver(
    url: String,
    spool: Arc<Mutex<Spool>>,
    more: Arc<Notify>,
    counts: Arc<Counts>,
) {
    let mut pause = SHORTEST;
    loop {
        let waiting = lock(&spool).peek(LINES);
        let (lines, end) = match waiting {
            Ok((lines, _)) if lines.is_empty() => {
                more.notified().await;
                continue;
            }
            Ok(waiting) => waiting,
            Err(error) => {
                tracing::error!(%error, "the usage spool cannot be read");
                tokio::time::sleep(LONGEST).await;
                continue;
            }
        };
        let body = format!("[{}]", lines.join(","));
        match outbound::post_json(&url, body.into_bytes(), PATIENCE).await {
            Ok(200..=299) => {
                counts.delivered(lines.len() as u64);
                pause = SHORTEST;
                if let Err(error) = lock(&spool).take(end) {
                    tracing::error!(%error, "the usage spool cannot be written");
                }
                continue;
            }
            Ok(status) => tracing::warn!(
                status,
                "the usage webhook does not take lines; trying again"
            ),
            Err(error) => {
                tracing::warn!(%error, "the usage webhook cannot be reached; trying again")
            }
        }
        counts.failed();
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

/// The spool, whoever failed while holding it.
pub fn lock(spool: &Mutex<Spool>) -> MutexGuard<'_, Spool> {
    spool.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lines of one post.
const LINES: usize = 500;
/// How long a post may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries, at first and at most.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(60);
