//! Reload by SIGHUP or `POST /reload`: all or nothing, a report of the changed keys, and
//! allocations that live on.

use crate::support::TIMEOUT;
use crate::support::client::{Client, PASSWORD, Packet, Peer, USER};
use crate::support::codec::Outgoing;
use crate::support::directory::Directory;
use crate::support::operator::{ask, json, on_file, signal};
use crate::support::process::free_port;
use serde_json::json;
use std::time::{Duration, Instant};

fn users(more: &str) -> String {
    format!("user = [\"{USER}:{PASSWORD}\"{more}]\n")
}

#[test]
fn a_reload_reports_changed_keys_and_keeps_allocations() {
    let directory = Directory::new("reload");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    let mut old = server.udp();
    old.allocate();
    let peer = Peer::v4();
    old.bind(0x4000, peer.address);
    directory.write(
        "hairpin.toml",
        "user = [\"new:secret\"]\nrelay_ports = \"50000-50999\"\n",
    );
    let report = json(&server, "POST", "/reload");
    assert_eq!(
        report,
        json!({ "changed": ["user"], "restart": ["relay_ports"], "warnings": [] })
    );
    old.send_channel(0x4000, b"still here");
    assert_eq!(peer.receive().1, b"still here");
    assert!(
        old.ask(Outgoing::request(crate::support::codec::REFRESH))
            .is_success(),
        "its credentials stay good"
    );
    let mut new = server.udp();
    new.login("new", "secret");
    assert!(new.ask(Outgoing::allocate()).is_success());
    let mut gone = server.udp();
    gone.login(USER, PASSWORD);
    assert_eq!(gone.ask(Outgoing::allocate()).error(), Some(401));
}

/// An allocation keeps its grant when its realm is renamed and SHA-1 is disabled. New allocations
/// are refused.
#[test]
fn allocations_survive_the_renaming_of_their_realm() {
    let directory = Directory::new("reload-realm");
    let file = directory.write(
        "hairpin.toml",
        &format!("realm = \"before.example\"\n{}", users("")),
    );
    let server = on_file(&file).without("--realm").start();
    let mut old = server.udp();
    old.allocate();
    directory.write(
        "hairpin.toml",
        &format!("realm = \"after.example\"\nsha1 = false\n{}", users("")),
    );
    assert_eq!(
        json(&server, "POST", "/reload")["changed"],
        json!(["realm", "sha1"])
    );
    let peer = Peer::v4();
    old.bind(0x4000, peer.address);
    assert!(old.refresh(600).is_success());
    assert_eq!(server.udp().ask(Outgoing::allocate()).error(), Some(401));
    assert!(old.refresh(0).is_success());
    assert_eq!(server.metric("hairpin_allocations", &[]), 0.0);
}

#[test]
fn an_invalid_file_changes_nothing() {
    let directory = Directory::new("reload-wrong");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    directory.write("hairpin.toml", "user = [\"new:secret\"]\nrelm = \"x\"\n");
    let (status, body) = ask(server.admin, "POST", "/reload", "", "");
    assert_eq!(status, 400);
    assert!(
        body.contains("hairpin.toml:2:1") && body.contains("realm"),
        "{body}"
    );
    let mut client = server.udp();
    client.allocate();
    signal(&server, "HUP");
    server.wait_for_line("nothing has changed");
    assert!(
        server
            .udp()
            .exchange(&Outgoing::request(crate::support::codec::BINDING))
            .is_success()
    );
}

#[test]
fn sighup_reloads_the_files_that_the_configuration_names() {
    let directory = Directory::new("reload-files");
    let list = directory.write("users", &format!("{USER}:{PASSWORD}\n"));
    let file = directory.write("hairpin.toml", &format!("user_file = \"{list}\"\n"));
    let server = on_file(&file).start();
    server.udp().allocate();
    directory.write("users", "new:secret\n");
    signal(&server, "HUP");
    server.wait_for_line("user_file");
    let mut new = server.udp();
    new.login("new", "secret");
    assert!(new.ask(Outgoing::allocate()).is_success());
}

