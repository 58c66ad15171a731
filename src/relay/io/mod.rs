//! Queues and the clock of a shard.

pub(crate) mod clock;
pub(crate) mod ready_queue;
pub(crate) mod send_queue;
