//! RFC 8656 §11: Send and Data indications, between every pair of transports and families.

use crate::support::client::{Client, Packet, Peer};
use crate::support::codec::*;
use crate::support::process::Server;

/// RFC 8656 §11.2: "the source transport address is the relayed transport address of the
/// allocation"; §11.3: "The Data indication MUST contain both an XOR-PEER-ADDRESS and a DATA
/// attribute."
#[test]
fn send_and_data_indications_relay_both_ways() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        for length in [0, 1, 2, 3, 4, 5, 100, 1200, 1472] {
            let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
            client.send_to(peer.address, &payload);
            assert_eq!(peer.receive(), (relayed, payload.clone()));
            peer.send(relayed, &payload);
            assert_eq!(client.data(), (peer.address, payload));
        }
    }
}

/// With an IPv6 relayed address and peer (RFC 8656 §5: "TURN, as defined in this specification,
/// supports both IPv4 and IPv6").
#[test]
fn send_and_data_indications_relay_over_ipv6() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate_v6();
        let peer = Peer::v6();
        client.permit(peer.address);
        client.send_to(peer.address, b"out");
        assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
        peer.send(relayed, b"in");
        assert_eq!(client.data(), (peer.address, b"in".to_vec()));
    }
}

/// RFC 8656 §11.2: "If no such permission exists, the message is discarded."
#[test]
fn send_without_permission_is_discarded() {
    for mut client in Server::shared().both() {
        client.allocate();
        let (stranger, friend) = (Peer::at("127.0.0.2".parse().unwrap()), Peer::v4());
        client.permit(friend.address);
        client.send_to(stranger.address, b"no");
        client.send_to(friend.address, b"yes");
        assert_eq!(friend.receive().1, b"yes");
        stranger.socket.set_nonblocking(true).unwrap();
        assert!(stranger.socket.recv(&mut [0; 9]).is_err());
    }
}

/// RFC 8656 §11.2: "If one of these attributes is missing or invalid, then the message is
/// discarded"; the same with unknown comprehension-required attributes (RFC 8489 §6.3.2).
#[test]
fn malformed_send_indications_are_discarded() {
    for mut client in Server::shared().both() {
        client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        let send = || Outgoing::indication(SEND);
        client.send(&send().with(Attribute::peer(peer.address)));
        client.send(&send().with(Attribute::data(b"to no address")));
        client.send(
            &send()
                .with(Attribute::plain(XOR_PEER_ADDRESS, b"\0\x01"))
                .with(Attribute::data(b"bad address")),
        );
        let unknown = Attribute::plain(0x7ff1, b"");
        client.send(
            &send()
                .with(Attribute::peer(peer.address))
                .with(Attribute::data(b"unknown"))
                .with(unknown),
        );
        client.send_to(peer.address, b"good");
        assert_eq!(peer.receive().1, b"good", "the first to arrive");
        assert!(client.fence().is_empty());
    }
}

/// RFC 8656 §11.2: DONT-FRAGMENT is known, and no reason to drop the indication.
#[test]
fn a_send_indication_with_dont_fragment_is_relayed() {
    for mut client in Server::shared().both() {
        client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        let message = Outgoing::indication(SEND)
            .with(Attribute::peer(peer.address))
            .with(Attribute::plain(DONT_FRAGMENT, b""))
            .with(Attribute::data(b"whole"));
        client.send(&message);
        assert_eq!(peer.receive().1, b"whole");
    }
}

/// RFC 8656 §11.1: "A client may use a Send indication even if a channel is bound to that peer."
#[test]
fn a_send_indication_is_relayed_although_a_channel_is_bound() {
    let mut client = Server::shared().udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4abc, peer.address);
    client.send_to(peer.address, b"send");
    client.send_channel(0x4abc, b"channel");
    assert_eq!(peer.receive().1, b"send");
    assert_eq!(peer.receive().1, b"channel");
}

