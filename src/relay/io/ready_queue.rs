//! Which sources of a shard have something: a queue that wakers fill, so that nobody looks at a source that has nothing.

use crate::turn::ConnectionId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

/// One source of a shard, by its place in the shard's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A UDP listener.
    Udp(u32),
    /// A TCP listener.
    Tcp(u32),
    /// A relay socket.
    Relay(u32),
    /// A client's connection.
    Conn(u32),
    /// A relayed transport address that listens for peers' connections.
    RelayTcp(u32),
    /// A connection on its way to a peer.
    Dial(ConnectionId),
    /// A client's connection joined to a peer's.
    Pair(u32),
}

/// The queue of one shard. Its lock is never contended: wakers run on the shard's own thread, when the runtime polls.
#[derive(Debug, Default)]
pub(crate) struct Ready {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sources: Vec<Source>,
    task: Option<Waker>,
}

impl Ready {
    /// A waker that enters `source`.
    pub(crate) fn waker(self: &Arc<Ready>, source: Source) -> Waker {
        Waker::from(Arc::new(Entry {
            source,
            ready: self.clone(),
        }))
    }

    /// Enters a source that is known to have more.
    pub(crate) fn push(&self, source: Source) {
        self.lock().sources.push(source);
    }

    /// Moves all entered sources into `into`. When there are none, remembers whom to wake for the next.
    pub(crate) fn take(&self, into: &mut Vec<Source>, task: Option<&Waker>) {
        let mut state = self.lock();
        into.append(&mut state.sources);
        if let (true, Some(task)) = (into.is_empty(), task) {
            match &mut state.task {
                Some(known) => known.clone_from(task),
                none => *none = Some(task.clone()),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entry {
    source: Source,
    ready: Arc<Ready>,
}

impl Wake for Entry {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.ready.lock();
        state.sources.push(self.source);
        let task = state.task.take();
        drop(state);
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_is_woken_once_for_all_that_becomes_ready_before_it_runs() {
        let ready = Arc::new(Ready::default());
        let count = Arc::new(Count::default());
        let task = Waker::from(count.clone());
        let mut taken = Vec::new();
        ready.take(&mut taken, Some(&task));
        ready.waker(Source::Relay(7)).wake();
        ready.waker(Source::Conn(1)).wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        ready.take(&mut taken, Some(&task));
        assert_eq!(taken, [Source::Relay(7), Source::Conn(1)]);
        ready.waker(Source::Udp(0)).wake();
        assert_eq!(
            count.0.load(Ordering::Relaxed),
            1,
            "it had work and was not waiting"
        );
    }
}
