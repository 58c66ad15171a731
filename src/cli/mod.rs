//! The command line: one file or folder per command, and what they share.
//!
//! * `serve`: runs the server, with its flags in `flags` and its log in `logs`. `admin`: the client
//!   of a server's admin API.
//! * `config`, `credentials`: offline tools of an operator.
//! * `peer`, `check`, `bench`: tools that connect to any STUN or TURN server.
//! * `output` prints results and chooses exit codes; `ice_servers` writes the object that browsers
//!   take.

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
