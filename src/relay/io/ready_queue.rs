//! Sources of a shard that are ready: wakers append to a queue, so that the event loop never polls
//! an idle source.

use crate::relay::io::slab::Key;
use crate::turn::{ConnectionId, Instant};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

/// A socket, connection or dial of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// By the number of the listener.
    UdpListener(u32),
    /// By the number of the listener.
    TcpListener(u32),
    /// A client's TCP or TLS connection.
    Connection(Key),
    /// By the number of the relayed address.
    UdpRelay(u32),
    /// A relayed address that listens for connections of peers, by its number.
    TcpRelay(u32),
    /// A connection to a peer that is being established.
    Dial(ConnectionId),
    /// A client's connection spliced with a peer's.
    DataConnection(ConnectionId),
}

/// Where wakers append. The mutex is not contended: wakers run on the shard's own thread, when the
/// runtime polls.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    state: Mutex<ReadyState>,
}

#[derive(Debug, Default)]
struct ReadyState {
    sources: Vec<Source>,
    task: Option<Waker>,
}

impl ReadyQueue {
    /// A waker that appends `source` and wakes the event loop.
    pub(crate) fn waker(self: &Arc<ReadyQueue>, source: Source) -> Waker {
        Waker::from(Arc::new(SourceWaker {
            source,
            queue: self.clone(),
        }))
    }

    /// Appends a source that is known to be ready.
    pub(crate) fn push(&self, source: Source) {
        self.lock().sources.push(source);
    }

    /// Moves all sources into `due`. If there are none, the next source wakes `task`.
    fn take(&self, due: &mut VecDeque<Source>, task: Option<&Waker>) {
        let mut state = self.lock();
        due.extend(state.sources.drain(..));
        if let (true, Some(task)) = (due.is_empty(), task) {
            match &mut state.task {
                Some(known) => known.clone_from(task),
                none => *none = Some(task.clone()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, ReadyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct SourceWaker {
    source: Source,
    queue: Arc<ReadyQueue>,
}

impl Wake for SourceWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.queue.lock();
        state.sources.push(self.source);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// The schedule of the event loop: which sources are served in this iteration, in the next, and
/// after a failure.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    ready: Arc<ReadyQueue>,
    due: VecDeque<Source>,
    /// Sources that had more than one iteration takes. They go behind all others, so that no source
    /// starves the rest.
    unfinished: Vec<Source>,
    /// Sources whose receive or accept failed because the system lacked a resource.
    failed: Vec<Source>,
    retry_at: Option<Instant>,
}

impl Sources {
    pub(crate) fn ready_queue(&self) -> &Arc<ReadyQueue> {
        &self.ready
    }

    /// Collects the sources that became ready. If there are none, the next one wakes `task`.
    pub(crate) fn collect(&mut self, task: Option<&Waker>) {
        self.ready.take(&mut self.due, task);
    }

    pub(crate) fn push(&mut self, source: Source) {
        self.due.push_back(source);
    }

    pub(crate) fn push_unfinished(&mut self, source: Source) {
        self.unfinished.push(source);
    }

    /// Serves a source again after [`RETRY_INTERVAL`].
    pub(crate) fn push_failed(&mut self, source: Source, now: Instant) {
        self.failed.push(source);
        self.retry_at.get_or_insert(now + RETRY_INTERVAL);
    }

    pub(crate) fn pop(&mut self) -> Option<Source> {
        self.due.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    pub(crate) fn has_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Appends the unfinished sources to the due ones.
    pub(crate) fn resume_unfinished(&mut self) {
        self.due.extend(self.unfinished.drain(..));
    }

    /// Makes failed sources unfinished ones once their interval has passed.
    pub(crate) fn retry_failed(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.unfinished.append(&mut self.failed);
        }
    }

    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retry_at
    }
}

/// Delay before a source whose receive or accept failed is read again.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct WakeCount(AtomicU32);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_event_loop_is_woken_once_for_all_sources_that_become_ready_before_it_runs() {
        let mut sources = Sources::default();
        let ready = sources.ready_queue().clone();
        let count = Arc::new(WakeCount::default());
        let task = Waker::from(count.clone());
        sources.collect(Some(&task));
        ready.waker(Source::UdpRelay(7)).wake();
        ready.waker(Source::UdpListener(1)).wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        sources.collect(Some(&task));
        assert_eq!(sources.pop(), Some(Source::UdpRelay(7)));
        assert_eq!(sources.pop(), Some(Source::UdpListener(1)));
        ready.waker(Source::UdpListener(0)).wake();
        let woken = count.0.load(Ordering::Relaxed);
        assert_eq!(woken, 1, "the loop had sources and was not waiting");
    }

    #[test]
    fn failed_sources_are_retried_after_the_interval() {
        let mut sources = Sources::default();
        sources.push_failed(Source::TcpListener(0), Instant(0));
        sources.push_failed(Source::TcpListener(1), Instant(1));
        assert_eq!(sources.next_retry(), Some(Instant(0) + RETRY_INTERVAL));
        sources.retry_failed(Instant(1));
        assert!(!sources.has_unfinished());
        sources.retry_failed(Instant(0) + RETRY_INTERVAL);
        sources.resume_unfinished();
        assert_eq!(sources.pop(), Some(Source::TcpListener(0)));
        assert_eq!(sources.pop(), Some(Source::TcpListener(1)));
        assert_eq!((sources.pop(), sources.next_retry()), (None, None));
    }
}
