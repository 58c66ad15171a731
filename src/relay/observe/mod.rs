//! What a shard counts and logs.

pub mod allocation_log;
pub mod counters;
pub mod escaped;
pub mod request_duration;
