//! Logs go to standard error, as lines or as objects.

use crate::config::Logs;
use std::io::IsTerminal;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Starts logging.
pub fn start(logs: &Logs) {
    let filter = EnvFilter::new(&logs.level);
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = if logs.json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    // Somebody who embeds the command line may log already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
