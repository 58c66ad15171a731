//! Log lines: JSON, the allocation id, anonymized addresses, escaped names, nothing per packet.

use crate::support::client::Peer;
use crate::support::codec::{Attribute, Outgoing, REFRESH, hmac_sha1};
use crate::support::operator::{ask, json, until};
use crate::support::process::{SECRET, Server, Setup};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The JSON lines of the log.
fn lines(server: &Server) -> Vec<Value> {
    let text = server.printed();
    let objects = text
        .lines()
        .filter(|line| line.starts_with("{\"timestamp\""));
    objects
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[test]
fn json_lines_have_the_id_of_the_admin_api() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--log-format", "json")
        .start();
    let mut client = server.udp();
    client.allocate();
    let id = json(&server, "GET", "/allocations")["allocations"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    let of = |message: &str| {
        lines(&server)
            .into_iter()
            .find(|line| line["message"] == message)
    };
    until("an end", || of("allocation ended").is_some());
    for message in ["allocation started", "allocation ended"] {
        let line = of(message).unwrap();
        assert_eq!(line["id"].to_string(), id, "{line}");
        assert_eq!(
            (&line["level"], &line["user"]),
            (&"INFO".into(), &"alice".into())
        );
        assert_eq!(line["client"], client.address.to_string());
    }
}

#[test]
fn allocation_ids_do_not_repeat_after_a_restart() {
    let first_id = || {
        let server = Setup::new()
            .flag("--web", "off")
            .replace("--shards", "1")
            .start();
        server.udp().allocate();
        json(&server, "GET", "/allocations")["allocations"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_ne!(first_id(), first_id());
}

#[test]
fn addresses_of_clients_can_be_anonymized() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--log-addresses", "network")
        .flag("--log-level", "trace")
        .start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.send_channel(0x4000, b"x");
    peer.receive();
    client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    server.wait_for_line("allocation ended");
    let text = server.printed();
    assert!(text.contains("127.0.0.0/24"), "{text}");
    assert!(
        !text.contains(&client.address.to_string()) && !text.contains(&peer.address.to_string()),
        "{text}"
    );
}

/// A holder of the shared secret chooses user names, and must not be able to forge log lines with
/// them.
#[test]
fn line_breaks_in_user_names_are_escaped() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--shared-secret", SECRET)
        .start();
    let name = "4000000000:ann\n2026 ERROR forged\u{1b}[31m";
    let password = STANDARD.encode(hmac_sha1(SECRET.as_bytes(), name.as_bytes()));
    let mut client = server.udp();
    client.login(name, &password);
    assert!(client.ask(Outgoing::allocate()).is_success());
    let line = server.wait_for_line("allocation started");
    assert!(
        line.contains("user=4000000000:ann\\n2026 ERROR forged\\u{1b}[31m realm="),
        "{line}"
    );
    assert!(!server.printed().contains("\u{1b}[31m"));
}

#[test]
fn packets_are_logged_at_trace_level_only() {
    let server = Setup::new().flag("--web", "off").start();
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "debug").0, 200);
    let mut client = server.udp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.fence();
    // A thread of its own writes the log, so a line may appear after the response.
    server.wait_for_line("allocation started");
    let before = server
        .printed()
        .lines()
        .filter(|line| line.contains("hairpin::"))
        .count();
    for _ in 0..100 {
        client.send_channel(0x4000, b"up");
        peer.receive();
        peer.send(relayed, b"down");
        client.channel_data();
    }
    client.fence();
    let after = server
        .printed()
        .lines()
        .filter(|line| line.contains("hairpin::"))
        .count();
    assert_eq!(before, after, "{}", server.printed());
}
