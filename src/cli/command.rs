//! The commands of `hairpin`.

use crate::cli::{admin, bench, config, credentials, serve};
#[cfg(feature = "peer")]
use crate::cli::{check, peer};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Hairpin: a STUN/TURN relay server, and tools for STUN and TURN servers
#[derive(Parser, Debug)]
#[command(name = "hairpin", version)]
pub struct Command {
    #[command(subcommand)]
    subcommand: Subcommands,
}

#[derive(Subcommand, Debug)]
enum Subcommands {
    // The help of a command without a comment here is the comment of its arguments.
    Serve(serve::Serve),
    Credentials(credentials::CredentialsArgs),
    /// Inspect and control a running server
    Admin(admin::Admin),
    Config(config::Config),
    /// Call another peer and report the path that the call took
    #[cfg(feature = "peer")]
    Peer(peer::Peer),
    /// Diagnose a STUN or TURN server
    #[cfg(feature = "peer")]
    Check(check::Check),
    /// Measure a STUN or TURN server
    Bench(bench::Bench),
}

impl Command {
    /// Runs the command. Exit codes: 0 success, 1 failure, 2 usage error.
    pub fn run(self) -> ExitCode {
        match self.subcommand {
            Subcommands::Serve(args) => serve::run(&args),
            Subcommands::Credentials(args) => credentials::run(&args),
            Subcommands::Admin(args) => admin::run(&args),
            Subcommands::Config(args) => config::run(&args),
            #[cfg(feature = "peer")]
            Subcommands::Peer(args) => peer::run(args),
            #[cfg(feature = "peer")]
            Subcommands::Check(args) => check::run(args),
            Subcommands::Bench(args) => bench::run(&args),
        }
    }
}
