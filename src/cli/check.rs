//! `hairpin check`: tests STUN and TURN servers, and explains what fails.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::{print_error, print_result};
use crate::cli::peer::{block_on, progress_line};
use crate::client::credentials::Credentials;
use crate::client::uri::ServerUri;
use crate::peer::check::run::{CheckSettings, check};

/// Tests STUN and TURN servers, of any make: every step with its time, what fails, and what to do
/// about it. Exit codes: 0 everything works, 3 something fails, 4 nothing works, 2 usage error.
#[derive(Args, Debug)]
pub struct Check {
    /// Servers: stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp],
    /// turns:HOST[:PORT][?transport=tcp|udp] (TLS, DTLS); turn: without a transport is tested over
    /// UDP and TCP
    #[arg(required = true, value_name = "URL")]
    urls: Vec<ServerUri>,
    /// Username
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Password of --user
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "user",
        conflicts_with = "shared_secret"
    )]
    password: Option<String>,
    /// Create time-limited credentials from a secret shared with the server
    #[arg(
        long,
        value_name = "SECRET",
        env = "HAIRPIN_CHECK_SECRET",
        hide_env_values = true
    )]
    shared_secret: Option<String>,
    /// Also trust the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Tests the servers, prints the report, and returns its exit code.
pub fn run(args: Check) -> ExitCode {
    let credentials = Credentials::from_options(args.user, args.password, args.shared_secret);
    let credentials = match credentials {
        Ok(credentials) => credentials,
        Err(error) => return usage_error(&error),
    };
    let settings = CheckSettings {
        uris: args.urls,
        credentials,
        ca_file: args.ca,
    };
    let line = progress_line();
    let report = block_on(check(&settings, |step| line.set_message(step.to_owned())));
    line.finish_and_clear();
    match report.flatten() {
        Err(error) => usage_error(&error),
        Ok(report) if args.json => {
            let text = serde_json::to_string(&report).unwrap_or_default();
            print_result(&text, report.exit_code())
        }
        Ok(report) => print_result(&report, report.exit_code()),
    }
}

fn usage_error(error: &dyn std::error::Error) -> ExitCode {
    print_error(&format_args!("hairpin check: {error}"));
    ExitCode::from(2)
}
