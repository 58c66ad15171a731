//! Peers that a relay must not reach, in every notation, and the options that change these rules.

use crate::support::client::{Client, Peer};
use crate::support::codec::*;
use crate::support::process::{Server, Setup, free_ports};
use std::net::SocketAddr;

/// Refused by default: loopback, unspecified, private, link-local and metadata, shared (CGN),
/// multicast, broadcast, documentation, benchmarking, reserved.
#[test]
fn special_ipv4_ranges_get_403() {
    let mut client = Server::shared_strict().udp();
    client.allocate();
    for address in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.254",
        "255.255.255.255",
    ] {
        refused(&mut client, address);
    }
}

#[test]
fn addresses_next_to_special_ipv4_ranges_are_permitted() {
    let mut client = Server::shared_strict().udp();
    client.allocate();
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "169.255.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "192.169.0.1",
        "198.17.255.255",
        "198.20.0.1",
        "203.0.114.1",
        "223.255.255.254",
    ] {
        let peer = SocketAddr::new(address.parse().unwrap(), 9);
        assert!(client.try_permit(peer).is_success(), "{address}");
    }
}

#[test]
fn special_ipv6_ranges_get_403() {
    let mut client = Server::shared_strict().udp();
    client.allocate_v6();
    for address in [
        "::",
        "::1",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff00::1",
        "ff02::1",
        "ff0e::1",
    ] {
        refused(&mut client, address);
    }
}

/// IPv4-mapped, IPv4-compatible, 6to4, Teredo and NAT64 addresses. RFC 8656 §21.4: "a TURN server
/// MUST NOT accept Teredo or 6to4 addresses in these requests."
#[test]
fn ipv6_addresses_that_embed_an_ipv4_address_get_403() {
    let mut client = Server::shared_strict().udp();
    client.allocate_v6();
    for address in [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
        "::ffff:8.8.8.8",
        "::127.0.0.1",
        "::10.1.2.3",
        "::ffff:0:127.0.0.1",
        "2002:7f00:1::1",
        "2002:a00:1::",
        "2002:a9fe:a9fe::1",
        "2002:808:808::1",
        "2001:0:808:808::7f00:1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::10.0.0.1",
        "64:ff9b:1:7f:0:1::",
    ] {
        refused(&mut client, address);
    }
}

#[test]
fn other_ipv6_peers_are_permitted() {
    let mut client = Server::shared_strict().udp();
    client.allocate_v6();
    for address in [
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2400:cb00::1",
    ] {
        let peer = SocketAddr::new(address.parse().unwrap(), 9);
        assert!(client.try_permit(peer).is_success(), "{address}");
    }
}

/// An IPv4-mapped peer gets 443 for its family, or 403.
#[test]
fn an_ipv4_allocation_refuses_ipv4_mapped_peers() {
    let mut client = Server::shared_strict().udp();
    client.allocate();
    for address in ["::ffff:127.0.0.1", "::ffff:8.8.8.8"] {
        let peer = SocketAddr::new(address.parse().unwrap(), 9);
        assert_eq!(client.try_permit(peer).error(), Some(443), "{address}");
        assert_eq!(
            client.try_bind(0x4000, peer).error(),
            Some(443),
            "{address}"
        );
    }
}

/// Other servers failed here (CVE-2020-26262, CVE-2026-27624).
#[test]
fn an_allowed_ipv4_range_does_not_allow_ipv6_addresses_that_embed_it() {
    let mut client = Server::shared().udp();
    client.allocate_v6();
    for address in [
        "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::1",
        "64:ff9b::169.254.169.254",
    ] {
        refused(&mut client, address);
    }
}

#[test]
fn allow_peer_and_deny_peer_change_the_rules() {
    let server = Setup::strict()
        .flag("--allow-peer", "10.0.0.0/8")
        .flag("--deny-peer", "10.9.0.0/16")
        .flag("--deny-peer", "8.8.8.0/24")
        .flag("--allow-peer", "fd00::/8")
        .flag("--deny-peer", "2606:4700::/32")
        .start();
    let mut client = server.udp();
    client.allocate();
    let outcome = |client: &mut Client, address: &str| {
        client
            .try_permit(SocketAddr::new(address.parse().unwrap(), 9))
            .error()
    };
    for (address, expected) in [
        ("10.1.2.3", None),
        ("10.9.2.3", Some(403)),
        ("8.8.8.8", Some(403)),
        ("8.8.4.4", None),
        ("192.168.0.1", Some(403)),
        ("127.0.0.1", Some(403)),
    ] {
        assert_eq!(outcome(&mut client, address), expected, "{address}");
    }
    let mut client = server.udp();
    client.allocate_v6();
    for (address, expected) in [
        ("fd12::1", None),
        ("fc12::1", Some(403)),
        ("2606:4700::1", Some(403)),
        ("2606:4701::1", None),
    ] {
        assert_eq!(outcome(&mut client, address), expected, "{address}");
    }
}

