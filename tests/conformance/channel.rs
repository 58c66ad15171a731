//! RFC 8656 §12: channels. Their expiry is tested in `virtual_time`.

use crate::support::client::Peer;
use crate::support::codec::*;
use crate::support::process::{Server, Setup};

/// RFC 8656 §12.6: "the server relays the application data to the peer by forming a UDP datagram";
/// §12.5: "The server, on the other hand, MUST use the ChannelData message if a channel has been
/// bound to the peer."
#[test]
fn channel_data_is_relayed_both_ways() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        for length in [0, 1, 2, 3, 4, 5, 7, 8, 1200, 1472, 9000] {
            let payload: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            client.send_channel(0x4000, &payload);
            assert_eq!(peer.receive(), (relayed, payload.clone()));
            peer.send(relayed, &payload);
            assert_eq!(client.channel_data(), (0x4000, payload));
        }
    }
}

/// With an IPv6 relayed address and peer.
#[test]
fn channel_data_is_relayed_over_ipv6() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate_v6();
        let peer = Peer::v6();
        client.bind(0x4fff, peer.address);
        client.send_channel(0x4fff, b"out");
        assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
        peer.send(relayed, b"in");
        assert_eq!(client.channel_data(), (0x4fff, b"in".to_vec()));
    }
}

/// RFC 8656 §12.2: "The channel number is in the range 0x4000 through 0x4FFF (inclusive)"; else
/// 400.
#[test]
fn a_channel_number_outside_its_range_gets_400() {
    for mut client in Server::shared().both() {
        client.allocate();
        for number in [0x0000, 0x3fff, 0x5000, 0x7fff, 0xffff] {
            assert_eq!(
                client.try_bind(number, Peer::v4().address).error(),
                Some(400),
                "{number:#x}"
            );
        }
        for number in [0x4000, 0x4fff] {
            client.bind(number, Peer::v4().address);
        }
    }
}

/// RFC 5766 §11 allowed numbers up to 0x7FFF, and coturn's library draws them at random. A client
/// counts as one of RFC 5766 if it sends FINGERPRINT and does not use the features of RFC 8489
/// that the server offers; other clients get 400.
#[test]
fn clients_of_rfc_5766_may_use_channel_numbers_up_to_7fff() {
    for mut client in Server::shared().both() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        let bind = |number| {
            Outgoing::request(CHANNEL_BIND)
                .with(Attribute::channel(number))
                .with(Attribute::peer(peer.address))
        };
        assert_eq!(client.ask(bind(0x8000).fingerprint()).error(), Some(400));
        assert!(client.ask(bind(0x7fff).fingerprint()).is_success());
        client.send_channel(0x7fff, b"old");
        assert_eq!(peer.receive(), (relayed, b"old".to_vec()));
    }
}

/// RFC 8656 §12.2: "The request contains both a CHANNEL-NUMBER and an XOR-PEER-ADDRESS attribute";
/// else 400.
#[test]
fn channel_bind_without_number_or_peer_gets_400() {
    for mut client in Server::shared().both() {
        client.allocate();
        let peer = Attribute::peer(Peer::v4().address);
        let requests = [
            Outgoing::request(CHANNEL_BIND),
            Outgoing::request(CHANNEL_BIND).with(Attribute::channel(0x4000)),
            Outgoing::request(CHANNEL_BIND).with(peer.clone()),
            Outgoing::request(CHANNEL_BIND)
                .with(Attribute::plain(CHANNEL_NUMBER, b"\x40\x00"))
                .with(peer),
            Outgoing::request(CHANNEL_BIND)
                .with(Attribute::channel(0x4000))
                .with(Attribute::plain(XOR_PEER_ADDRESS, b"\0\x01\0\0")),
        ];
        for request in requests {
            let answer = client.ask(request);
            assert_eq!(answer.error(), Some(400), "{answer:?}");
        }
    }
}

/// RFC 8656 §12.2: "The channel number is not currently bound to a different transport address
/// (same transport address is OK)".
#[test]
fn a_bound_channel_cannot_be_bound_to_another_peer() {
    for mut client in Server::shared().both() {
        client.allocate();
        let (one, two) = (Peer::v4(), Peer::v4());
        client.bind(0x4001, one.address);
        client.bind(0x4001, one.address);
        assert_eq!(client.try_bind(0x4001, two.address).error(), Some(400));
        client.send_channel(0x4001, b"still the first");
        assert_eq!(one.receive().1, b"still the first");
    }
}

/// RFC 8656 §12.2: "The transport address is not currently bound to a different channel number."
#[test]
fn a_bound_peer_cannot_be_bound_to_another_channel() {
    for mut client in Server::shared().both() {
        let relayed = client.allocate();
        let (one, two) = (Peer::v4(), Peer::v4());
        client.bind(0x4001, one.address);
        assert_eq!(client.try_bind(0x4002, one.address).error(), Some(400));
        client.bind(0x4002, two.address);
        one.send(relayed, b"one");
        assert_eq!(client.channel_data(), (0x4001, b"one".to_vec()));
        two.send(relayed, b"two");
        assert_eq!(client.channel_data(), (0x4002, b"two".to_vec()));
    }
}

/// RFC 8656 §12: "Channel bindings are specific to an allocation".
#[test]
fn channels_belong_to_one_allocation() {
    let server = Server::shared();
    let (mut one, mut two) = (server.udp(), server.udp());
    let (a, b) = (one.allocate(), two.allocate());
    let peer = Peer::v4();
    one.bind(0x4001, peer.address);
    two.bind(0x4002, peer.address);
    one.send_channel(0x4001, b"one");
    assert_eq!(peer.receive(), (a, b"one".to_vec()));
    two.send_channel(0x4001, b"not bound here");
    two.send_channel(0x4002, b"two");
    assert_eq!(peer.receive(), (b, b"two".to_vec()));
}

