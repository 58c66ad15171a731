//! Amplification: the size of responses to unauthenticated packets.

use crate::support::codec::*;
use crate::support::process::Server;

/// For any content of the request.
#[test]
fn binding_responses_have_at_most_32_octets_or_44_for_ipv6() {
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

/// 72 octets, or 88 with the attributes of RFC 8489, for realms of up to 8 octets.
#[test]
fn challenges_have_at_most_88_octets() {
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

/// RFC 8489 §6.3.1: all unknown attributes are listed, each once.
#[test]
fn a_list_of_unknown_attributes_is_no_longer_than_the_request() {
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

#[test]
fn unauthenticated_responses_over_udp_have_at_most_three_times_the_request() {
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
