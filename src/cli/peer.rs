//! `hairpin peer`: a WebRTC peer that meets another in a room, connects, and says which way.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::{print_error, print_result};
use crate::peer::call::agent::{Policy, Settings, call};
use crate::peer::verdict::Expected;
use crate::turn::Transport;

/// Meets another peer (a second `hairpin peer`, or a browser on the call page) in a room, connects, exchanges messages, and says which way the call
/// went and why. Exit code: 0 as expected, 3 connected another way, 4 not connected, 2 usage.
#[derive(Args, Debug)]
pub struct Peer {
    /// The signaling endpoint, as in wss://relay.example.net/signal
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    signal: String,
    /// The room; the other peer enters the same one
    #[arg(long, value_name = "NAME")]
    room: String,
    /// The room's access token, where the endpoint asks for one
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Use every kind of candidate, or relayed ones only
    #[arg(long, value_enum, default_value = "all")]
    policy: PolicyName,
    /// Which way the call should go
    #[arg(long, value_enum, default_value = "any")]
    expect: ExpectName,
    /// Reach TURN servers over this transport only; may be given several times
    #[arg(long, value_enum)]
    transport: Vec<TransportName>,
    /// Send synthetic audio and video too
    #[arg(long)]
    media: bool,
    /// How long messages are exchanged once connected
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long connecting may take once both peers are in the room
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How long the other peer is waited for
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    wait: Duration,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print the verdict as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PolicyName {
    All,
    Relay,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExpectName {
    Direct,
    Relay,
    Any,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportName {
    Udp,
    Tcp,
    Tls,
}

/// Makes the call that the arguments ask for, prints the verdict, and gives its exit code.
pub fn run(arguments: Peer) -> ExitCode {
    let json = arguments.json;
    let settings = settings(arguments);
    let line = progress_line();
    let verdict = block_on(call(&settings, |doing| line.set_message(doing.to_owned())));
    line.finish_and_clear();
    match verdict {
        Err(error) => {
            print_error(&format_args!("hairpin peer: {error}"));
            ExitCode::FAILURE
        }
        Ok(verdict) => {
            let code = verdict.exit_code();
            if json {
                print_result(&serde_json::to_string(&verdict).unwrap_or_default(), code)
            } else {
                print_result(&verdict, code)
            }
        }
    }
}

fn settings(arguments: Peer) -> Settings {
    let transports = arguments
        .transport
        .into_iter()
        .map(|transport| match transport {
            TransportName::Udp => Transport::Udp,
            TransportName::Tcp => Transport::Tcp,
            TransportName::Tls => Transport::Tls,
        });
    Settings {
        signal: arguments.signal,
        room: arguments.room,
        token: arguments.token,
        policy: match arguments.policy {
            PolicyName::All => Policy::All,
            PolicyName::Relay => Policy::Relay,
        },
        expected: match arguments.expect {
            ExpectName::Direct => Expected::Direct,
            ExpectName::Relay => Expected::Relay,
            ExpectName::Any => Expected::Any,
        },
        transports: transports.collect(),
        media: arguments.media,
        duration: arguments.duration,
        patience: arguments.timeout,
        wait: arguments.wait,
        ca: arguments.ca,
    }
}

/// Runs a future to its end on this thread.
///
/// # Errors
/// The runtime's.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(future))
}

/// A line on the terminal that says what happens now; nothing where there is no terminal.
pub(super) fn progress_line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        line.set_style(style);
    }
    line.enable_steady_tick(Duration::from_millis(100));
    line
}

/// Reads `500ms`, `10s`, `5m`, `1h`, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no time; write 500ms, 10s, 5m or 1h"))?;
    let unit = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{unit:?} is no unit of time; write ms, s, m or h")),
    };
    number
        .checked_mul(unit)
        .filter(|ms| *ms <= MOST_MS)
        .map(Duration::from_millis)
        .ok_or(format!("{text} is too long"))
}

fn endpoint(text: &str) -> Result<String, String> {
    let known = ["ws://", "wss://"]
        .iter()
        .any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    if known {
        Ok(text.into())
    } else {
        Err("write ws://HOST[:PORT]/signal or wss://HOST[:PORT]/signal".into())
    }
}

/// A week.
const MOST_MS: u64 = 7 * 24 * 3_600_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [
            ("10", 10_000),
            ("0s", 0),
            ("250ms", 250),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "s",
            "1d",
            "-1s",
            "1.5s",
            "99999999999999999999s",
            "9999999999h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
