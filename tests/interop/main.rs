//! Other people's clients against our server.

#[allow(dead_code)]
#[path = "../conformance/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../conformance/codec.rs"]
mod codec;
#[allow(dead_code)]
#[path = "../conformance/fixture.rs"]
mod fixture;

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
