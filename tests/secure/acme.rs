//! "Automatic certificates by ACME (TLS-ALPN-01 on the same port 443) with a well-kept crate, account and certificates in a state
//! directory; tested against a real ACME test server".

use super::authority::{Authority, NAME, Place};
use super::binary::{relaying, serial_of, shown, verified_by};
use crate::support::operating::{Directory, signal, until};
use crate::support::process::{Server, Setup};
use rcgen::{CertificateParams, KeyPair};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// A server that orders a certificate.
fn ordering(place: &Place) -> Server {
    let path = |name: &str| place.directory.0.join(name).to_str().unwrap().to_owned();
    let setup = Setup::new()
        .flag("--web", "off")
        .flag("--listen", &place.relay.to_string());
    let setup = setup
        .flag("--acme-domain", NAME)
        .flag("--acme-domain", OTHER)
        .flag("--acme-directory", &place.url());
    setup
        .flag("--acme-authority", &path("authority.pem"))
        .flag("--state-directory", &path("state"))
        .start()
}

#[test]
fn a_certificate_is_ordered_once_kept_and_shown_again_after_a_restart() {
    let place = Place::new("acme-order");
    let address = place.relay;
    let Some(authority) = Authority::start(&place, YEAR, Ipv4Addr::LOCALHOST) else {
        return;
    };
    let server = ordering(&place);
    server.wait_for_line(&format!("turns:{NAME}:"));
    until("a certificate", || shown(address, NAME).is_some());
    let ordered = shown(address, NAME).unwrap();
    assert!(
        authority
            .said()
            .contains(&format!("Issued certificate serial {ordered}"))
    );
    verified_by(&authority.root(), address, NAME);
    verified_by(&authority.root(), address, OTHER);
    assert_eq!(
        shown(address, OTHER).as_ref(),
        Some(&ordered),
        "one for both names"
    );
    // TURN is spoken behind it, and by DTLS too.
    relaying(address, NAME).echo(2);
    let mode = |name: &str| {
        place
            .directory
            .0
            .join("state")
            .join(name)
            .metadata()
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(
        ["", "account.json", "acme.pem", "acme.key"].map(mode),
        [0o700, 0o600, 0o600, 0o600]
    );
    assert!(server.certificate_seconds_left(NAME) > 300.0 * 86_400.0);
    assert_eq!(
        server.metric("hairpin_certificate_reload_failures_total", &[]),
        0.0
    );

    // Nobody could be asked for another one.
    assert!(
        authority
            .said()
            .contains("There are now 1 orders in the db")
    );
    drop((server, authority));
    // Clients of the server before come back as soon as there is somebody.
    let first = std::thread::spawn(move || first_shown(address));
    let server = ordering(&place);
    assert_eq!(
        first.join().unwrap(),
        Some(ordered.clone()),
        "to the very first"
    );
    assert_eq!(shown(address, NAME), Some(ordered));
    relaying(address, NAME).echo(1);
    assert!(
        !server.printed().contains("no certificate by ACME"),
        "{}",
        server.printed()
    );
}

#[test]
fn it_is_renewed_before_it_expires_and_nobody_is_disconnected() {
    let place = Place::new("acme-renewal");
    let address = place.relay;
    let soon = Duration::from_secs(9);
    let Some(authority) = Authority::start(&place, soon, Ipv4Addr::LOCALHOST) else {
        return;
    };
    let _server = ordering(&place);
    until("a certificate", || shown(address, NAME).is_some());
    let first = shown(address, NAME).unwrap();
    let mut caller = relaying(address, NAME);
    let relayed = caller.allocate();
    let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    peer.set_read_timeout(Some(crate::support::line::PATIENCE))
        .unwrap();
    caller.permit(peer.local_addr().unwrap());
    until("the next", || {
        caller.bounce(&peer, relayed, 100);
        shown(address, NAME).unwrap() != first
    });
    caller.bounce(&peer, relayed, 200);
    let said = authority.said();
    assert!(
        said.contains("There are now 1 accounts") && !said.contains("There are now 2 accounts"),
        "one account"
    );
}

#[test]
fn a_refusal_leaves_the_old_one_is_told_and_ends_when_the_name_leads_here() {
    let place = Place::new("acme-refusal");
    let address = place.relay;
    let start = |leads| Authority::start(&place, YEAR, leads);
    let Some(authority) = start(Ipv4Addr::LOCALHOST) else {
        return;
    };
    let server = ordering(&place);
    until("a certificate", || shown(address, NAME).is_some());
    drop((server, authority));

    // What was kept is too old, the authority has forgotten the account, and finds nobody where the name leads.
    let old = expired(&place.directory);
    let Some(authority) = start(Ipv4Addr::new(127, 0, 0, 9)) else {
        return;
    };
    let server = ordering(&place);
    let line = server.wait_for_line("no certificate by ACME");
    assert!(
        line.contains(NAME) && line.contains("Failed to connect to 127.0.0.9"),
        "{line}"
    );
    server.wait_for_line("has forgotten the account");
    assert_eq!(shown(address, NAME), Some(old));
    relaying(address, NAME).echo(1);
    assert_eq!(
        server.metric("hairpin_certificate_reload_failures_total", &[]),
        1.0
    );
    assert!(server.certificate_seconds_left(NAME) < 0.0);

    for name in [NAME, OTHER] {
        authority.lead(name, Ipv4Addr::LOCALHOST);
    }
    signal(&server, "HUP");
    until("a new one", || {
        let serial = shown(address, NAME).unwrap();
        authority
            .said()
            .contains(&format!("Issued certificate serial {serial}"))
    });
    assert!(server.certificate_seconds_left(NAME) > 0.0);
}

/// The serial that the first connection is shown which `address` takes.
fn first_shown(address: SocketAddr) -> Option<String> {
    let end = Instant::now() + crate::support::line::PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < end, "nobody listens");
        std::thread::yield_now();
    }
    shown(address, NAME)
}

/// Puts a certificate into the state directory whose time is over; its serial.
fn expired(directory: &Directory) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([NAME.to_owned(), OTHER.to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    directory.write("state/acme.pem", &certificate.pem());
    directory.write("state/acme.key", &key.serialize_pem());
    serial_of(certificate.der())
}

/// A second name of the same server.
const OTHER: &str = "turn.example";
const YEAR: Duration = Duration::from_secs(365 * 86_400);
