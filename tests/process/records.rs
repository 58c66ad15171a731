//! Usage records in a file and at a webhook. A webhook that is down loses no record.

use crate::support::client::Peer;
use crate::support::codec::{Attribute, Outgoing, REFRESH};
use crate::support::directory::Directory;
use crate::support::operator::until;
use crate::support::process::{Setup, free_port};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;

#[test]
fn the_file_has_a_record_for_start_update_and_end() {
    let directory = Directory::new("usage-file");
    let file = directory.join("usage.jsonl");
    let setup = Setup::new()
        .flag("--web", "off")
        .flag("--usage-file", file.to_str().unwrap());
    let server = setup.flag("--usage-interval", "1s").start();
    let mut client = server.udp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.send_channel(0x4000, &[7; 100]);
    peer.receive();
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    until("an update", || {
        lines()
            .iter()
            .any(|line| line["event"] == "update" && line["to_peers_bytes"] == 100)
    });
    client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    until("the end", || {
        lines().iter().any(|line| line["event"] == "end")
    });
    let lines = lines();
    assert_eq!(lines[0]["event"], "start");
    let end = lines.last().unwrap();
    assert_eq!(
        (&end["user"], &end["reason"], &end["to_peers_packets"]),
        (&"alice".into(), &"deleted".into(), &1.into())
    );
    assert_eq!(
        (&end["relayed"][0], &end["peers"][0]),
        (&relayed.to_string().into(), &"127.0.0.1".into())
    );
    assert_eq!(end["client"], client.address.to_string());
}

#[test]
fn a_webhook_that_was_down_gets_all_records_in_order() {
    let directory = Directory::new("usage-webhook");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/usage");
    let setup = Setup::new()
        .flag("--web", "off")
        .flag("--usage-webhook", &url);
    let server = setup
        .flag("--usage-spool", directory.path().to_str().unwrap())
        .start();
    for _ in 0..5 {
        let mut client = server.udp();
        client.allocate();
        client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    }
    until("a failure", || {
        server.metric("hairpin_usage_webhook_failures_total", &[]) >= 1.0
    });
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut events: Vec<Value> = vec![];
    let mut refused = false;
    while events.len() < 10 {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        // The first request fails, so its records have to be repeated.
        let status = if refused {
            "204 No Content"
        } else {
            "500 Internal Server Error"
        };
        write!(
            reader.get_mut(),
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        if std::mem::replace(&mut refused, true) {
            events.extend(serde_json::from_slice::<Vec<Value>>(&body).unwrap());
        }
    }
    let numbers: Vec<u64> = events
        .iter()
        .map(|event| event["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    until("the count", || {
        server.metric("hairpin_usage_records_delivered_total", &[]) == 10.0
    });
    assert_eq!(server.metric("hairpin_usage_records_lost_total", &[]), 0.0);
}