/// Up to the largest that UDP carries. A datagram that is too large for a Data indication over UDP
/// is dropped without harm.
#[test]
fn datagrams_of_every_size_are_relayed() {
    for mut client in Server::shared().both() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        for length in [1500, 9000, 30_000, 65_000] {
            let payload = vec![length as u8; length];
            client.send_to(peer.address, &payload);
            assert_eq!(peer.receive().1.len(), length);
            peer.send(relayed, &payload);
            assert_eq!(client.data().1.len(), length);
        }
        peer.send(relayed, &vec![7; 65_507]);
        peer.send(relayed, b"after");
        let mut last = client.data().1;
        if last.len() == 65_507 {
            last = client.data().1;
        }
        assert_eq!(last, b"after");
    }
}

/// Over every pair of transports, through their relayed addresses (a hairpin turn).
#[test]
fn two_allocations_reach_each_other() {
    let server = Server::shared();
    let make: [fn(&Server) -> Client; 2] = [Server::udp, Server::tcp];
    for first in make {
        for second in make {
            let (mut one, mut two) = (first(server), second(server));
            let (a, b) = (one.allocate(), two.allocate());
            one.permit(b);
            two.permit(a);
            one.send_to(b, b"with indications");
            assert_eq!(two.data(), (a, b"with indications".to_vec()));
            one.bind(0x4001, b);
            two.bind(0x4002, a);
            one.send_channel(0x4001, b"over channels");
            assert_eq!(two.channel_data(), (0x4002, b"over channels".to_vec()));
            two.send_to(a, b"mixed");
            assert_eq!(one.channel_data(), (0x4001, b"mixed".to_vec()));
        }
    }
}

/// RFC 8656 §9: the sender must have a permission for the other's relayed address, and the
/// receiver one for the sender's.
#[test]
fn a_hairpin_requires_the_permissions_of_both_ends() {
    let server = Server::shared();
    for _ in 0..4 {
        for (mut one, mut two) in [
            (server.udp(), server.udp()),
            (server.tcp(), server.udp()),
            (server.udp(), server.tcp()),
        ] {
            let (a, b) = (one.allocate(), two.allocate());
            let marker = Peer::at("127.0.0.2".parse().unwrap());
            two.permit(marker.address);
            // The server handles the datagrams of a relayed address in order, so everything before
            // the marker has been handled.
            let nothing_but_the_marker = |one: &mut Client, two: &mut Client| {
                assert!(one.fence().is_empty());
                marker.send(b, b"marker");
                assert_eq!(two.data(), (marker.address, b"marker".to_vec()));
            };
            one.send_to(b, b"neither permits");
            nothing_but_the_marker(&mut one, &mut two);
            one.permit(b);
            one.send_to(b, b"the receiver does not");
            nothing_but_the_marker(&mut one, &mut two);
            one.bind(0x4001, b);
            one.send_channel(0x4001, b"nor with a channel");
            nothing_but_the_marker(&mut one, &mut two);
            two.permit(a);
            one.send_channel(0x4001, b"both do");
            assert_eq!(two.data(), (a, b"both do".to_vec()));
        }
    }
}

/// If only the receiver has a permission.
#[test]
fn a_hairpin_requires_the_permission_of_the_sender() {
    let server = Server::shared();
    let (mut one, mut two) = (server.udp(), server.udp());
    let (a, b) = (one.allocate(), two.allocate());
    two.permit(a);
    one.send_to(b, b"the sender does not");
    one.permit(b);
    one.send_to(b, b"both do");
    assert_eq!(two.data(), (a, b"both do".to_vec()));
}

#[test]
fn many_ipv6_allocations_reach_each_other_across_shards() {
    let server = Server::shared();
    let mut clients: Vec<(Client, std::net::SocketAddr)> = (0..12)
        .map(|i| {
            let mut client = if i % 3 == 0 {
                server.tcp()
            } else {
                Client::udp(server.v6)
            };
            let relayed = client.allocate_v6();
            (client, relayed)
        })
        .collect();
    let relayed: Vec<_> = clients.iter().map(|c| c.1).collect();
    for (client, own) in &mut clients {
        for (number, other) in relayed.iter().enumerate().filter(|(_, r)| *r != own) {
            client.bind(0x4000 + number as u16, *other);
        }
    }
    for from in 0..clients.len() {
        for to in (0..clients.len()).filter(|to| *to != from) {
            let payload = vec![from as u8, to as u8];
            clients[from].0.send_channel(0x4000 + to as u16, &payload);
            assert_eq!(
                clients[to].0.channel_data(),
                (0x4000 + from as u16, payload)
            );
        }
    }
}

