//! Issue 8: "Reload (SIGHUP, or `POST /reload` on the admin listener) [...]; all or nothing; the answer says what changed and
//! what needs a restart. Existing allocations live on [...]. A file that does not validate changes nothing."

use crate::client::{Client, PASSWORD, Peer, USER};
use crate::codec::Outgoing;
use crate::operating::{Directory, ask, json, on_file, signal, until};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn users(more: &str) -> String {
    format!("user = [\"{USER}:{PASSWORD}\"{more}]\n")
}

#[test]
fn a_reload_says_what_changed_and_what_lives_lives_on() {
    let directory = Directory::new("reload");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    let mut old = server.udp();
    old.allocate();
    let peer = Peer::v4();
    old.bind(0x4000, peer.address);
    directory.write("hairpin.toml", "user = [\"new:secret\"]\nrelay_ports = \"50000-50999\"\n");
    let report = json(&server, "POST", "/reload");
    assert_eq!(report, json!({ "changed": ["user"], "restart": ["relay_ports"], "warnings": [] }));
    old.send_channel(0x4000, b"still here");
    assert_eq!(peer.receive().1, b"still here");
    assert!(old.ask(Outgoing::request(crate::codec::REFRESH)).is_success(), "its credentials stay good");
    let mut new = server.udp();
    new.login("new", "secret");
    assert!(new.ask(Outgoing::allocate()).is_success());
    let mut gone = server.udp();
    gone.login(USER, PASSWORD);
    assert_eq!(gone.ask(Outgoing::allocate()).error(), Some(401));
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let directory = Directory::new("reload-wrong");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    directory.write("hairpin.toml", "user = [\"new:secret\"]\nrelm = \"x\"\n");
    let (status, body) = ask(server.admin, "POST", "/reload", "", "");
    assert_eq!(status, 400);
    assert!(body.contains("hairpin.toml:2:1") && body.contains("realm"), "{body}");
    let mut client = server.udp();
    client.allocate();
    signal(&server, "HUP");
    server.wait_for_line("nothing has changed");
    assert!(server.udp().exchange(&Outgoing::request(crate::codec::BINDING)).is_success());
}

#[test]
fn sighup_reads_the_files_that_the_file_names_again() {
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
fn peer_rules_and_quotas_change() {
    let directory = Directory::new("reload-rules");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    let mut first = server.udp();
    first.allocate();
    directory.write("hairpin.toml", &format!("{}user_allocations = 1\ndeny_peer = [\"127.0.0.9/32\"]\n", users("")));
    json(&server, "POST", "/reload");
    let mut second = server.udp();
    second.login(USER, PASSWORD);
    assert_eq!(second.ask(Outgoing::allocate()).error(), Some(486));
    let refused = Outgoing::request(crate::codec::CREATE_PERMISSION)
        .with(crate::codec::Attribute::peer("127.0.0.9:9".parse().unwrap()));
    assert_eq!(first.ask(refused).error(), Some(403));
}

/// "reload every 100 ms [...] under [...] live flows with no packet lost": here twenty flows and every reload that fits into the
/// time of two hundred packets each.
#[test]
fn no_packet_is_lost_while_the_server_reloads() {
    let directory = Directory::new("reload-flows");
    let file = directory.write("hairpin.toml", &users(""));
    let server = on_file(&file).start();
    let (over, reloads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let more = if reloads.load(Ordering::Relaxed).is_multiple_of(2) { ", \"x:y\"" } else { "" };
                directory.write("hairpin.toml", &users(more));
                json(&server, "POST", "/reload");
                reloads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let flows: Vec<_> = (0..20).map(|_| scope.spawn(|| flow(server.udp()))).collect();
        let lost: usize = flows.into_iter().map(|flow| flow.join().unwrap()).sum();
        over.store(true, Ordering::Relaxed);
        assert_eq!(lost, 0);
    });
    assert!(reloads.load(Ordering::Relaxed) > 3);
    until("the last reload", || server.printed().contains("allocation started"));
}

/// Sends two hundred packets, each when the one before has come; how many did not.
fn flow(mut client: Client) -> usize {
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    let sent = (0..200_u32).filter(|number| {
        client.send_channel(0x4000, &number.to_be_bytes());
        peer.receive().1 != number.to_be_bytes()
    });
    sent.count()
}
