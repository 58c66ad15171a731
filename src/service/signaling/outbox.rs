//! What waits for one peer: a bounded queue that outlives the peer's connection for a grace, so that it can resume.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::signaling::refusal::Refusal;

/// The queue to one peer. Whoever pushes never waits; whoever reads shows the number it was given by [`Outbox::take_over`].
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    status: watch::Sender<Status>,
}

/// Who reads, and whether the queue has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Status {
    reader: u64,
    ended: Option<Refusal>,
}

struct Queue {
    messages: VecDeque<Utf8Bytes>,
    octets: usize,
    most_messages: usize,
    most_octets: usize,
}

impl Outbox {
    /// An empty queue for at most `most_messages` and `most_octets`.
    pub fn new(most_messages: usize, most_octets: usize) -> Outbox {
        Outbox {
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                octets: 0,
                most_messages,
                most_octets,
            }),
            filled: Notify::new(),
            status: watch::Sender::new(Status {
                reader: 0,
                ended: None,
            }),
        }
    }

    /// Adds a message; false if there was no room for it, which means that the peer must be dropped.
    pub fn push(&self, message: Utf8Bytes) -> bool {
        let mut queue = self.queue();
        let octets = queue.octets.saturating_add(message.len());
        if queue.messages.len() >= queue.most_messages || octets > queue.most_octets {
            return false;
        }
        queue.octets = octets;
        queue.messages.push_back(message);
        drop(queue);
        self.filled.notify_one();
        true
    }

    /// Makes the caller the one reader: the reader before it, if any, is told `replaced`.
    pub fn take_over(&self) -> u64 {
        let mut reader = 0;
        self.status.send_modify(|status| {
            status.reader += 1;
            reader = status.reader;
        });
        self.filled.notify_one();
        reader
    }

    /// Whether `reader` still is the reader.
    pub fn is_read_by(&self, reader: u64) -> bool {
        self.status.borrow().reader == reader
    }

    /// Ends the queue for good: its reader is told why, and what waited is let go.
    pub fn end(&self, why: Refusal) {
        {
            let mut queue = self.queue();
            queue.messages.clear();
            queue.octets = 0;
        }
        self.status.send_modify(|status| status.ended = Some(why));
    }

    /// Waits until `reader` has to stop, and says why.
    pub async fn ended(&self, reader: u64) -> Refusal {
        let mut status = self.status.subscribe();
        let over = status
            .wait_for(|status| status.ended.is_some() || status.reader != reader)
            .await;
        over.ok()
            .and_then(|status| status.ended)
            .unwrap_or(Refusal::Replaced)
    }

    /// Waits for the oldest message and leaves it in place: [`Outbox::sent`] takes it away once it is written, so
    /// that a message which was cut off is there again for a peer that resumes.
    pub async fn next(&self) -> Utf8Bytes {
        loop {
            let filled = self.filled.notified();
            if let Some(message) = self.queue().messages.front() {
                return message.clone();
            }
            filled.await;
        }
    }

    /// Takes away the oldest message, which `reader` has written.
    pub fn sent(&self, reader: u64) {
        let mut queue = self.queue();
        if self.is_read_by(reader)
            && let Some(message) = queue.messages.pop_front()
        {
            queue.octets = queue.octets.saturating_sub(message.len());
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_octets_are_both_bounded() {
        let outbox = Outbox::new(2, 5);
        assert!(outbox.push("abc".into()));
        assert!(!outbox.push("def".into()), "six octets");
        assert!(outbox.push("d".into()));
        assert!(!outbox.push("e".into()), "three messages");
    }

    #[tokio::test]
    async fn what_was_not_written_is_there_for_the_next_reader() {
        let outbox = Outbox::new(8, 64);
        let first = outbox.take_over();
        assert!(outbox.push("a".into()) && outbox.push("b".into()));
        assert_eq!(outbox.next().await.as_str(), "a");
        outbox.sent(first);
        assert_eq!(outbox.next().await.as_str(), "b");
        let second = outbox.take_over();
        assert_eq!(outbox.ended(first).await, Refusal::Replaced);
        outbox.sent(first);
        assert_eq!(outbox.next().await.as_str(), "b");
        outbox.sent(second);
        outbox.end(Refusal::Slow);
        assert_eq!(outbox.ended(second).await, Refusal::Slow);
    }
}
