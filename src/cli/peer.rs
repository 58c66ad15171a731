//! `hairpin peer`: a WebRTC peer that calls another and reports by which path they connected.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::duration::duration;
use crate::cli::output::{print_error, print_result};
use crate::config::value::{ValueError, malformed};
use crate::peer::call::agent::{CallSettings, CandidatePolicy, call};
use crate::peer::verdict::ExpectedPath;
use crate::turn::Transport;

/// Calls another peer (a second `hairpin peer`, or a browser on the call page), exchanges messages,
/// and reports by which path they connected and why. Exit codes: 0 connected as expected, 3
/// connected by another path, 4 not connected, 2 usage error.
#[derive(Args, Debug)]
pub struct Peer {
    /// Signaling endpoint, as in wss://relay.example.net/signal
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    signal: String,
    /// Room, which the other peer enters too
    #[arg(long, value_name = "NAME")]
    room: String,
    /// Access token, if the endpoint requires one
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Candidates to use: all kinds, or relayed ones only
    #[arg(long, value_enum, default_value = "all")]
    policy: PolicyArg,
    /// Expected path
    #[arg(long, value_enum, default_value = "any")]
    expect: PathArg,
    /// Reach TURN servers over this transport only; may be repeated
    #[arg(long, value_enum)]
    transport: Vec<TransportArg>,
    /// Also send synthetic audio and video
    #[arg(long)]
    media: bool,
    /// How long to exchange messages once connected
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// Time limit of connecting, once both peers are in the room
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How long to wait for the other peer
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    wait: Duration,
    /// Also trust the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyArg {
    All,
    Relay,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PathArg {
    Direct,
    Relay,
    Any,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportArg {
    Udp,
    Tcp,
    Tls,
}

/// Makes the call, prints the verdict, and returns its exit code.
pub fn run(args: Peer) -> ExitCode {
    let json = args.json;
    let settings = args.settings();
    let line = progress_line();
    let verdict = block_on(call(&settings, |step| line.set_message(step.to_owned())));
    line.finish_and_clear();
    match verdict {
        Err(error) => {
            print_error(&format_args!("hairpin peer: {error}"));
            ExitCode::FAILURE
        }
        Ok(verdict) if json => {
            let text = serde_json::to_string(&verdict).unwrap_or_default();
            print_result(&text, verdict.exit_code())
        }
        Ok(verdict) => print_result(&verdict, verdict.exit_code()),
    }
}

impl Peer {
    fn settings(self) -> CallSettings {
        let transports = self.transport.into_iter().map(|transport| match transport {
            TransportArg::Udp => Transport::Udp,
            TransportArg::Tcp => Transport::Tcp,
            TransportArg::Tls => Transport::Tls,
        });
        CallSettings {
            signal: self.signal,
            room: self.room,
            token: self.token,
            policy: match self.policy {
                PolicyArg::All => CandidatePolicy::All,
                PolicyArg::Relay => CandidatePolicy::Relay,
            },
            expected: match self.expect {
                PathArg::Direct => ExpectedPath::Direct,
                PathArg::Relay => ExpectedPath::Relay,
                PathArg::Any => ExpectedPath::Any,
            },
            transports: transports.collect(),
            media: self.media,
            duration: self.duration,
            connect_timeout: self.timeout,
            join_timeout: self.wait,
            ca_file: self.ca,
        }
    }
}

/// Runs a future to its end on this thread.
///
/// # Errors
/// The runtime cannot be started.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future))
}

/// A line on standard error with the current step. Invisible unless that is a terminal.
pub(super) fn progress_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(100));
    line
}

fn endpoint(text: &str) -> Result<String, ValueError> {
    let is_websocket = ["ws://", "wss://"]
        .iter()
        .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    match is_websocket {
        true => Ok(text.into()),
        false => Err(malformed(
            text,
            "a WebSocket URL",
            "ws://HOST[:PORT]/signal or wss://HOST[:PORT]/signal",
        )),
    }
}
