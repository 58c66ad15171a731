//! Logs go to standard error, as lines or as objects; how much can change while the server runs.

use crate::config::Logs;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How much is logged, to be changed at will.
#[derive(Clone, Debug)]
pub struct Level {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Arc<Mutex<String>>,
}

/// Starts logging.
pub fn start(logs: &Logs) -> Level {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&logs.level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = if logs.json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    // Somebody who embeds the command line may log already.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Level { handle, filter: Arc::new(Mutex::new(logs.level.clone())) }
}

impl Level {
    /// Logs as much as the filter says from here on; one that is none changes nothing.
    pub fn set(&self, filter: &str) -> bool {
        let set = EnvFilter::try_new(filter).is_ok_and(|filter| self.handle.reload(filter).is_ok());
        if set {
            *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        }
        set
    }

    /// The filter.
    pub fn get(&self) -> String {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
