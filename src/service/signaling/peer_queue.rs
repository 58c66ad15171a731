//! The messages that wait for one peer: a bounded queue that outlives the peer's connection, so
//! that the peer can resume.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::service::signaling::refusal::Refusal;

/// The queue to one peer. A sender never waits. Each connection of the peer reads under the number
/// that [`PeerQueue::take_over`] gave it; a newer connection has a higher number.
pub struct PeerQueue {
    messages: Mutex<Messages>,
    not_empty: Notify,
    status: watch::Sender<QueueStatus>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct QueueStatus {
    reader: u64,
    ended: Option<Refusal>,
}

struct Messages {
    queue: VecDeque<Utf8Bytes>,
    octets: usize,
    max_messages: usize,
    max_octets: usize,
}

impl PeerQueue {
    /// An empty queue for at most `max_messages` and `max_octets`.
    pub fn new(max_messages: usize, max_octets: usize) -> PeerQueue {
        PeerQueue {
            messages: Mutex::new(Messages {
                queue: VecDeque::new(),
                octets: 0,
                max_messages,
                max_octets,
            }),
            not_empty: Notify::new(),
            status: watch::Sender::new(QueueStatus {
                reader: 0,
                ended: None,
            }),
        }
    }

    /// Appends a message. Returns false if the queue is full; the caller then removes the peer.
    pub fn push(&self, message: Utf8Bytes) -> bool {
        let mut messages = self.lock();
        let octets = messages.octets.saturating_add(message.len());
        if messages.queue.len() >= messages.max_messages || octets > messages.max_octets {
            return false;
        }
        messages.octets = octets;
        messages.queue.push_back(message);
        drop(messages);
        self.not_empty.notify_one();
        true
    }

    /// Makes the caller the only reader and ends the previous one with `replaced`.
    pub fn take_over(&self) -> u64 {
        let mut reader = 0;
        self.status.send_modify(|status| {
            status.reader += 1;
            reader = status.reader;
        });
        self.not_empty.notify_one();
        reader
    }

    /// Returns true if no newer connection has taken over from `reader`.
    pub fn is_read_by(&self, reader: u64) -> bool {
        self.status.borrow().reader == reader
    }

    /// Drops all messages and ends the reader with `reason`, for good.
    pub fn end(&self, reason: Refusal) {
        {
            let mut messages = self.lock();
            messages.queue.clear();
            messages.octets = 0;
        }
        self.status
            .send_modify(|status| status.ended = Some(reason));
    }

    /// Waits until `reader` must stop, and returns the reason.
    pub async fn ended(&self, reader: u64) -> Refusal {
        let mut status = self.status.subscribe();
        let status = status
            .wait_for(|status| status.ended.is_some() || status.reader != reader)
            .await;
        status
            .ok()
            .and_then(|status| status.ended)
            .unwrap_or(Refusal::Replaced)
    }

    /// Waits for the oldest message and returns it without removing it. [`PeerQueue::pop`] removes
    /// it after it was written, so that a peer whose connection broke in the middle of a message
    /// receives it again when it resumes.
    pub async fn peek(&self) -> Utf8Bytes {
        loop {
            let not_empty = self.not_empty.notified();
            if let Some(message) = self.lock().queue.front() {
                return message.clone();
            }
            not_empty.await;
        }
    }

    /// Removes the oldest message, which `reader` has written.
    pub fn pop(&self, reader: u64) {
        let mut messages = self.lock();
        if self.is_read_by(reader)
            && let Some(message) = messages.queue.pop_front()
        {
            messages.octets = messages.octets.saturating_sub(message.len());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_octets_are_both_limited() {
        let queue = PeerQueue::new(2, 5);
        assert!(queue.push("abc".into()));
        assert!(!queue.push("def".into()), "six octets");
        assert!(queue.push("d".into()));
        assert!(!queue.push("e".into()), "three messages");
    }

    #[tokio::test]
    async fn unwritten_messages_stay_for_the_next_reader() {
        let queue = PeerQueue::new(8, 64);
        let first = queue.take_over();
        assert!(queue.push("a".into()) && queue.push("b".into()));
        assert_eq!(queue.peek().await.as_str(), "a");
        queue.pop(first);
        assert_eq!(queue.peek().await.as_str(), "b");
        let second = queue.take_over();
        assert_eq!(queue.ended(first).await, Refusal::Replaced);
        queue.pop(first);
        assert_eq!(queue.peek().await.as_str(), "b");
        queue.pop(second);
        queue.end(Refusal::Slow);
        assert_eq!(queue.ended(second).await, Refusal::Slow);
    }
}
