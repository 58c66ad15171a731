//! Certificates that change under a running server: open connections go on, new handshakes see the
//! new certificate.

use crate::support::certificate::{self_signed, shown_serial};
use crate::support::client::{Client, PASSWORD, Peer, SERVER_NAME, USER};
use crate::support::directory::Directory;
use crate::support::operator::{ask, on_file, signal, until};
use crate::support::process::Setup;
use crate::support::relay::{Relay, V4, tls};
use hairpin::net::Certificate;
use hairpin::net::tls::server::TlsOptions;
use std::net::SocketAddr;
use std::sync::Arc;

/// Clients with one allocation each, all of which permit the same peer.
struct Clients {
    peer: Peer,
    clients: Vec<(Client, SocketAddr)>,
}

impl Clients {
    fn none() -> Clients {
        Clients {
            peer: Peer::v4(),
            clients: Vec::new(),
        }
    }

    fn over_tls(count: usize, server: SocketAddr) -> Clients {
        let mut clients = Clients::none();
        (0..count).for_each(|_| clients.add(Client::tls(server)));
        clients
    }

    fn add(&mut self, mut client: Client) {
        let relayed = client.allocate();
        client.permit(self.peer.address);
        self.clients.push((client, relayed));
    }

    /// Each client exchanges a packet with the peer.
    fn exchange(&mut self) {
        for (client, relayed) in &mut self.clients {
            client.exchange_with(&self.peer, *relayed, 100);
        }
    }
}

#[test]
fn fifty_clients_stay_connected_and_new_handshakes_see_the_new_certificate() {
    let tls = tls(TlsOptions::default());
    let relay = Relay::start(V4, |plan| plan.secure.tls = Some(tls.clone()));
    let shown = || shown_serial(relay.address, SERVER_NAME).unwrap();
    assert_eq!(shown(), tls.certificates()[0].serial());
    let mut clients = Clients::over_tls(50, relay.address);
    for _ in 0..3 {
        let new = self_signed(SERVER_NAME).certificate;
        tls.replace(vec![new.clone()]).unwrap();
        assert_eq!(shown(), new.serial());
        clients.exchange();
    }
    assert_eq!(relay.count(|c| &c.connections_accepted), 54);
    assert_eq!(relay.supervisor.statistics().allocations, 50);
}

#[test]
fn the_server_name_selects_the_certificate() {
    let tls = tls(TlsOptions::default());
    let relay = Relay::start(V4, |plan| plan.secure.tls = Some(tls.clone()));
    let certificates: Vec<Arc<Certificate>> = ["one.example", "*.two.example"]
        .map(|name| self_signed(name).certificate)
        .into();
    tls.replace(certificates.clone()).unwrap();
    for (name, index) in [
        ("one.example", 0),
        ("a.two.example", 1),
        ("three.example", 0),
        ("A.Two.Example", 1),
    ] {
        let shown = shown_serial(relay.address, name);
        assert_eq!(
            shown.as_deref(),
            Some(certificates[index].serial()),
            "{name}"
        );
    }
}

/// The certificate files of the built binary are replaced in every way that is in use; fifty
/// clients stay connected.
#[test]
fn every_way_to_replace_the_files_is_noticed_and_a_bad_file_keeps_the_old_certificate() {
    let directory = Directory::new("certificate-reload");
    let path = |name: &str| directory.join(name);
    // Kubernetes mounts a secret as links that lead through one link to a folder, and replaces that
    // link.
    std::fs::create_dir(path("first")).unwrap();
    std::os::unix::fs::symlink("first", path("data")).unwrap();
    let write = |folder: &str| {
        let new = self_signed(SERVER_NAME);
        directory.write(&format!("{folder}/chain.pem"), &new.chain);
        directory.write(&format!("{folder}/key.pem"), &new.key);
        new.certificate
    };
    let first = write("first");
    let setup = Setup::new().certificate(&directory, "unused.example");
    for name in ["chain.pem", "key.pem"] {
        std::fs::remove_file(path(name)).unwrap();
        std::os::unix::fs::symlink(format!("data/{name}"), path(name)).unwrap();
    }
    let server = setup.start();
    let wait_for = |expected: &Certificate| {
        until("the expected certificate is shown", || {
            shown_serial(server.v4, SERVER_NAME).as_deref() == Some(expected.serial())
        });
    };
    let failures = || server.metric("hairpin_certificate_reload_failures_total", &[]);
    wait_for(&first);
    let mut clients = Clients::over_tls(50, server.v4);

    // Overwritten in place, then SIGHUP.
    let second = write("first");
    signal(&server, "HUP");
    wait_for(&second);
    clients.exchange();
    // New files renamed over the old ones; no signal.
    let third = self_signed(SERVER_NAME);
    directory.write("new-chain", &third.chain);
    directory.write("new-key", &third.key);
    std::fs::rename(path("new-chain"), path("first/chain.pem")).unwrap();
    std::fs::rename(path("new-key"), path("first/key.pem")).unwrap();
    wait_for(&third.certificate);
    clients.exchange();
    // The link to the folder replaced.
    std::fs::create_dir(path("next")).unwrap();
    let fourth = write("next");
    std::os::unix::fs::symlink("next", path("new-data")).unwrap();
    std::fs::rename(path("new-data"), path("data")).unwrap();
    wait_for(&fourth);
    clients.exchange();
    assert_eq!(failures(), 0.0);
    // The chain before its key: the pair does not match until the key is there too.
    let fifth = self_signed(SERVER_NAME);
    directory.write("next/chain.pem", &fifth.chain);
    let line = server.wait_for_line("certificates not replaced");
    assert!(
        line.contains("chain.pem: ") && line.contains("cannot be used with this key"),
        "{line}"
    );
    until("the failure is counted", || failures() == 1.0);
    wait_for(&fourth);
    clients.exchange();
    directory.write("next/key.pem", &fifth.key);
    wait_for(&fifth.certificate);
    // An unreadable key, noticed by the server itself and after SIGHUP.
    directory.write("next/key.pem", "no key");
    until("the failure is counted", || failures() == 2.0);
    signal(&server, "HUP");
    until("the failure is counted again", || failures() == 3.0);
    wait_for(&fifth.certificate);
    assert!(server.certificate_seconds_left(SERVER_NAME) > 0.0);
    clients.exchange();
    assert_eq!(server.metric("hairpin_allocations", &["tls"]), 50.0);
}

