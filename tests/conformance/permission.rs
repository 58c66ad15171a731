//! RFC 8656 §9 and §10: permissions. Their expiry is tested in `virtual_time`.

use crate::allocate::dual;
use crate::support::client::Peer;
use crate::support::codec::*;
use crate::support::process::{Server, Setup};
use std::net::SocketAddr;

/// RFC 8656 §9: "If no match is found, relaying is not permitted and the server silently discards
/// the UDP datagram."
#[test]
fn datagrams_of_a_peer_without_permission_are_dropped() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate();
        let stranger = Peer::at("127.0.0.2".parse().unwrap());
        let friend = Peer::v4();
        client.permit(friend.address);
        stranger.send(relayed, b"stranger");
        friend.send(relayed, b"friend");
        assert_eq!(client.data(), (friend.address, b"friend".to_vec()));
    }
}

/// RFC 8656 §9: "Note that only addresses are compared and port numbers are not considered."
#[test]
fn a_permission_is_for_an_address_whatever_the_port() {
    for mut client in Server::shared().both() {
        let relayed = client.allocate();
        let (one, two) = (Peer::v4(), Peer::v4());
        client.permit(SocketAddr::new(one.address.ip(), 0));
        for peer in [&one, &two] {
            peer.send(relayed, b"in");
            assert_eq!(client.data(), (peer.address, b"in".to_vec()));
            client.send_to(peer.address, b"out");
            assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
        }
    }
}

/// RFC 8656 §10.2: "The CreatePermission request MUST contain at least one XOR-PEER-ADDRESS
/// attribute and MAY contain multiple such attributes. If no such attribute exists, or if any of
/// these attributes are invalid, then a 400 (Bad Request) error is returned."
#[test]
fn create_permission_without_a_valid_peer_address_gets_400() {
    for mut client in Server::shared().both() {
        let relayed = client.allocate();
        assert_eq!(
            client.ask(Outgoing::request(CREATE_PERMISSION)).error(),
            Some(400)
        );
        let peer = Peer::v4();
        for value in [
            &b""[..],
            b"\0\x01\x12\x34",
            b"\0\x01\x12\x34\x01\x02\x03",
            b"\0\x07\x12\x34\x01\x02\x03\x04",
        ] {
            let request = Outgoing::request(CREATE_PERMISSION)
                .with(Attribute::peer(peer.address))
                .with(Attribute::plain(XOR_PEER_ADDRESS, value));
            let answer = client.ask(request);
            assert_eq!(answer.error(), Some(400), "{value:?}: {answer:?}");
        }
        let marker = Peer::at("127.0.0.2".parse().unwrap());
        client.permit(marker.address);
        peer.send(relayed, b"none of these installed one");
        marker.send(relayed, b"marker");
        assert_eq!(client.data(), (marker.address, b"marker".to_vec()));
    }
}

/// RFC 8656 §10.2: "the server installs or refreshes a permission for the IP address contained in
/// each XOR-PEER-ADDRESS attribute".
#[test]
fn several_peers_in_one_request_are_all_permitted() {
    let mut client = Server::shared().udp();
    let relayed = client.allocate();
    let peers: Vec<Peer> = (2..8)
        .map(|i| Peer::at(format!("127.0.0.{i}").parse().unwrap()))
        .collect();
    let mut request = Outgoing::request(CREATE_PERMISSION);
    request
        .attributes
        .extend(peers.iter().map(|p| Attribute::peer(p.address)));
    assert!(client.ask(request).is_success());
    for peer in &peers {
        peer.send(relayed, b"hello");
        assert_eq!(client.data(), (peer.address, b"hello".to_vec()));
    }
}

/// RFC 8656 §10.2: one address that is not allowed refuses the request, and then none of them is
/// installed.
#[test]
fn a_refused_address_installs_none_of_the_others() {
    let server = Setup::new().flag("--deny-peer", "127.0.0.9/32").start();
    let (good, marker) = (Peer::at("127.0.0.2".parse().unwrap()), Peer::v4());
    let bad: SocketAddr = "127.0.0.9:7".parse().unwrap();
    for order in [[good.address, bad], [bad, good.address]] {
        let mut client = server.udp();
        let relayed = client.allocate();
        client.permit(marker.address);
        let mut request = Outgoing::request(CREATE_PERMISSION);
        request.attributes.extend(order.map(Attribute::peer));
        assert_eq!(client.ask(request).error(), Some(403));
        good.send(relayed, b"must not pass");
        marker.send(relayed, b"marker");
        assert_eq!(client.data(), (marker.address, b"marker".to_vec()));
    }
}

/// RFC 8656 §10.2: a peer "of an address family that is not the same as that of a relayed transport
/// address for the allocation" gets 443.
#[test]
fn a_peer_of_another_family_gets_443() {
    let mut client = Server::shared().udp();
    client.allocate();
    assert_eq!(client.try_permit(Peer::v6().address).error(), Some(443));
    assert_eq!(
        client.try_bind(0x4000, Peer::v6().address).error(),
        Some(443)
    );
    let mut client = Server::shared().udp();
    client.allocate_v6();
    assert_eq!(client.try_permit(Peer::v4().address).error(), Some(443));
    assert_eq!(
        client.try_bind(0x4000, Peer::v4().address).error(),
        Some(443)
    );
}

/// RFC 8656 §10.1: "For dual allocations [...] the client MAY include XOR-PEER-ADDRESS attributes
/// with addresses of IPv4 and IPv6".
#[test]
fn a_dual_allocation_accepts_peers_of_both_families() {
    let mut client = Server::shared().udp();
    let relayed = dual(&mut client);
    let peers = [Peer::v4(), Peer::v6()];
    let mut request = Outgoing::request(CREATE_PERMISSION);
    request
        .attributes
        .extend(peers.iter().map(|p| Attribute::peer(p.address)));
    assert!(client.ask(request).is_success());
    for (peer, relayed) in peers.iter().zip(relayed) {
        peer.send(relayed, b"x");
        assert_eq!(client.data().0, peer.address);
    }
}

/// RFC 8656 §9: "The permissions for one allocation are totally unrelated to the permissions for a
/// different allocation."
#[test]
fn permissions_belong_to_one_allocation() {
    let server = Server::shared();
    let (mut one, mut two) = (server.udp(), server.udp());
    let peer = Peer::v4();
    one.allocate();
    one.permit(peer.address);
    let relayed = two.allocate();
    two.send_to(peer.address, b"not permitted");
    peer.send(relayed, b"not permitted");
    assert!(two.fence().is_empty());
    peer.socket.set_nonblocking(true).unwrap();
    assert!(peer.socket.recv(&mut [0; 32]).is_err());
}

/// RFC 8656 §10.2: the retransmission only refreshes the permission.
#[test]
fn a_retransmitted_create_permission_succeeds_again() {
    let mut client = Server::shared().udp();
    client.allocate();
    let request = Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(Peer::v4().address));
    let octets = request.encode(client.credentials.as_ref());
    assert_eq!(
        client.ask_raw(&octets).octets,
        client.ask_raw(&octets).octets
    );
}