#[test]
fn the_servers_own_listeners_get_403() {
    let server = Server::shared();
    let mut client = server.udp();
    client.allocate();
    let own = server.v4;
    assert_eq!(client.try_bind(0x4000, own).error(), Some(403));
    client.permit(Peer::v4().address);
    let probe = Outgoing::request(BINDING).encode(None);
    client.send_to(own, &probe);
    assert!(client.fence().is_empty(), "the server answered itself");
    let mut client = server.udp();
    client.allocate_v6();
    assert_eq!(client.try_bind(0x4000, server.v6).error(), Some(403));
}

/// Even if the address is in a range that is refused by default.
#[test]
fn a_live_relayed_address_is_a_permitted_peer() {
    let server = Server::shared_strict();
    for v6 in [false, true] {
        let (mut one, mut two) = (server.udp(), server.tcp());
        let (a, b) = match v6 {
            false => (one.allocate(), two.allocate()),
            true => (one.allocate_v6(), two.allocate_v6()),
        };
        one.permit(b);
        two.bind(0x4002, a);
        two.send_channel(0x4002, b"to one");
        assert_eq!(one.data(), (b, b"to one".to_vec()));
        one.send_to(b, b"to two");
        assert_eq!(two.channel_data(), (0x4002, b"to two".to_vec()));
    }
}

/// Packets to the address reach another allocation only, under the permissions of that allocation.
#[test]
fn a_relayed_address_gives_no_access_to_other_ports_of_its_host() {
    let server = Server::shared_strict();
    let (mut one, mut two) = (server.udp(), server.udp());
    let (a, b) = (one.allocate(), two.allocate());
    one.permit(b);
    two.permit(a);
    let service = Peer::v4();
    assert_eq!(one.try_permit(service.address).error(), Some(403));
    assert_eq!(one.try_bind(0x4001, service.address).error(), Some(403));
    one.send_to(service.address, b"to a local service");
    one.send_to(b, b"to two");
    assert_eq!(two.data(), (a, b"to two".to_vec()));
    service.socket.set_nonblocking(true).unwrap();
    assert!(
        service.socket.recv(&mut [0; 32]).is_err(),
        "a local service was reached through a relay"
    );
    service.send(a, b"from a local service");
    two.send_to(a, b"marker");
    assert_eq!(one.data(), (b, b"marker".to_vec()));
}

/// Another program may use the port next.
#[test]
fn the_address_of_a_deleted_allocation_is_not_permitted() {
    let first = free_ports(4);
    let server = Setup::strict()
        .flag("--relay-ports", &format!("{first}-{}", first + 3))
        .start();
    let (mut one, mut two) = (server.udp(), server.udp());
    let (a, b) = (one.allocate(), two.allocate());
    one.permit(b);
    one.bind(0x4001, b);
    two.permit(a);
    one.send_channel(0x4001, b"alive");
    assert_eq!(two.data().1, b"alive");
    assert_eq!(two.refresh(0).number(LIFETIME), Some(0));
    let end = std::time::Instant::now() + crate::support::TIMEOUT;
    let successor = loop {
        match std::net::UdpSocket::bind(b) {
            Ok(socket) => break socket,
            Err(error) => assert!(
                std::time::Instant::now() < end,
                "{b} is still open: {error}"
            ),
        }
    };
    successor.set_nonblocking(true).unwrap();
    one.send_channel(0x4001, b"to the new socket");
    one.send_to(b, b"to the new socket");
    assert!(one.fence().is_empty());
    assert!(
        successor.recv(&mut [0; 32]).is_err(),
        "a local program was reached through a relay"
    );
    successor.send_to(b"from the new socket", a).unwrap();
    let mut third = server.udp();
    let c = third.allocate();
    one.permit(c);
    third.permit(a);
    third.send_to(a, b"marker");
    assert_eq!(one.data(), (c, b"marker".to_vec()));
    assert_eq!(one.try_permit(b).error(), Some(403));
}

/// Every method that contains a peer address gets 403.
fn refused(client: &mut Client, address: &str) {
    let peer = SocketAddr::new(address.parse().unwrap(), 3478);
    let permit = client.try_permit(peer);
    assert_eq!(
        permit.error(),
        Some(403),
        "permission for {address}: {permit:?}"
    );
    let bind = client.try_bind(0x4000, peer);
    assert_eq!(bind.error(), Some(403), "channel to {address}: {bind:?}");
}