/// A reload that adds certificates enables TLS and DTLS on open ports. A reload that removes
/// certificates disables both for new clients. An invalid file changes nothing.
#[test]
fn a_reload_enables_and_disables_tls_and_keeps_open_connections() {
    let directory = Directory::new("tls-by-reload");
    let new = self_signed(SERVER_NAME);
    let chain = directory.write("chain.pem", &new.chain);
    let key = directory.write("key.pem", &new.key);
    let plain = format!("user = [\"{USER}:{PASSWORD}\"]\n");
    let secure = format!("{plain}certificate = [\"{chain}\"]\nprivate_key = [\"{key}\"]\n");
    let server = on_file(&directory.write("hairpin.toml", &plain)).start();
    let reload = |text: &str| {
        directory.write("hairpin.toml", text);
        ask(server.admin, "POST", "/reload", "", "")
    };
    let shown = || shown_serial(server.v4, SERVER_NAME);
    let mut clients = Clients::none();
    clients.add(server.tcp());
    assert_eq!(shown(), None);

    assert_eq!(reload(&secure.replace("key.pem", "none.pem")).0, 400);
    assert_eq!(shown(), None, "all or nothing");
    let (status, report) = reload(&secure);
    assert_eq!(status, 200, "{report}");
    let changed = serde_json::from_str::<serde_json::Value>(&report).unwrap()["changed"].clone();
    assert_eq!(changed, serde_json::json!(["certificate", "private_key"]));
    assert_eq!(shown().as_deref(), Some(new.certificate.serial()));
    clients.add(Client::tls(server.v4));
    clients.add(Client::dtls(server.v4));
    clients.exchange();

    assert_eq!(reload(&plain).0, 200);
    until("no TLS", || shown().is_none());
    clients.exchange();
    assert_eq!(server.metric("hairpin_allocations", &[]), 3.0);
    for (client, _) in &mut clients.clients {
        assert!(client.refresh(0).is_success());
    }
}

/// When another server takes over the ports, the kernel distributes the clients' datagrams over the
/// shards anew.
#[test]
fn a_dtls_record_is_accepted_on_whichever_shard_receives_it() {
    let directory = Directory::new("dtls-handover");
    let setup = Setup::new()
        .certificate(&directory, SERVER_NAME)
        .flag("--handover", &directory.text("handover"))
        .flag("--drain-timeout", "10m");
    let old = setup.start();
    let connect = |count: usize| -> Vec<Client> {
        let mut clients: Vec<_> = (0..count).map(|_| Client::dtls(old.v4)).collect();
        for client in &mut clients {
            client.allocate_and_exchange(1);
        }
        clients
    };
    let earlier = connect(4);
    let new = setup.start_in_place_of(&old);
    old.wait_for_line("another server has taken over the ports");
    let mut later = connect(12);
    for mut client in earlier {
        client.assert_allocated();
        assert!(client.refresh(0).is_success());
        later.iter_mut().for_each(Client::assert_allocated);
    }
    until("the old server has ended", || {
        !std::path::Path::new(&format!("/proc/{}", old.pid)).exists()
    });
    later.iter_mut().for_each(Client::assert_allocated);
    assert_eq!(new.metric("hairpin_allocations", &[]), 12.0);
    signal(&new, "INT");
}
