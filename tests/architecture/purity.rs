//! `wire` and `turn` have no clock, socket or task; `unsafe` stays in `net`.

use crate::sources::{Sources, assert_none, floor, sound, sound_with, src};
use crate::syntax::{plain_paths, tokens, without_comments, without_tests};

#[test]
fn protocol_floors_have_no_clock_socket_or_runtime() {
    assert_none(purity_faults(&src()));
}

#[test]
fn unsafe_stands_only_in_net_and_has_a_safety_sentence() {
    assert_none(unsafe_faults(&src()));
}

fn purity_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources
        .iter()
        .filter(|(file, _)| matches!(floor(file), Some("wire" | "turn")))
    {
        let tokens = tokens(&without_tests(text));
        faults.extend(
            tokens
                .iter()
                .filter(|t| IMPURE.contains(&t.as_str()))
                .map(|t| format!("{file}: {t}")),
        );
        for path in plain_paths(&tokens) {
            let path = path.join("::");
            faults.extend(
                IMPURE_PATHS
                    .iter()
                    .filter(|p| path.starts_with(**p))
                    .map(|p| format!("{file}: {p}")),
            );
        }
    }
    faults
}

/// The SAFETY sentence stands within the six lines above.
fn unsafe_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let code = without_comments(text);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in code
            .lines()
            .enumerate()
            .filter(|(_, line)| tokens(line).iter().any(|t| t == "unsafe"))
        {
            let above = &lines[number.saturating_sub(6)..=number];
            if floor(file) != Some("net") {
                faults.push(format!("{file}:{}: unsafe: {}", number + 1, line.trim()));
            } else if !above.iter().any(|l| l.contains("SAFETY:")) {
                faults.push(format!(
                    "{file}:{}: unsafe without a SAFETY sentence",
                    number + 1
                ));
            }
        }
    }
    faults
}

const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "socket2",
    "libc",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "SystemTime",
    "println",
    "eprintln",
];
const IMPURE_PATHS: &[&str] = &[
    "std::time::Instant",
    "std::thread",
    "std::fs",
    "std::io",
    "std::process",
    "std::env",
    "tracing",
];

#[test]
fn a_sound_crate_has_no_faults() {
    assert_none(purity_faults(&sound()));
    assert_none(unsafe_faults(&sound()));
}

#[test]
fn a_clock_a_socket_and_a_runtime_are_found() {
    for text in [
        "use std::time::Instant;",
        "use std::time::{Duration, Instant};",
        "fn f() { std::time::SystemTime::now(); }",
        "use std::net::{SocketAddr, UdpSocket};",
        "async fn f() {}",
        "use tokio::sync::mpsc;",
        "fn f() { std::thread::spawn(g); }",
    ] {
        for file in ["wire/message.rs", "turn/ids/time.rs"] {
            assert!(!purity_faults(&sound_with(file, text)).is_empty(), "{text}");
        }
        assert_none(purity_faults(&sound_with("relay/mod.rs", text)));
    }
}

#[test]
fn unsafe_is_found_outside_net_and_without_a_reason() {
    let faults = |file, text| unsafe_faults(&sound_with(file, text)).len();
    assert_eq!(faults("turn/server.rs", "fn f() { unsafe { g() } }"), 1);
    let in_tests = "#[cfg(test)]\nmod tests { fn t() { unsafe {} } }";
    assert_eq!(faults("turn/server.rs", in_tests), 1);
    let far_below = "\n\n\n\n\n\nfn f() { unsafe { g() } }";
    assert_eq!(faults("net/mod.rs", far_below), 1);
    let with_reason = "// SAFETY: fine.\nunsafe impl Send for X {}";
    assert_eq!(faults("net/mod.rs", with_reason), 0);
}
