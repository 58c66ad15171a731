//! The command line.

mod admin;
pub mod bench;
#[cfg(feature = "peer")]
pub mod check;
mod command;
mod config;
mod credentials;
mod flags;
mod ice;
mod logs;
mod outcome;
#[cfg(feature = "peer")]
pub mod peer;
mod serve;

pub use crate::cli::command::Command;
