//! TLS and DTLS on the relay's ports: relays through a server in this process and the built binary, with our own clients
//! and with other people's.

#[path = "../support/mod.rs"]
mod support;

mod abuse;
mod acme;
mod authority;
mod balancer;
mod binary;
mod interop;
mod replaced;

use support::line::{self, Line};
use support::relay::{self, Server};

#[test]
fn relays_over_every_transport_on_one_port_and_both_families() {
    for ip in relay::BOTH {
        let server = Server::start(ip, |_| {});
        for open in [Line::udp, Line::tcp, Line::tls, Line::dtls] {
            let mut caller = line::Caller::new(open(&server));
            caller.echo(5);
        }
        assert_eq!(server.count(|c| &c.tls_handshakes), 1);
        assert_eq!(server.count(|c| &c.dtls_handshakes), 1);
    }
}

#[test]
fn two_dtls_clients_reach_each_other_through_their_relays() {
    let server = Server::start(relay::V4, |_| {});
    let (mut one, mut two) = (
        line::Caller::new(Line::dtls(&server)),
        line::Caller::new(Line::tls(&server)),
    );
    let (first, second) = (one.allocate(), two.allocate());
    one.permit(second);
    two.permit(first);
    one.send(second, b"from datagrams to a stream");
    assert_eq!(two.data(), (first, b"from datagrams to a stream".to_vec()));
    two.send(first, b"and back");
    assert_eq!(one.data(), (second, b"and back".to_vec()));
}

#[test]
fn alpn_is_taken_where_it_is_ours_and_never_required() {
    let server = Server::start(relay::V4, |_| {});
    for (offered, agreed) in [
        (&b"stun.turn"[..], true),
        (b"stun.nat-discovery", true),
        (b"h3", false),
    ] {
        match Line::tls_with(&server, &[offered], "relay.example") {
            Ok(Line::Tls(stream)) => {
                assert!(agreed && stream.conn.alpn_protocol() == Some(offered))
            }
            Ok(_) => unreachable!(),
            Err(_) => assert!(!agreed, "{}", String::from_utf8_lossy(offered)),
        }
    }
    assert!(
        Line::tls_with(&server, &[], "somebody.else").is_ok(),
        "SNI chooses, it does not refuse"
    );
}