/// RFC 8656 §12.2: "The server also installs or refreshes a permission for the IP address in the
/// XOR-PEER-ADDRESS attribute".
#[test]
fn channel_bind_installs_a_permission() {
    let mut client = Server::shared().udp();
    let relayed = client.allocate();
    let (bound, beside) = (Peer::v4(), Peer::v4());
    client.bind(0x4001, bound.address);
    beside.send(relayed, b"same address");
    assert_eq!(client.data(), (beside.address, b"same address".to_vec()));
    client.send_to(beside.address, b"and back");
    assert_eq!(beside.receive().1, b"and back");
}

/// RFC 8656 §12.6: "If the ChannelData message is received on a channel that is not bound to any
/// peer, then the message is silently discarded."
#[test]
fn channel_data_on_an_unbound_channel_is_discarded() {
    for mut client in Server::shared().both() {
        client.allocate();
        let peer = Peer::v4();
        client.bind(0x4001, peer.address);
        client.send_channel(0x4002, b"unbound");
        client.send_channel(0x4001, b"bound");
        assert_eq!(peer.receive().1, b"bound");
        assert!(client.fence().is_empty());
    }
}

/// RFC 8656 §12.6: "If the message uses a value in the reserved range (0x5000 through 0xFFFF), then
/// the message is silently discarded."
#[test]
fn reserved_first_octets_are_discarded() {
    let mut client = Server::shared().udp();
    client.allocate();
    for first in [
        0x04_u8, 0x10, 0x17, 0x20, 0x3f, 0x50, 0x7f, 0x80, 0xbf, 0xc0, 0xff,
    ] {
        client.send_raw(&[first, 0, 0, 4, 1, 2, 3, 4]);
    }
    assert!(client.fence().is_empty());
}

/// RFC 8656 §12.6: "if the UDP datagram is too short to contain the claimed length of the
/// ChannelData message [...] then the message is silently discarded"; padding over UDP "is not
/// required but MAY be included" (§12.5).
#[test]
fn truncated_channel_data_over_udp_is_discarded_and_padding_allowed() {
    let mut client = Server::shared().udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4001, peer.address);
    client.send_raw(&[0x40, 0x01, 0, 5, 1, 2, 3, 4]);
    client.send_raw(&[0x40, 0x01, 0xff, 0xff, 1, 2, 3, 4]);
    client.send_raw(&[0x40, 0x01, 0]);
    client.send_raw(&channel_data(0x4001, b"abcde", true));
    assert_eq!(peer.receive().1, b"abcde", "padding is no payload");
    client.send_raw(&channel_data(0x4001, b"abcde", false));
    assert_eq!(peer.receive().1, b"abcde");
}

/// RFC 8656 §12.5: "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple
/// of four bytes [...] The padding is not reflected in the length field".
#[test]
fn channel_data_over_tcp_is_padded() {
    let mut client = Server::shared().tcp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4001, peer.address);
    for payload in [&b"a"[..], b"ab", b"abc", b"abcd", b""] {
        client.send_raw(&channel_data(0x4001, payload, true));
        client.send_raw(&channel_data(0x4001, payload, true));
        assert_eq!(peer.receive().1, payload);
        assert_eq!(peer.receive().1, payload);
        peer.send(relayed, payload);
        peer.send(relayed, payload);
        assert_eq!(client.channel_data().1, payload);
        assert_eq!(client.channel_data().1, payload);
    }
}

/// RFC 8656 §12.2: "if a value is not allowed, the server rejects the request with a 403
/// (Forbidden) error", and installs nothing.
#[test]
fn a_refused_peer_gets_403_and_no_permission() {
    let server = Setup::new().flag("--deny-peer", "127.0.0.9").start();
    let mut client = server.udp();
    let relayed = client.allocate();
    let denied = Peer::at("127.0.0.9".parse().unwrap());
    let allowed = Peer::v4();
    assert_eq!(client.try_bind(0x4001, denied.address).error(), Some(403));
    client.bind(0x4001, allowed.address);
    denied.send(relayed, b"must not pass");
    allowed.send(relayed, b"marker");
    assert_eq!(client.channel_data().1, b"marker");
}

/// RFC 8656 §12.2: "Retransmitted ChannelBind requests will simply refresh the channel binding and
/// the corresponding permission."
#[test]
fn a_retransmitted_channel_bind_gets_the_same_response() {
    let mut client = Server::shared().udp();
    client.allocate();
    let request = Outgoing::request(CHANNEL_BIND)
        .with(Attribute::channel(0x4001))
        .with(Attribute::peer(Peer::v4().address));
    let octets = request.encode(client.credentials.as_ref());
    let first = client.ask_raw(&octets);
    assert!(first.is_success());
    assert_eq!(client.ask_raw(&octets).octets, first.octets);
}

/// RFC 8656 §12: 4096 numbers, all of which may be bound at once.
#[test]
fn an_allocation_may_have_all_4096_channels() {
    let mut client = Server::shared().udp();
    let relayed = client.allocate();
    let peers: Vec<Peer> = (0..200).map(|_| Peer::v4()).collect();
    for (number, peer) in peers.iter().enumerate() {
        client.bind(0x4000 + number as u16 * 20, peer.address);
    }
    for (number, peer) in peers.iter().enumerate() {
        peer.send(relayed, &number.to_be_bytes());
        assert_eq!(
            client.channel_data(),
            (0x4000 + number as u16 * 20, number.to_be_bytes().to_vec())
        );
    }
}
