//! The death of a shard.

use std::any::Any;
use std::fmt;

/// A shard whose thread panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardFailure {
    /// The number of the shard.
    pub shard: usize,
    /// The message of the panic.
    pub message: String,
}

impl fmt::Display for ShardFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} panicked: {}", self.shard, self.message)
    }
}

impl std::error::Error for ShardFailure {}

/// The message in the payload of a panic.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
        .to_owned()
}
