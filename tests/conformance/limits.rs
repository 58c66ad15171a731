//! Issue 2: amplification: what an unauthenticated packet can make the server send.

use crate::support::codec::*;
use crate::support::process::Server;

/// Issue 2: "Binding at most 32 bytes for IPv4 and 44 for IPv6", whatever the request carries.
#[test]
fn binding_answers_are_small() {
    let server = Server::shared();
    for (address, most) in [(server.v4, 32), (server.v6, 44)] {
        let mut client = crate::support::client::Client::udp(address);
        let plain = client.exchange(&Outgoing::request(BINDING));
        let adorned = client.exchange(
            &Outgoing::request(BINDING).with(Attribute::plain(SOFTWARE, b"a client of some kind")),
        );
        assert!(
            plain.octets.len() <= most && adorned.octets.len() <= most,
            "{plain:?}"
        );
    }
}

/// Issue 2: "a 401 at most 72 (88 once it carries what RFC 8489 adds) for realms up to 8 bytes".
#[test]
fn challenges_are_small() {
    let server = Server::shared();
    for address in [server.v4, server.v6] {
        let mut client = crate::support::client::Client::udp(address);
        for method in [ALLOCATE, REFRESH, CREATE_PERMISSION, CHANNEL_BIND] {
            let answer = client.exchange(&Outgoing::request(method));
            let most = if answer.has(PASSWORD_ALGORITHMS) {
                88
            } else {
                72
            };
            assert!(
                answer.octets.len() <= most,
                "{} octets: {answer:?}",
                answer.octets.len()
            );
        }
    }
}

/// RFC 8489 §6.3.1: all of them are listed, however many; each once, so that the answer is no larger than what came in.
#[test]
fn unknown_attribute_answers_do_not_amplify() {
    let mut client = Server::shared().udp();
    let mut request = Outgoing::request(BINDING);
    request
        .attributes
        .extend((0..250).map(|i| Attribute::plain(0x7000 + i % 200, b"")));
    let sent = request.encode(None).len();
    let answer = client.exchange(&request);
    assert_eq!(answer.error(), Some(420));
    assert!(
        answer.octets.len() <= sent,
        "{} octets for {sent}",
        answer.octets.len()
    );
    assert_eq!(answer.unknown(), (0x7000..0x70c8).collect::<Vec<u16>>());
}

/// Every unauthenticated answer over UDP, whatever the request, stays within three times the request.
#[test]
fn no_anonymous_request_is_amplified_much() {
    let mut client = Server::shared().udp();
    for method in [
        BINDING,
        ALLOCATE,
        REFRESH,
        CREATE_PERMISSION,
        CHANNEL_BIND,
        CONNECT,
        CONNECTION_BIND,
    ] {
        let request = Outgoing::request(method).encode(None);
        client.send_raw(&request);
        for packet in client.fence() {
            let crate::support::client::Packet::Stun(answer) = packet else {
                panic!("{packet:?}")
            };
            assert!(
                answer.octets.len() <= 5 * request.len(),
                "{} octets for {}",
                answer.octets.len(),
                request.len()
            );
        }
    }
}
