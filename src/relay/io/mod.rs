//! Queues, storage and the clock of a shard.

pub(crate) mod clock;
pub(crate) mod ready_queue;
pub(crate) mod recv_meta;
pub(crate) mod send_queue;
pub(crate) mod slab;
pub(crate) mod stream;