#[test]
fn a_reload_changes_peer_rules_and_quotas() {
    let directory = Directory::new("reload-rules");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    let mut first = server.udp();
    first.allocate();
    directory.write(
        "hairpin.toml",
        &format!(
            "{}user_allocations = 1\ndeny_peer = [\"127.0.0.9/32\"]\n",
            users("")
        ),
    );
    json(&server, "POST", "/reload");
    let mut second = server.udp();
    second.login(USER, PASSWORD);
    assert_eq!(second.ask(Outgoing::allocate()).error(), Some(486));
    let refused = Outgoing::request(crate::support::codec::CREATE_PERMISSION).with(
        crate::support::codec::Attribute::peer("127.0.0.9:9".parse().unwrap()),
    );
    assert_eq!(first.ask(refused).error(), Some(403));
}

/// 200 flows while the server reloads every 100 ms, for `HAIRPIN_RELOAD_SECONDS` or a few seconds.
/// Every other reload removes or adds a listener.
#[test]
fn no_packet_is_lost_while_the_server_reloads() {
    let directory = Directory::new("reload-flows");
    let (port, other) = (free_port(), free_port());
    // All flows are of one user.
    let listen = |more: &str| {
        format!("user_allocations = 0\nlisten = [\"127.0.0.1:{port}\", \"[::1]:{port}\"{more}]\n")
    };
    let more = format!(", \"127.0.0.1:{other}\"");
    let file = directory.write("hairpin.toml", &(listen("") + &users("")));
    let server = on_file(&file).without_listeners().start_at(port);
    let seconds = std::env::var("HAIRPIN_RELOAD_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(5);
    let end = Instant::now() + Duration::from_secs(seconds);
    let (reloads, outcomes) = std::thread::scope(|scope| {
        let flows: Vec<_> = (0..FLOWS)
            .map(|_| scope.spawn(|| flow(server.udp(), end)))
            .collect();
        let mut reloads = 0;
        let mut next = Instant::now();
        while Instant::now() < end {
            let odd = reloads % 2 == 1;
            let text =
                listen(if odd { &more } else { "" }) + &users(if odd { ", \"x:y\"" } else { "" });
            directory.write("hairpin.toml", &text);
            json(&server, "POST", "/reload");
            reloads += 1;
            next += PACE;
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        }
        (
            reloads,
            flows
                .into_iter()
                .map(|flow| flow.join().unwrap())
                .collect::<Vec<_>>(),
        )
    });
    let (sent, lost) = outcomes
        .iter()
        .fold((0, 0), |(sent, lost), flow| (sent + flow.0, lost + flow.1));
    println!("{reloads} reloads under {FLOWS} flows: {sent} packets, {lost} lost");
    assert_eq!(lost, 0, "of {sent} in {reloads} reloads");
    assert!(
        reloads as u64 > seconds && sent > FLOWS * seconds as usize,
        "{sent} packets in {reloads} reloads"
    );
}

/// Sends a packet to the peer and back twenty times a second. Returns how many it sent and how many
/// were lost.
pub fn flow(mut client: Client, end: Instant) -> (usize, usize) {
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    let (mut sent, mut lost) = (0, 0);
    while Instant::now() < end {
        let octets = (sent as u32).to_be_bytes();
        client.send_channel(0x4000, &octets);
        let mut buffer = [0; 64];
        let there = peer
            .socket
            .recv_from(&mut buffer)
            .is_ok_and(|(length, _)| buffer[..length] == octets);
        peer.send(relayed, &octets);
        let back = matches!(client.receive_within(TIMEOUT), Some(Packet::Channel(0x4000, payload)) if payload == octets);
        sent += 2;
        lost += usize::from(!there) + usize::from(!back);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    (sent, lost)
}

const FLOWS: usize = 200;
/// Interval of the reloads.
const PACE: Duration = Duration::from_millis(100);
