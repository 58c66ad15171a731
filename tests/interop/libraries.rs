//! The ICE libraries libnice (of GStreamer and many softphones) and aioice (aiortc's), each in a script beside this file.

use crate::skipped;
use crate::support::client::{PASSWORD, USER};
use crate::support::process::Server;
use std::process::{Command, Stdio};

/// Two agents of libnice that may use relayed candidates only find each other through us, over UDP, TCP, and one over each.
#[test]
fn libnice() {
    for reach in [["udp", "udp"], ["tcp", "udp"], ["tcp", "tcp"]] {
        let Some(printed) = run(
            "libnice.py",
            "import gi; gi.require_version('Nice', '0.1'); from gi.repository import Nice",
            &reach,
        ) else {
            return;
        };
        for line in [
            "both ends have relayed candidates and no others",
            "both ends are ready",
            "100 datagrams went there and came back",
            "done",
        ] {
            assert!(
                printed.lines().any(|printed| printed == line),
                "{reach:?}: no {line:?} in\n{printed}"
            );
        }
    }
}

/// The TURN client of aioice over UDP and TCP: channels, a hairpin, a refusal.
#[test]
fn aioice() {
    for transport in ["udp", "tcp"] {
        let Some(printed) = run("aioice_turn.py", "import aioice.turn", &[transport]) else {
            return;
        };
        for line in [
            "it has an allocation",
            "100 datagrams went there and came back",
            "two of its allocations reach each other",
            "a wrong password is refused",
            "done",
        ] {
            assert!(
                printed.lines().any(|printed| printed == line),
                "{transport}: no {line:?} in\n{printed}"
            );
        }
    }
}

/// What a script prints, where Python has what it needs.
fn run(script: &str, needs: &str, arguments: &[&str]) -> Option<String> {
    // Debian's own, which Debian's modules belong to.
    const PYTHON: &str = "/usr/bin/python3";
    let probe = Command::new(PYTHON)
        .args(["-c", needs])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        skipped(&format!("{PYTHON} cannot {needs}; tests/all installs it"));
        return None;
    }
    let server = Server::shared();
    let output = Command::new(PYTHON)
        .args([
            "-W",
            "ignore",
            &format!("{}/tests/interop/{script}", env!("CARGO_MANIFEST_DIR")),
        ])
        .args([
            &server.v4.ip().to_string(),
            &server.v4.port().to_string(),
            USER,
            PASSWORD,
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}:\n{text}");
    Some(text)
}
