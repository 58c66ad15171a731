//! What a supervisor may say to a shard, off the packet path.

use crate::turn::{Detail, Policy, Record};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// One thing said to a shard.
#[derive(Debug)]
pub enum Letter {
    /// End all allocations and leave.
    Stop,
    /// Go by this policy from here on.
    ReplacePolicy(Arc<Policy>),
    /// Tell the allocations that live.
    List(oneshot::Sender<Vec<Record>>),
    /// Tell all of the allocation with this [`Record::id`].
    Detail(u64, oneshot::Sender<Option<Box<Detail>>>),
    /// End the allocation with this [`Record::id`]; tells whether it was there.
    Close(u64, oneshot::Sender<bool>),
}

/// Where letters are put.
pub type Sender = mpsc::Sender<Letter>;
/// Where a shard finds them.
pub type Receiver = mpsc::Receiver<Letter>;

/// A mailbox for one shard.
pub fn mailbox() -> (Sender, Receiver) {
    mpsc::channel(LETTERS)
}

/// Letters that may wait; who writes more waits too.
const LETTERS: usize = 64;
