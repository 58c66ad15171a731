//! What can be said, and who does it.

use crate::cli::{admin, bench, config, credentials, serve};
#[cfg(feature = "peer")]
use crate::cli::{check, peer};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Hairpin: a STUN/TURN relay server, and the tools around one.
#[derive(Parser, Debug)]
#[command(name = "hairpin", version, about)]
pub struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Run the server
    Serve(serve::Serve),
    /// Make a username and a password that expire, from a shared secret
    Credentials(credentials::Credentials),
    /// Look after a running server
    Admin(admin::Admin),
    /// Check, print or convert a configuration file
    Config(config::Config),
    /// Call another peer and say which way the call went
    #[cfg(feature = "peer")]
    Peer(peer::Peer),
    /// Say whether a STUN or TURN server works, and if not, why
    #[cfg(feature = "peer")]
    Check(check::Check),
    /// Measure a STUN or TURN server
    Bench(bench::Bench),
}

impl Command {
    /// Does what was said. The code is 0 when it went well, 1 when it did not, 2 when it was said wrong.
    pub fn run(self) -> ExitCode {
        match self.verb {
            Verb::Serve(serve) => serve::run(&serve),
            Verb::Credentials(credentials) => credentials::run(&credentials),
            Verb::Admin(admin) => admin::run(&admin),
            Verb::Config(config) => config::run(&config),
            #[cfg(feature = "peer")]
            Verb::Peer(peer) => peer::run(peer),
            #[cfg(feature = "peer")]
            Verb::Check(check) => check::run(check),
            Verb::Bench(bench) => bench::run(&bench),
        }
    }
}
