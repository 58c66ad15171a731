//! LogSettings go to standard error, as lines or as objects; how much can change while the server runs.
//!
//! ```text
//!   shard, service ──line──► queue ──► a thread of its own ──► standard error
//! ```
//!
//! Whoever reads standard error may be slow or not read at all: then lines are lost, and packets are not.

use crate::config::schema::LogFormat;
use crate::config::{LogSettings, value};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// How much is logged, to be changed at will.
#[derive(Clone, Debug)]
pub struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Arc<Mutex<String>>,
}

/// Keeps the lines flowing; when it is dropped, those that wait are written first.
#[derive(Debug)]
pub struct LogGuard(LogQueue);

/// Starts logging.
pub fn start(logs: &LogSettings) -> (LogFilter, LogGuard) {
    let queue = LogQueue::new(io::stderr());
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&logs.level));
    let lines = fmt::layer()
        .with_writer(queue.clone())
        .with_ansi(io::stderr().is_terminal());
    let lines = if logs.format == LogFormat::Json {
        lines.json().flatten_event(true).boxed()
    } else {
        lines.boxed()
    };
    // Somebody who embeds the command line may log already.
    let _ = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    (
        LogFilter {
            handle,
            filter: Arc::new(Mutex::new(logs.level.clone())),
        },
        LogGuard(queue),
    )
}

impl LogFilter {
    /// LogSettings as much as the filter says from here on; one that is none changes nothing.
    pub fn set(&self, filter: &str) -> bool {
        let sound = value::log_filter(filter).is_ok();
        let set = sound
            && EnvFilter::try_new(filter).is_ok_and(|filter| self.handle.reload(filter).is_ok());
        if set {
            *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        }
        set
    }

    /// The filter.
    pub fn get(&self) -> String {
        self.filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.drain(PATIENCE);
    }
}

/// What waits to be written.
#[derive(Clone, Debug)]
struct LogQueue {
    waiting: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Tells that all before it has been written.
    Mark(SyncSender<()>),
}

impl LogQueue {
    /// A queue that a thread of its own writes to `to`.
    fn new(to: impl Write + Send + 'static) -> LogQueue {
        let (waiting, queued) = mpsc::sync_channel(LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        // Without the thread nothing is logged, which is no reason not to serve.
        let _ = std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || write(&queued, to, &counted));
        LogQueue { waiting, lost }
    }

    /// Waits until all has been written, but not for ever.
    fn drain(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let (written, told) = mpsc::sync_channel(1);
        let mut mark = Item::Mark(written);
        while let Err(TrySendError::Full(back)) = self.waiting.try_send(mark) {
            if Instant::now() >= end {
                return;
            }
            mark = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = told.recv_timeout(end.saturating_duration_since(Instant::now()));
    }
}

fn write(queued: &Receiver<Item>, mut to: impl Write, lost: &AtomicU64) {
    while let Ok(item) = queued.recv() {
        put(item, &mut to);
        queued.try_iter().for_each(|item| put(item, &mut to));
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => tracing::warn!(lines, "nobody read the log in time: lines are lost"),
        }
        // Whoever logs meanwhile need not wake this thread, which would take a shard longer than the line itself.
        std::thread::sleep(GATHER);
    }
}

fn put(item: Item, to: &mut impl Write) {
    match item {
        // Where nothing can be written, nothing can be said about it either.
        Item::Line(line) => {
            let _ = to.write_all(&line);
        }
        Item::Mark(told) => {
            let _ = told.send(());
        }
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = &'a LogQueue;

    fn make_writer(&'a self) -> &'a LogQueue {
        self
    }
}

impl Write for &LogQueue {
    /// Takes a whole line, or loses it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.waiting.try_send(Item::Line(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The most lines that wait.
const LINES: usize = 4096;
/// How late a line may be, so that many lines take one wake-up.
const GATHER: Duration = Duration::from_millis(5);
/// How long the last lines may take.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing before it is told to.
    struct Slow(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_holds_nobody_up_and_loses_lines() {
        let (go, wait) = mpsc::channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let queue = LogQueue::new(Slow(wait, read.clone()));
        for _ in 0..LINES + 10 {
            (&queue).write_all(b"a line\n").unwrap();
        }
        let lost = queue.lost.load(Ordering::Relaxed);
        // One may be in the writer's hands.
        assert!((9..=10).contains(&lost), "{lost}");
        drop(go);
        queue.drain(Duration::from_secs(20));
        assert_eq!(read.lock().unwrap().len(), (LINES + 10 - lost as usize) * 7);
    }
}
