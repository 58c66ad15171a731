//! What a run measures: numbered payloads, counters, histograms, and the CPU time of processes.

pub mod counters;
pub mod histogram;
pub mod payload;
pub mod process;
pub mod recorder;
pub mod sampler;
