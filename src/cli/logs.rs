//! The log on standard error: lines of text or JSON, with a filter that can change while the server
//! runs.
//!
//! ```text
//!   shards, services ──line──► bounded queue ──► log thread ──► standard error
//! ```
//!
//! A slow or blocked reader of standard error must not delay packets: if the queue is full, lines
//! are dropped and counted.

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

/// The filter of the log.
#[derive(Clone, Debug)]
pub(super) struct LogFilter {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: Arc<Mutex<String>>,
}

/// Writes the queued lines when it is dropped.
#[derive(Debug)]
pub(super) struct LogGuard(LogQueue);

/// Starts logging.
pub(super) fn start(logs: &LogSettings) -> (LogFilter, LogGuard) {
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
    // Fails if a program that embeds the command line has installed a subscriber.
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
    /// Replaces the filter. Returns false, and changes nothing, if it is invalid.
    pub(super) fn set(&self, filter: &str) -> bool {
        let is_set = value::log_filter(filter).is_ok()
            && EnvFilter::try_new(filter).is_ok_and(|filter| self.handle.reload(filter).is_ok());
        if is_set {
            *self.filter.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        }
        is_set
    }

    pub(super) fn get(&self) -> String {
        self.filter
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.0.flush(FLUSH_TIMEOUT);
    }
}

#[derive(Clone, Debug)]
struct LogQueue {
    sender: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    /// Acknowledged when all lines before it have been written.
    Flush(SyncSender<()>),
}

impl LogQueue {
    /// Starts the thread that writes the queue to `output`.
    fn new(output: impl Write + Send + 'static) -> LogQueue {
        let (sender, receiver) = mpsc::sync_channel(CAPACITY);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        // A server without a log is better than none, so a failure is ignored.
        let _ = std::thread::Builder::new()
            .name("logs".into())
            .spawn(move || run(&receiver, output, &counter));
        LogQueue { sender, dropped }
    }

    /// Waits until all queued lines have been written, at most for `limit`.
    fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let (sender, flushed) = mpsc::sync_channel(1);
        let mut request = Item::Flush(sender);
        while let Err(TrySendError::Full(returned)) = self.sender.try_send(request) {
            if Instant::now() >= deadline {
                return;
            }
            request = returned;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = flushed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

fn run(receiver: &Receiver<Item>, mut output: impl Write, dropped: &AtomicU64) {
    while let Ok(item) = receiver.recv() {
        write_item(item, &mut output);
        receiver
            .try_iter()
            .for_each(|item| write_item(item, &mut output));
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => tracing::warn!(
                lines,
                "log lines dropped: standard error was not read in time"
            ),
        }
        // A send to a waiting receiver wakes its thread, which costs a shard more than the line
        // itself. Meanwhile sends only queue.
        std::thread::sleep(BATCH_INTERVAL);
    }
}

fn write_item(item: Item, output: &mut impl Write) {
    match item {
        // An error of standard error cannot be reported anywhere.
        Item::Line(line) => {
            let _ = output.write_all(&line);
        }
        Item::Flush(flushed) => {
            let _ = flushed.send(());
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
    /// Queues a whole line or drops it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.sender.try_send(Item::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// In lines.
const CAPACITY: usize = 4096;
/// Longest delay of a line. All lines of that time take one wake-up.
const BATCH_INTERVAL: Duration = Duration::from_millis(5);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks each write until the sender is dropped.
    struct BlockedOutput(Receiver<()>, Arc<Mutex<Vec<u8>>>);

    impl Write for BlockedOutput {
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
    fn a_full_queue_drops_lines_and_does_not_block() {
        let (go, wait) = mpsc::channel();
        let read = Arc::new(Mutex::new(Vec::new()));
        let queue = LogQueue::new(BlockedOutput(wait, read.clone()));
        for _ in 0..CAPACITY + 10 {
            (&queue).write_all(b"a line\n").unwrap();
        }
        let dropped = queue.dropped.load(Ordering::Relaxed);
        // The log thread may have taken one line already.
        assert!((9..=10).contains(&dropped), "{dropped}");
        drop(go);
        queue.flush(Duration::from_secs(20));
        assert_eq!(
            read.lock().unwrap().len(),
            (CAPACITY + 10 - dropped as usize) * 7
        );
    }
}