#[test]
fn an_allocation_reaches_its_own_relayed_address() {
    let mut client = Server::shared().udp();
    let relayed = client.allocate();
    client.permit(relayed);
    client.send_to(relayed, b"me");
    assert_eq!(client.data(), (relayed, b"me".to_vec()));
}

/// RFC 8656 §11.5: an ICMP error from a permitted peer becomes "a Data indication [with] both an
/// XOR-PEER-ADDRESS and an ICMP attribute".
#[test]
fn an_icmp_error_becomes_a_data_indication() {
    for (mut client, v6) in [
        (Server::shared().udp(), false),
        (Server::shared().tcp(), false),
        (Server::shared().udp(), true),
    ] {
        let peer = match v6 {
            false => {
                client.allocate();
                Peer::v4()
            }
            true => {
                client.allocate_v6();
                Peer::v6()
            }
        };
        client.bind(0x4000, peer.address);
        let address = peer.address;
        drop(peer);
        client.send_channel(0x4000, b"into the void");
        let Packet::Stun(report) = client.receive() else {
            panic!("not a Data indication")
        };
        assert_eq!((report.class, report.method), (INDICATION, DATA_METHOD));
        assert!(!report.has(DATA));
        let reported = report.address(XOR_PEER_ADDRESS).unwrap();
        assert_eq!(reported.ip(), address.ip());
        assert!(reported.port() == address.port() || reported.port() == 0);
        let value = report.get(ICMP).unwrap();
        assert_eq!(value.len(), 8);
        assert_eq!(
            value[..4],
            if v6 { [0, 0, 1, 4] } else { [0, 0, 3, 3] },
            "reserved, type, code"
        );
        assert_eq!(value[4..], [0; 4], "error data of other types");
    }
}

/// RFC 8656 §13: an IPv4 client and an IPv6 peer, and the other way round, over UDP and TCP.
#[test]
fn clients_reach_peers_of_the_other_family() {
    let server = Server::shared();
    for mut client in [server.udp(), server.tcp()] {
        let relayed = client.allocate_v6();
        echo(&mut client, relayed, &Peer::v6());
    }
    for mut client in [Client::udp(server.v6), Client::tcp(server.v6)] {
        let relayed = client.allocate();
        echo(&mut client, relayed, &Peer::v4());
    }
}

/// RFC 8656 §13: between families "the DONT-FRAGMENT attribute MUST be ignored by the server", and
/// the message is relayed.
#[test]
fn dont_fragment_is_ignored_between_families() {
    let server = Server::shared();
    for (mut client, v6) in [
        (server.udp(), true),
        (Client::udp(server.v6), true),
        (Client::udp(server.v6), false),
    ] {
        let peer = if v6 { Peer::v6() } else { Peer::v4() };
        let family = Attribute::family(if v6 { 2 } else { 1 });
        client.allocate_with(
            Outgoing::allocate()
                .with(family)
                .with(Attribute::plain(DONT_FRAGMENT, b"")),
        );
        client.permit(peer.address);
        let message = Outgoing::indication(SEND)
            .with(Attribute::peer(peer.address))
            .with(Attribute::plain(DONT_FRAGMENT, b""))
            .with(Attribute::data(&[7; 1000]));
        client.send(&message);
        assert_eq!(peer.receive().1, [7; 1000]);
    }
}

fn echo(client: &mut Client, relayed: std::net::SocketAddr, peer: &Peer) {
    client.bind(0x4000, peer.address);
    client.send_channel(0x4000, b"out");
    assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
    peer.send(relayed, b"in");
    assert_eq!(client.channel_data(), (0x4000, b"in".to_vec()));
}
