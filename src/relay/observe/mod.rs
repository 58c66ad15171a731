//! Counters, histograms, and the allocation log of a shard.

pub mod allocation_log;
pub mod counters;
pub mod escaped;
pub mod request_duration;
