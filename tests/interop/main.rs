//! Other people's clients against our server.

#[path = "../support/mod.rs"]
mod support;

mod coturn;
mod libraries;
mod webrtc;

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether a command is there; says so loudly when it is not, and fails where everything must run.
fn is_installed(command: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", command])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        skipped(&format!(
            "{command} is not installed; tests/all installs it"
        ));
    }
    found
}

/// Written past the test harness, which would swallow it.
fn skipped(reason: &str) {
    assert!(std::env::var("CI").is_err(), "SKIPPED: {reason}");
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    std::io::stderr()
        .write_all(format!("SKIPPED: {test}: {reason}\n").as_bytes())
        .unwrap();
}
