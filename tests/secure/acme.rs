//! Certificates by ACME (TLS-ALPN-01 on the relay's own port), ordered from an ACME server for
//! tests.

use super::acme_server::{AcmeServer, Addresses};
use crate::support::TIMEOUT;
use crate::support::certificate::{serial_of, shown_serial};
use crate::support::client::{Client, Peer, SERVER_NAME};
use crate::support::directory::Directory;
use crate::support::operator::{signal, until};
use crate::support::process::{Server, Setup};
use crate::support::transport::{connect, tls_handshake};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A server that orders one certificate for two names.
fn start(addresses: &Addresses) -> Server {
    let directory = &addresses.directory;
    Setup::new()
        .flag("--web", "off")
        .flag("--listen", &addresses.relay.to_string())
        .flag("--acme-domain", SERVER_NAME)
        .flag("--acme-domain", OTHER_NAME)
        .flag("--acme-directory", &addresses.url())
        .flag("--acme-authority", &directory.text("authority.pem"))
        .flag("--state-directory", &directory.text("state"))
        .start()
}

#[test]
fn a_certificate_is_ordered_once_and_shown_again_after_a_restart() {
    let addresses = Addresses::new("acme-order");
    let relay = addresses.relay;
    let Some(acme) = AcmeServer::start(&addresses, YEAR, Ipv4Addr::LOCALHOST) else {
        return;
    };
    let server = start(&addresses);
    server.wait_for_line(&format!("turns:{SERVER_NAME}:"));
    let ordered = wait_for_certificate(relay);
    assert!(
        acme.log()
            .contains(&format!("Issued certificate serial {ordered}"))
    );
    connect_verified(&acme.root(), relay, SERVER_NAME);
    connect_verified(&acme.root(), relay, OTHER_NAME);
    let other = shown_serial(relay, OTHER_NAME);
    assert_eq!(other.as_ref(), Some(&ordered), "one for both names");
    Client::tls(relay).allocate_and_exchange(2);
    let mode = |name: &str| {
        let path = addresses.directory.join("state").join(name);
        path.metadata().unwrap().permissions().mode() & 0o777
    };
    assert_eq!(
        ["", "account.json", "acme.pem", "acme.key"].map(mode),
        [0o700, 0o600, 0o600, 0o600]
    );
    assert!(server.certificate_seconds_left(SERVER_NAME) > 300.0 * 86_400.0);
    assert_eq!(
        server.metric("hairpin_certificate_reload_failures_total", &[]),
        0.0
    );
    assert!(acme.log().contains("There are now 1 orders in the db"));

    // Without the ACME server the certificate can only come from the state directory.
    drop((server, acme));
    let first = std::thread::spawn(move || {
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(relay).is_err() {
            assert!(Instant::now() < deadline, "the server does not listen");
            std::thread::yield_now();
        }
        shown_serial(relay, SERVER_NAME)
    });
    let server = start(&addresses);
    let first = first.join().unwrap();
    assert_eq!(first.as_ref(), Some(&ordered), "to the very first client");
    assert_eq!(shown_serial(relay, SERVER_NAME), Some(ordered));
    Client::tls(relay).allocate_and_exchange(1);
    assert!(
        !server.printed().contains("no certificate by ACME"),
        "{}",
        server.printed()
    );
}

#[test]
fn a_certificate_is_renewed_before_it_expires_and_clients_stay_connected() {
    let addresses = Addresses::new("acme-renewal");
    let relay = addresses.relay;
    let validity = Duration::from_secs(9);
    let Some(acme) = AcmeServer::start(&addresses, validity, Ipv4Addr::LOCALHOST) else {
        return;
    };
    let _server = start(&addresses);
    let first = wait_for_certificate(relay);
    let mut client = Client::tls(relay);
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.permit(peer.address);
    until("the certificate is renewed", || {
        client.exchange_with(&peer, relayed, 100);
        shown_serial(relay, SERVER_NAME).unwrap() != first
    });
    client.exchange_with(&peer, relayed, 200);
    let log = acme.log();
    assert!(
        log.contains("There are now 1 accounts") && !log.contains("There are now 2 accounts"),
        "one account"
    );
}

#[test]
fn a_refused_order_keeps_the_old_certificate_is_logged_and_is_tried_again_on_a_reload() {
    let addresses = Addresses::new("acme-refusal");
    let relay = addresses.relay;
    let start_acme = |ip| AcmeServer::start(&addresses, YEAR, ip);
    let Some(acme) = start_acme(Ipv4Addr::LOCALHOST) else {
        return;
    };
    let server = start(&addresses);
    wait_for_certificate(relay);
    drop((server, acme));

    // The stored certificate has expired, the new ACME server does not know the account, and the
    // names resolve to an address on which nothing listens.
    let expired = store_expired_certificate(&addresses.directory);
    let acme = start_acme(Ipv4Addr::new(127, 0, 0, 9)).unwrap();
    let server = start(&addresses);
    let line = server.wait_for_line("no certificate by ACME");
    assert!(
        line.contains(SERVER_NAME) && line.contains("Failed to connect to 127.0.0.9"),
        "{line}"
    );
    server.wait_for_line("ACME account no longer exists");
    assert_eq!(shown_serial(relay, SERVER_NAME), Some(expired));
    Client::tls(relay).allocate_and_exchange(1);
    let metric = |name: &str| server.metric(name, &[]);
    assert_eq!(metric("hairpin_certificate_reload_failures_total"), 1.0);
    let expiry = || server.certificate_seconds_left(SERVER_NAME);
    assert!(expiry() < 0.0);

    for name in [SERVER_NAME, OTHER_NAME] {
        acme.resolve(name, Ipv4Addr::LOCALHOST);
    }
    signal(&server, "HUP");
    until("a new certificate is shown", || {
        let serial = shown_serial(relay, SERVER_NAME).unwrap();
        acme.log()
            .contains(&format!("Issued certificate serial {serial}"))
    });
    assert!(expiry() > 0.0);
}

/// Waits until the relay completes handshakes; returns the serial that it shows.
fn wait_for_certificate(relay: SocketAddr) -> String {
    let mut serial = None;
    until("a certificate is shown", || {
        serial = shown_serial(relay, SERVER_NAME);
        serial.is_some()
    });
    serial.unwrap()
}

/// Connects as a client that trusts only `root`.
fn connect_verified(root: &str, server: SocketAddr, name: &str) {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(root.as_bytes()).unwrap())
        .unwrap();
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls_handshake(config, connect(server), name).unwrap();
}

/// Writes an expired certificate into the state directory; returns its serial.
fn store_expired_certificate(directory: &Directory) -> String {
    let key = KeyPair::generate().unwrap();
    let names = [SERVER_NAME.to_owned(), OTHER_NAME.to_owned()];
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    directory.write("state/acme.pem", &certificate.pem());
    directory.write("state/acme.key", &key.serialize_pem());
    serial_of(certificate.der())
}

const OTHER_NAME: &str = "turn.example";
const YEAR: Duration = Duration::from_secs(365 * 86_400);
