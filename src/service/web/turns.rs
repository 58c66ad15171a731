//! How many HTTP connections are served at once, wherever they came in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The turns that are taken now. A semaphore would keep the number that it began with; this follows a reload.
#[derive(Default)]
pub struct Turns {
    taken: AtomicUsize,
    freed: Notify,
}

/// One connection's turn, until this is dropped.
pub struct Turn(Arc<Turns>);

impl Turns {
    /// Waits until fewer than `most` are taken, asked anew whenever one becomes free, and takes one.
    pub async fn take(self: &Arc<Turns>, most: impl Fn() -> usize) -> Turn {
        loop {
            let freed = self.freed.notified();
            let more = |taken| (taken < most()).then_some(taken + 1);
            if self
                .taken
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
                .is_ok()
            {
                return Turn(self.clone());
            }
            freed.await;
        }
    }

    /// There may be more turns than before: who waits looks again.
    pub fn look_again(&self) {
        self.freed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn who_is_too_many_waits_for_a_turn_or_a_wider_door() {
        let turns = Arc::new(Turns::default());
        let first = turns.take(|| 1).await;
        let most = AtomicUsize::new(1);
        let mut second = Box::pin(turns.take(|| most.load(Ordering::Relaxed)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        let second = second.now_or_never().expect("the turn that was given back");
        let mut third = Box::pin(turns.take(|| most.load(Ordering::Relaxed)));
        assert!(third.as_mut().now_or_never().is_none());
        most.store(2, Ordering::Relaxed);
        turns.look_again();
        assert!(third.now_or_never().is_some());
        drop(second);
    }
}
