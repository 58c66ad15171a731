//! The ICE libraries libnice (GStreamer, many softphones) and aioice (aiortc), each driven by a
//! script in this folder.

use crate::support::client::{PASSWORD, USER};
use crate::support::missing::skipped;
use crate::support::process::Server;
use std::process::{Command, Stdio};

/// Two agents that may use relayed candidates only connect over UDP, over TCP, and over one of
/// each.
#[test]
fn libnice_agents_connect_through_the_relay() {
    for transports in [["udp", "udp"], ["tcp", "udp"], ["tcp", "tcp"]] {
        expect_lines(
            "libnice.py",
            "import gi; gi.require_version('Nice', '0.1'); from gi.repository import Nice",
            &transports,
            &[
                "both ends have relayed candidates and no others",
                "both ends are ready",
                "100 datagrams went there and came back",
                "done",
            ],
        );
    }
}

/// Channels, two allocations that reach each other, and a wrong password.
#[test]
fn aioices_turn_client_relays_over_udp_and_tcp() {
    for transport in ["udp", "tcp"] {
        expect_lines(
            "aioice_turn.py",
            "import aioice.turn",
            &[transport],
            &[
                "it has an allocation",
                "100 datagrams went there and came back",
                "two of its allocations reach each other",
                "a wrong password is refused",
                "done",
            ],
        );
    }
}

/// Runs a script, which must print these lines; skips it if Python cannot execute `needs`.
fn expect_lines(script: &str, needs: &str, arguments: &[&str], lines: &[&str]) {
    let Some(printed) = run(script, needs, arguments) else {
        return;
    };
    for line in lines {
        assert!(
            printed.lines().any(|printed| printed == *line),
            "{arguments:?}: no {line:?} in\n{printed}"
        );
    }
}

/// The output of a script; `None` if Python cannot execute `needs`.
fn run(script: &str, needs: &str, arguments: &[&str]) -> Option<String> {
    // The Python that the modules of Debian's packages belong to.
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
