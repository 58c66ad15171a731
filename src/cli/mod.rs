//! The command line.

pub mod bench;
#[cfg(feature = "peer")]
pub mod check;
#[cfg(feature = "peer")]
pub mod peer;
