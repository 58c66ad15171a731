//! `hairpin check`: does my TURN server work, and if not, why?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::cli::output::{print_error, print_result};
use crate::cli::peer::{block_on, progress_line};
use crate::client::uri::ServerUri;
use crate::peer::check::run::{Credentials, Settings, check};
use crate::turn::client_state::Login;

/// Examines STUN and TURN servers, ours or not: every step in milliseconds, what is wrong in words, and what to do. Exit code: 0 everything
/// works, 3 something does not, 4 nothing works, 2 usage.
#[derive(Args, Debug)]
pub struct Check {
    /// stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT][?transport=tcp|udp] (TLS, DTLS); turn: without a transport is tried over UDP and TCP
    #[arg(required = true, value_name = "URL")]
    urls: Vec<ServerUri>,
    /// The user name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Its password
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "user",
        conflicts_with = "shared_secret"
    )]
    password: Option<String>,
    /// Mint a time-limited user name from this secret instead
    #[arg(
        long,
        value_name = "SECRET",
        env = "HAIRPIN_CHECK_SECRET",
        hide_env_values = true
    )]
    shared_secret: Option<String>,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Examines what the arguments name, prints the report, and gives its exit code.
pub fn run(arguments: Check) -> ExitCode {
    let Check {
        urls,
        user,
        password,
        shared_secret,
        ca,
        json,
    } = arguments;
    let credentials = match (user, password, shared_secret) {
        (name, None, Some(secret)) => Credentials::Secret { secret, name },
        (Some(username), Some(password), _) => Credentials::Login(Login { username, password }),
        (Some(_), None, None) => {
            print_error(&"hairpin check: --user needs --password or --shared-secret");
            return ExitCode::from(2);
        }
        _ => Credentials::None,
    };
    let settings = Settings {
        urls,
        credentials,
        ca,
    };
    let line = progress_line();
    let report = block_on(check(&settings, |doing| line.set_message(doing.to_owned())));
    line.finish_and_clear();
    match report.and_then(|report| report) {
        Err(error) => {
            print_error(&format_args!("hairpin check: {error}"));
            ExitCode::from(2)
        }
        Ok(report) => {
            let code = report.exit_code();
            if json {
                print_result(&serde_json::to_string(&report).unwrap_or_default(), code)
            } else {
                print_result(&report, code)
            }
        }
    }
}
