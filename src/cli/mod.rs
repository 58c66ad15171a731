//! The command line.

mod admin;
pub mod bench;
#[cfg(feature = "peer")]
pub mod check;
mod command;
mod config;
mod credentials;
mod duration;
mod flags;
mod ice_servers;
mod logs;
mod output;
#[cfg(feature = "peer")]
pub mod peer;
mod serve;

pub use crate::cli::command::Command;
