//! "Certificate change under 50 live TLS relays: zero lost connections; after it new handshakes show the new serial."

use super::line::{Caller, Line, PATIENCE};
use super::server::{Server, V4, certificate};
use hairpin::net::Certificate;
use std::net::UdpSocket;
use std::sync::Arc;

/// The serial that a new TLS connection is shown.
fn shown(server: &Server, name: &str) -> String {
    let Line::Tls(stream) = Line::tls_with(server, &[], name).unwrap() else { unreachable!() };
    let chain = stream.conn.peer_certificates().unwrap();
    let (_, leaf) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
    leaf.raw_serial().iter().map(|octet| format!("{octet:02x}")).collect()
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
    assert_eq!(server.count("connections_accepted"), 54);
    assert_eq!(server.supervisor.statistics().allocations, 50);
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let server = Server::start(V4, |_| {});
    let named: Vec<Arc<Certificate>> = ["one.example", "*.two.example"].map(|name| certificate(name).0).into();
    server.tls.replace(named.clone()).unwrap();
    for (name, which) in [("one.example", 0), ("a.two.example", 1), ("three.example", 0), ("A.Two.Example", 1)] {
        assert_eq!(shown(&server, name), named[which].serial(), "{name}");
    }
}
