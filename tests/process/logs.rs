//! Issue 8: "Logs: human or JSON, per-session correlation id, addresses can be anonymised, per-packet events only at trace."

use crate::support::client::Peer;
use crate::support::codec::{Attribute, Outgoing, REFRESH, hmac_sha1};
use crate::support::operator::{ask, json, until};
use crate::support::process::{SECRET, Server, Setup};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The log's lines as objects.
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
fn json_lines_carry_the_id_that_operators_and_bills_know() {
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

/// Two runs of a server must not give two allocations one name.
#[test]
fn an_id_does_not_come_again_after_a_restart() {
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
fn clients_addresses_may_stay_out() {
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

/// Who holds a shared secret chooses names, and must not write lines of the log with them.
#[test]
fn a_name_stays_on_its_line() {
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
fn packets_leave_no_line_below_trace() {
    let server = Setup::new().flag("--web", "off").start();
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "debug").0, 200);
    let mut client = server.udp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.fence();
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
