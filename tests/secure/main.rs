//! TLS and DTLS on the relay's ports: a relay in this process and the built binary, with our own
//! client and with other implementations.

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod acme;
mod acme_server;
mod certificate_reload;
mod interop;
mod proxy_protocol;
mod strangers;

use support::client::{Client, SERVER_NAME};
use support::relay::{BOTH, Relay, V4};
use support::transport::{accept_any_certificate, connect, tls_handshake};

#[test]
fn one_port_relays_over_every_transport_and_both_families() {
    for ip in BOTH {
        let relay = Relay::start_secure(ip, |_| {});
        for open in [Client::udp, Client::tcp, Client::tls, Client::dtls] {
            open(relay.address).allocate_and_exchange(5);
        }
        assert_eq!(relay.count(|c| &c.tls_handshakes), 1);
        assert_eq!(relay.count(|c| &c.dtls_handshakes), 1);
    }
}

#[test]
fn a_dtls_client_and_a_tls_client_reach_each_other_through_their_relayed_addresses() {
    let relay = Relay::start_secure(V4, |_| {});
    let (mut one, mut two) = (relay.dtls(), relay.tls());
    let (first, second) = (one.allocate(), two.allocate());
    one.permit(second);
    two.permit(first);
    one.send_to(second, b"from datagrams to a stream");
    assert_eq!(two.data(), (first, b"from datagrams to a stream".to_vec()));
    two.send_to(first, b"and back");
    assert_eq!(one.data(), (second, b"and back".to_vec()));
}

/// RFC 7443: the server agrees to its own ALPN names, refuses others, and accepts a client without
/// ALPN.
#[test]
fn alpn_is_optional_but_must_name_turn_or_stun() {
    let relay = Relay::start_secure(V4, |_| {});
    let handshake = |alpn: &[&[u8]], name: &str| {
        let mut config = accept_any_certificate();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        tls_handshake(config, connect(relay.address), name)
    };
    for protocol in [&b"stun.turn"[..], b"stun.nat-discovery"] {
        let stream = handshake(&[protocol], SERVER_NAME).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(protocol));
    }
    assert!(handshake(&[b"h3"], SERVER_NAME).is_err());
    assert!(
        handshake(&[], "unknown.example").is_ok(),
        "SNI selects a certificate, it refuses no client"
    );
}
