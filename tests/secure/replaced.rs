//! "Certificate change under 50 live TLS relays: zero lost connections; after it new handshakes show the new serial."

use super::binary::{certified, relaying};
use crate::support::client::{PASSWORD, USER};
use crate::support::line::{Caller, Line, PATIENCE, connect, secured, trusting};
use crate::support::operating::{Directory, ask, on_file, signal, until};
use crate::support::relay::{Server, V4, certificate};
use hairpin::net::Certificate;
use hairpin::turn::client_state::Request;
use std::net::UdpSocket;
use std::sync::Arc;

/// The serial that a new TLS connection is shown.
fn shown(server: &Server, name: &str) -> String {
    let Line::Tls(stream) = Line::tls_with(server, &[], name).unwrap() else {
        unreachable!()
    };
    let chain = stream.conn.peer_certificates().unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    leaf.raw_serial()
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

#[test]
fn fifty_relays_live_on_while_new_handshakes_see_the_new_certificate() {
    let server = Server::start(V4, |_| {});
    let old = server.tls.certificates()[0].serial().to_owned();
    assert_eq!(shown(&server, "relay.example"), old);
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut relays: Vec<_> = (0..50)
        .map(|_| {
            let mut caller = Caller::new(Line::tls(&server));
            let relayed = caller.allocate();
            caller.permit(peer.local_addr().unwrap());
            (caller, relayed)
        })
        .collect();
    for round in 0..3 {
        let new = certificate("relay.example").0;
        server.tls.replace(vec![new.clone()]).unwrap();
        assert_eq!(shown(&server, "relay.example"), new.serial());
        for (caller, relayed) in &mut relays {
            caller.bounce(&peer, *relayed, 100 + round);
        }
    }
    assert_eq!(server.count(|c| &c.connections_accepted), 54);
    assert_eq!(server.supervisor.statistics().allocations, 50);
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let server = Server::start(V4, |_| {});
    let named: Vec<Arc<Certificate>> = ["one.example", "*.two.example"]
        .map(|name| certificate(name).0)
        .into();
    server.tls.replace(named.clone()).unwrap();
    for (name, which) in [
        ("one.example", 0),
        ("a.two.example", 1),
        ("three.example", 0),
        ("A.Two.Example", 1),
    ] {
        assert_eq!(shown(&server, name), named[which].serial(), "{name}");
    }
}

/// Fifty relays through the built binary, while the files change in every way that files are changed in.
#[test]
fn files_are_replaced_in_every_way_and_a_bad_one_keeps_the_old() {
    const NAME: &str = "relay.example";
    let directory = Directory::new("replaced");
    let path = |name: &str| directory.0.join(name);
    // As Kubernetes mounts a secret: names that lead through one link, which is exchanged.
    std::fs::create_dir(path("first")).unwrap();
    std::os::unix::fs::symlink("first", path("data")).unwrap();
    let write = |folder: &str, chain: &str, key: &str| {
        directory.write(&format!("{folder}/chain.pem"), chain);
        directory.write(&format!("{folder}/key.pem"), key);
    };
    let (old, chain, key) = certificate(NAME);
    write("first", &chain, &key);
    let setup = certified(&directory, "unused.example");
    for name in ["chain.pem", "key.pem"] {
        std::fs::remove_file(path(name)).unwrap();
        std::os::unix::fs::symlink(format!("data/{name}"), path(name)).unwrap();
    }
    let server = setup.start();
    let shows = |expected: &Certificate| {
        let expected = Some(expected.serial().to_owned());
        until("the right certificate", || {
            super::binary::shown(server.v4, NAME) == expected
        });
    };
    let failures = || server.metric("hairpin_certificate_reload_failures_total", &[]);
    shows(&old);
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut relays: Vec<_> = (0..50)
        .map(|_| {
            let mut caller = relaying(server.v4, NAME);
            let relayed = caller.allocate();
            caller.permit(peer.local_addr().unwrap());
            (caller, relayed)
        })
        .collect();
    let mut all_live = || {
        relays
            .iter_mut()
            .for_each(|(caller, relayed)| caller.bounce(&peer, *relayed, 100))
    };

    // In place, and told by a signal.
    let (second, chain, key) = certificate(NAME);
    write("first", &chain, &key);
    signal(&server, "HUP");
    shows(&second);
    all_live();
    // One renamed over the other, noticed by itself.
    let (third, chain, key) = certificate(NAME);
    directory.write("new-chain", &chain);
    directory.write("new-key", &key);
    std::fs::rename(path("new-chain"), path("first/chain.pem")).unwrap();
    std::fs::rename(path("new-key"), path("first/key.pem")).unwrap();
    shows(&third);
    all_live();
    // The link exchanged.
    let (fourth, chain, key) = certificate(NAME);
    std::fs::create_dir(path("next")).unwrap();
    write("next", &chain, &key);
    std::os::unix::fs::symlink("next", path("new-data")).unwrap();
    std::fs::rename(path("new-data"), path("data")).unwrap();
    shows(&fourth);
    all_live();
    assert_eq!(failures(), 0.0);
    // The chain first, and the key only later: until then the old one.
    let (fifth, chain, key) = certificate(NAME);
    directory.write("next/chain.pem", &chain);
    let line = server.wait_for_line("certificates not replaced");
    assert!(
        line.contains("chain.pem: ") && line.contains("cannot be used with this key"),
        "{line}"
    );
    until("it counts", || failures() == 1.0);
    shows(&fourth);
    all_live();
    directory.write("next/key.pem", &key);
    shows(&fifth);
    // Nothing that could be read at all; by a signal too.
    directory.write("next/key.pem", "no key");
    until("it counts", || failures() == 2.0);
    signal(&server, "HUP");
    until("it counts again", || failures() == 3.0);
    shows(&fifth);
    assert!(server.certificate_seconds_left(NAME) > 0.0);
    all_live();
    assert_eq!(server.metric("hairpin_allocations", &["tls"]), 50.0);
}

/// Certificates that a reload names bring TLS and DTLS to ports that had none; one without them takes no more of either. Connections go
/// on as they are, and a file that is wrong changes nothing.
#[test]
fn tls_comes_and_goes_with_a_reload() {
    const NAME: &str = "relay.example";
    let directory = Directory::new("tls-by-reload");
    let (named, chain, key) = certificate(NAME);
    let (chain, key) = (
        directory.write("chain.pem", &chain),
        directory.write("key.pem", &key),
    );
    let plain = format!("user = [\"{USER}:{PASSWORD}\"]\n");
    let secure = format!("{plain}certificate = [\"{chain}\"]\nprivate_key = [\"{key}\"]\n");
    let server = on_file(&directory.write("hairpin.toml", &plain)).start();
    let reload = |text: &str| {
        directory.write("hairpin.toml", text);
        ask(server.admin, "POST", "/reload", "", "")
    };
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let relay = |line: Line| {
        let mut caller = Caller::new(line);
        let relayed = caller.allocate();
        caller.permit(peer.local_addr().unwrap());
        (caller, relayed)
    };
    let mut relays = vec![relay(Line::Tcp(connect(server.v4)))];
    let serial = || super::binary::shown(server.v4, NAME);
    assert_eq!(serial(), None);

    assert_eq!(reload(&secure.replace("key.pem", "none.pem")).0, 400);
    assert_eq!(serial(), None, "all or nothing");
    let (status, report) = reload(&secure);
    assert_eq!(status, 200, "{report}");
    let changed = serde_json::from_str::<serde_json::Value>(&report).unwrap()["changed"].clone();
    assert_eq!(changed, serde_json::json!(["certificate", "private_key"]));
    assert_eq!(serial().as_deref(), Some(named.serial()));
    relays.push(relay(Line::Tls(Box::new(
        secured(trusting(), connect(server.v4), NAME).unwrap(),
    ))));
    relays.push(relay(Line::dtls_to(server.v4)));
    for (caller, relayed) in &mut relays {
        caller.bounce(&peer, *relayed, 100);
    }

    assert_eq!(reload(&plain).0, 200);
    until("no TLS", || serial().is_none());
    for (caller, relayed) in &mut relays {
        caller.bounce(&peer, *relayed, 100);
    }
    assert_eq!(server.metric("hairpin_allocations", &[]), 3.0);
    for (caller, _) in &mut relays {
        caller.granted(Request::Refresh { lifetime: 0 });
    }
}

/// While one server follows another the kernel has other shards hear the clients' records.
#[test]
fn dtls_clients_are_known_whichever_shard_hears_them() {
    let directory = Directory::new("dtls-handover");
    let door = directory.0.join("door");
    let setup = certified(&directory, "relay.example").flag("--handover", door.to_str().unwrap());
    let setup = setup.flag("--drain-timeout", "10m");
    let old = setup.start();
    let calls = |count: usize| -> Vec<Caller> {
        let mut callers: Vec<_> = (0..count)
            .map(|_| Caller::new(Line::dtls_to(old.v4)))
            .collect();
        callers.iter_mut().for_each(|caller| caller.echo(1));
        callers
    };
    let earlier = calls(4);
    let new = setup.start_in_place_of(&old);
    old.wait_for_line("another server has the ports");
    let mut later = calls(12);
    for mut caller in earlier {
        caller.echo_again();
        caller.granted(Request::Refresh { lifetime: 0 });
        later.iter_mut().for_each(Caller::echo_again);
    }
    until("the old server's end", || {
        !std::path::Path::new(&format!("/proc/{}", old.pid)).exists()
    });
    later.iter_mut().for_each(Caller::echo_again);
    assert_eq!(new.metric("hairpin_allocations", &[]), 12.0);
    signal(&new, "INT");
}
