//! RFC 8656 §7.2: Allocate requests.

use crate::support::client::{Client, PASSWORD, Packet, Peer, USER};
use crate::support::codec::*;
use crate::support::process::{Server, Setup, free_ports};
use std::collections::HashSet;
use std::net::SocketAddr;

/// RFC 8656 §7.2: the success response contains XOR-RELAYED-ADDRESS, LIFETIME and "An
/// XOR-MAPPED-ADDRESS attribute containing the client's IP address and port (from the 5-tuple)."
#[test]
fn a_success_response_has_relayed_and_mapped_address_and_lifetime() {
    for mut client in Server::shared().each() {
        client.login(USER, PASSWORD);
        let answer = client.ask(Outgoing::allocate());
        assert!(answer.is_success(), "{answer:?}");
        assert_eq!(answer.address(XOR_MAPPED_ADDRESS), Some(client.address));
        assert_eq!(answer.number(LIFETIME), Some(600));
        let relayed = answer.addresses(XOR_RELAYED_ADDRESS);
        assert_eq!(relayed.len(), 1);
        assert!(
            relayed[0].is_ipv4() && relayed[0].port() >= 49_152,
            "{relayed:?}"
        );
        assert!(!answer.has(RESERVATION_TOKEN));
    }
}

/// RFC 8656 §11.3: the socket is bound before the success response is sent.
#[test]
fn the_relayed_address_receives_as_soon_as_the_client_knows_it() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        peer.send(relayed, b"are you there");
        assert_eq!(client.data(), (peer.address, b"are you there".to_vec()));
    }
}

/// RFC 8656 §7.2: the server "can stop parsing the request and immediately generate a success
/// response" to a retransmission.
#[test]
fn a_retransmitted_allocate_gets_the_same_response() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let octets = Outgoing::allocate()
        .with(Attribute::lifetime(1000))
        .encode(client.credentials.as_ref());
    let first = client.ask_raw(&octets);
    assert!(first.is_success());
    for _ in 0..3 {
        let again = client.ask_raw(&octets);
        assert_eq!(
            again.address(XOR_RELAYED_ADDRESS),
            first.address(XOR_RELAYED_ADDRESS)
        );
        assert_eq!(
            again.address(XOR_MAPPED_ADDRESS),
            first.address(XOR_MAPPED_ADDRESS)
        );
        assert!(
            again
                .number(LIFETIME)
                .is_some_and(|l| (995..=1000).contains(&l))
        );
        assert!(again.verify_sha1(&client.credentials.as_ref().unwrap().key()));
    }
}

/// RFC 8656 §7.2: "In addition, the server may need to store an indication of any reservation token
/// returned in the original response".
#[test]
fn a_retransmitted_reservation_gets_the_same_token() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let octets = Outgoing::allocate()
        .with(Attribute::even_port(true))
        .encode(client.credentials.as_ref());
    let first = client.ask_raw(&octets);
    let again = client.ask_raw(&octets);
    assert!(first.get(RESERVATION_TOKEN).is_some_and(|t| t.len() == 8));
    assert_eq!(again.get(RESERVATION_TOKEN), first.get(RESERVATION_TOKEN));
    assert_eq!(
        again.address(XOR_RELAYED_ADDRESS),
        first.address(XOR_RELAYED_ADDRESS)
    );
}

/// RFC 8656 §7.2: "The server checks if the 5-tuple is currently in use by an existing allocation.
/// If yes, the server rejects the request with a 437 (Allocation Mismatch) error."
#[test]
fn a_second_allocate_on_the_five_tuple_gets_437() {
    for mut client in Server::shared().both() {
        client.allocate();
        assert_eq!(client.ask(Outgoing::allocate()).error(), Some(437));
        let even_when_malformed = client.ask(Outgoing::request(ALLOCATE));
        assert_eq!(
            even_when_malformed.error(),
            Some(437),
            "the five-tuple is checked before the transport"
        );
    }
}

/// RFC 8656 §7.2: "If the REQUESTED-TRANSPORT attribute is not included or is malformed, the server
/// rejects the request with a 400 (Bad Request) error."
#[test]
fn requested_transport_is_required_and_checked() {
    for mut client in Server::shared().both() {
        client.login(USER, PASSWORD);
        assert_eq!(client.ask(Outgoing::request(ALLOCATE)).error(), Some(400));
        for value in [&b""[..], b"\x11", b"\x11\0\0\0\0\0\0\0"] {
            let request =
                Outgoing::request(ALLOCATE).with(Attribute::plain(REQUESTED_TRANSPORT, value));
            assert_eq!(client.ask(request).error(), Some(400), "{value:?}");
        }
    }
}

/// RFC 8656 §18.8: "The RFFU field MUST be set to zero on transmission and MUST be ignored on
/// reception."
#[test]
fn reserved_bits_are_ignored() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let request =
        Outgoing::request(ALLOCATE).with(Attribute::plain(REQUESTED_TRANSPORT, &[17, 1, 2, 3]));
    assert!(
        client
            .ask(request.with(Attribute::plain(REQUESTED_ADDRESS_FAMILY, &[1, 9, 9, 9])))
            .is_success()
    );
    let bind = Outgoing::request(CHANNEL_BIND)
        .with(Attribute::plain(CHANNEL_NUMBER, &[0x40, 0x01, 0xff, 0xff]))
        .with(Attribute::peer(Peer::v4().address));
    assert!(client.ask(bind).is_success());
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let even = client.ask(Outgoing::allocate().with(Attribute::plain(EVEN_PORT, &[0x7f])));
    assert!(
        even.is_success() && !even.has(RESERVATION_TOKEN),
        "R is the first bit alone"
    );
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let both = client
        .ask(Outgoing::allocate().with(Attribute::plain(ADDITIONAL_ADDRESS_FAMILY, &[2, 9, 9, 9])));
    assert_eq!(both.addresses(XOR_RELAYED_ADDRESS).len(), 2);
}

/// RFC 8656 §7.2: a protocol that is not supported gets "a 442 (Unsupported Transport Protocol)
/// error."
#[test]
fn an_unsupported_transport_gets_442() {
    for mut client in Server::shared().both() {
        client.login(USER, PASSWORD);
        for protocol in [0, 1, 132, 255] {
            let request = Outgoing::request(ALLOCATE).with(Attribute::transport(protocol));
            assert_eq!(client.ask(request).error(), Some(442), "{protocol}");
        }
    }
}

/// RFC 8656 §7.2: a proposed lifetime counts if it is longer than the default of 600 s, up to the
/// maximum of 3600 s.
#[test]
fn lifetimes_lie_between_the_default_and_the_maximum() {
    let server = Server::shared();
    for (asked, granted) in [
        (0, 600),
        (1, 600),
        (600, 600),
        (601, 601),
        (3600, 3600),
        (3601, 3600),
        (u32::MAX, 3600),
    ] {
        let mut client = server.udp();
        client.login(USER, PASSWORD);
        let answer = client.ask(Outgoing::allocate().with(Attribute::lifetime(asked)));
        assert_eq!(answer.number(LIFETIME), Some(granted), "asked for {asked}");
    }
}

/// RFC 8489 §6.3.1: a malformed attribute is a bad request.
#[test]
fn malformed_attributes_get_400() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    for (kind, value) in [
        (LIFETIME, &b"\0\0"[..]),
        (LIFETIME, b"\0\0\0\0\0\0\0\x09"),
        (REQUESTED_ADDRESS_FAMILY, b""),
        (EVEN_PORT, b""),
        (RESERVATION_TOKEN, b"short"),
    ] {
        let answer = client.ask(Outgoing::allocate().with(Attribute::plain(kind, value)));
        assert_eq!(answer.error(), Some(400), "{kind:#x} {value:?}");
    }
}

/// RFC 8656 §7.2: a server that can set the DF bit accepts DONT-FRAGMENT.
#[test]
fn dont_fragment_is_understood() {
    let mut client = Server::shared().udp();
    client.allocate_with(Outgoing::allocate().with(Attribute::plain(DONT_FRAGMENT, b"")));
}

/// RFC 8656 §7.2: EVEN-PORT with R=0: "the server allocates a relayed transport address with an
/// even port number."
#[test]
fn even_port_gets_an_even_port() {
    let server = Server::shared();
    for _ in 0..8 {
        let mut client = server.udp();
        client.login(USER, PASSWORD);
        let answer = client.ask(Outgoing::allocate().with(Attribute::even_port(false)));
        assert!(
            answer
                .address(XOR_RELAYED_ADDRESS)
                .unwrap()
                .port()
                .is_multiple_of(2)
        );
        assert!(!answer.has(RESERVATION_TOKEN));
    }
}

/// RFC 8656 §7.2: EVEN-PORT with R=1: "Port N is used in the current allocation, while the relayed
/// transport address with port N+1 is assigned a token and reserved for a future allocation", on
/// any five-tuple and transport. A token is valid once.
#[test]
fn a_reservation_token_gets_the_next_port_once() {
    let server = Server::shared();
    for mut second in server.each() {
        let mut first = server.udp();
        first.login(USER, PASSWORD);
        let answer = first.ask(Outgoing::allocate().with(Attribute::even_port(true)));
        let port = answer.address(XOR_RELAYED_ADDRESS).unwrap().port();
        let token = answer.get(RESERVATION_TOKEN).unwrap();
        assert!(port.is_multiple_of(2));
        let claim = || Outgoing::allocate().with(Attribute::plain(RESERVATION_TOKEN, token));
        let relayed = second.allocate_with(claim());
        assert_eq!(relayed.port(), port + 1);
        let peer = Peer::v4();
        second.permit(peer.address);
        peer.send(relayed, b"odd");
        assert_eq!(second.data().1, b"odd");
        let mut third = server.udp();
        third.login(USER, PASSWORD);
        assert_eq!(third.ask(claim()).error(), Some(508), "used already");
    }
}

/// RFC 8656 §7.2: "If the token is not valid for some reason, the server rejects the request with a
/// 508 (Insufficient Capacity) error."
#[test]
fn an_invalid_reservation_token_gets_508() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let request = Outgoing::allocate().with(Attribute::plain(RESERVATION_TOKEN, b"12345678"));
    assert_eq!(client.ask(request).error(), Some(508));
}

/// RFC 8656 §7.2: a RESERVATION-TOKEN beside "an EVEN-PORT or REQUESTED-ADDRESS-FAMILY or
/// ADDITIONAL-ADDRESS-FAMILY attribute" gets 400.
#[test]
fn a_reservation_token_excludes_even_port_and_families() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    for other in [
        Attribute::even_port(false),
        Attribute::even_port(true),
        Attribute::family(1),
        Attribute::additional_family(2),
    ] {
        let request = Outgoing::allocate()
            .with(Attribute::plain(RESERVATION_TOKEN, b"12345678"))
            .with(other.clone());
        assert_eq!(client.ask(request).error(), Some(400), "{other:?}");
    }
}

/// RFC 8656 §7.2: REQUESTED-ADDRESS-FAMILY selects the family; without it, "the server MUST
/// allocate an IPv4 relayed transport address", to a client on IPv6 too.
#[test]
fn the_requested_family_is_allocated() {
    let server = Server::shared();
    for (family, is_v6) in [(None, false), (Some(1), false), (Some(2), true)] {
        for mut client in server.each() {
            let mut request = Outgoing::allocate();
            request.attributes.extend(family.map(Attribute::family));
            assert_eq!(client.allocate_with(request).is_ipv6(), is_v6);
        }
    }
}

/// RFC 8656 §7.2: an address family that the server does not know gets 440 (Address Family not
/// Supported).
#[test]
fn an_unknown_family_gets_440() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    for family in [0, 3, 255] {
        let answer = client.ask(Outgoing::allocate().with(Attribute::family(family)));
        assert_eq!(answer.error(), Some(440), "{family}");
    }
}

/// RFC 8656 §7.2: "If the server does not support the address family requested [...] it MUST
/// include an ERROR-CODE attribute with the 440 (Address Family not Supported) response code."
#[test]
fn a_family_without_a_relay_address_gets_440() {
    let only = |address| {
        Setup::new()
            .without_relay_addresses()
            .flag("--relay-address", address)
            .start()
    };
    let v4 = only("127.0.0.1");
    let mut client = v4.udp();
    client.login(USER, PASSWORD);
    assert_eq!(
        client
            .ask(Outgoing::allocate().with(Attribute::family(2)))
            .error(),
        Some(440)
    );
    let v6 = only("::1");
    let mut client = v6.udp();
    client.login(USER, PASSWORD);
    assert_eq!(
        client
            .ask(Outgoing::allocate().with(Attribute::family(1)))
            .error(),
        Some(440)
    );
    assert_eq!(
        client.ask(Outgoing::allocate()).error(),
        Some(440),
        "absent means IPv4"
    );
    assert!(client.allocate_v6().is_ipv6());
}

/// RFC 8656 §7.2: both family attributes together get 400, ADDITIONAL-ADDRESS-FAMILY with IPv4 gets
/// 400, and with EVEN-PORT's R bit 400.
#[test]
fn additional_family_is_for_ipv6_and_stands_alone() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    let requests = [
        Outgoing::allocate()
            .with(Attribute::additional_family(2))
            .with(Attribute::family(1)),
        Outgoing::allocate().with(Attribute::additional_family(1)),
        Outgoing::allocate()
            .with(Attribute::additional_family(2))
            .with(Attribute::even_port(true)),
    ];
    for request in requests {
        let answer = client.ask(request.clone());
        assert_eq!(answer.error(), Some(400), "{request:?}");
    }
}

/// RFC 8656 §7.2: "the server allocates one IPv4 and one IPv6 relay address and returns an Allocate
/// success response containing the relayed transport addresses assigned to the dual allocation in
/// two XOR-RELAYED-ADDRESS attributes."
#[test]
fn a_dual_allocation_has_two_working_addresses() {
    for mut client in Server::shared().each() {
        let [v4, v6] = dual(&mut client);
        for (relayed, peer) in [(v4, Peer::v4()), (v6, Peer::v6())] {
            client.permit(peer.address);
            peer.send(relayed, b"in");
            assert_eq!(client.data(), (peer.address, b"in".to_vec()));
            client.send_to(peer.address, b"out");
            assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
        }
    }
}

/// RFC 8656 §7.2: "if it can only allocate one relayed transport address of a specific address
/// type, then it includes ADDRESS-ERROR-CODE attribute in the success response".
#[test]
fn half_a_dual_allocation_carries_the_error_of_the_other_half() {
    let server = Setup::new()
        .without_relay_addresses()
        .flag("--relay-address", "127.0.0.1")
        .start();
    let mut client = server.udp();
    client.login(USER, PASSWORD);
    let answer = client.ask(Outgoing::allocate().with(Attribute::additional_family(2)));
    assert!(answer.is_success(), "{answer:?}");
    assert_eq!(answer.addresses(XOR_RELAYED_ADDRESS).len(), 1);
    let value = answer.get(ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(
        (value[0], value[1], value[2], value[3]),
        (2, 0, 4, 40),
        "IPv6, reserved, 440"
    );
    assert!(std::str::from_utf8(&value[4..]).unwrap().chars().count() < 128);
}

/// RFC 8656 §6: "The relayed transport address MUST be unique across all allocations". Ports come
/// in random order from the configured range.
#[test]
fn relay_ports_are_unique_in_range_and_unpredictable() {
    let first = free_ports(1000);
    let server = Setup::new()
        .flag("--relay-ports", &format!("{first}-{}", first + 999))
        .start();
    let mut clients: Vec<Client> = (0..40).map(|_| server.udp()).collect();
    let ports: Vec<u16> = clients.iter_mut().map(|c| c.allocate().port()).collect();
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    assert!(ports.iter().all(|p| (first..first + 1000).contains(p)));
    let small_steps = ports
        .windows(2)
        .filter(|w| w[0].abs_diff(w[1]) <= 2)
        .count();
    let rising = ports.windows(2).filter(|w| w[0] < w[1]).count();
    assert!(small_steps < 10 && (5..35).contains(&rising), "{ports:?}");
}

/// RFC 8656 §7.2: "If the server cannot satisfy the request, then the server rejects the request
/// with a 508 (Insufficient Capacity) error". A freed port can be allocated again.
#[test]
fn exhausted_ports_get_508_until_one_is_free() {
    let first = free_ports(2);
    let server = Setup::new()
        .flag("--relay-ports", &format!("{first}-{}", first + 1))
        .start();
    let mut clients: Vec<Client> = (0..3).map(|_| server.udp()).collect();
    clients.iter_mut().for_each(|c| c.login(USER, PASSWORD));
    let ports: HashSet<u16> = (0..2).map(|i| clients[i].allocate().port()).collect();
    assert_eq!(ports, HashSet::from([first, first + 1]));
    assert_eq!(clients[2].ask(Outgoing::allocate()).error(), Some(508));
    // A freed port is available to every shard at once.
    for round in 0..30 {
        let (old, new) = (round % 3, (round + 2) % 3);
        assert_eq!(clients[new].ask(Outgoing::allocate()).error(), Some(508));
        assert_eq!(clients[old].refresh(0).number(LIFETIME), Some(0));
        assert!(
            clients[new].ask(Outgoing::allocate()).is_success(),
            "round {round}"
        );
    }
}

/// If `bind` fails, the server tries another port.
#[test]
fn a_port_of_another_program_is_skipped() {
    let first = free_ports(2);
    let taken = std::net::UdpSocket::bind(("127.0.0.1", first)).unwrap();
    let server = Setup::new()
        .flag("--relay-ports", &format!("{first}-{}", first + 1))
        .start();
    let mut one = server.udp();
    assert_eq!(one.allocate().port(), first + 1);
    let mut two = server.udp();
    two.login(USER, PASSWORD);
    assert_eq!(two.ask(Outgoing::allocate()).error(), Some(508));
    drop(taken);
}

/// `--external-address`, for 1:1 NAT as in clouds, replaces the local address in responses.
#[test]
fn xor_relayed_address_is_the_external_address() {
    let server = Setup::new()
        .without_relay_addresses()
        .flag("--relay-address", "127.0.0.1")
        .flag("--external-address", "198.51.100.7")
        .start();
    let mut client = server.udp();
    let relayed = client.allocate();
    assert_eq!(relayed.ip().to_string(), "198.51.100.7");
    let peer = Peer::v4();
    client.permit(peer.address);
    peer.send(
        SocketAddr::new("127.0.0.1".parse().unwrap(), relayed.port()),
        b"through the NAT",
    );
    assert_eq!(client.data().1, b"through the NAT");
}

/// RFC 8656 §5: "if the 5-tuple does not identify an existing allocation, then the message MUST
/// either be rejected with a 437 Allocation Mismatch error (if it is a request) or be silently
/// ignored (if it is an indication or a ChannelData message)."
#[test]
fn without_an_allocation_requests_get_437_and_data_is_ignored() {
    for mut client in Server::shared().each() {
        client.login(USER, PASSWORD);
        let peer = Peer::v4();
        assert_eq!(client.refresh(600).error(), Some(437));
        assert_eq!(client.refresh(0).error(), Some(437));
        assert_eq!(client.try_permit(peer.address).error(), Some(437));
        assert_eq!(client.try_bind(0x4000, peer.address).error(), Some(437));
        client.send_to(peer.address, b"no allocation");
        client.send_channel(0x4000, b"no allocation");
        assert!(
            client
                .fence()
                .iter()
                .all(|p| !matches!(p, Packet::Channel(..)))
        );
    }
}

/// RFC 8656 §3.2: the transport belongs to the five-tuple.
#[test]
fn one_port_over_udp_and_tcp_is_two_clients() {
    let server = Server::shared();
    let mut one = server.udp();
    let mut two = server.udp();
    let (a, b) = (one.allocate(), two.allocate());
    assert_ne!(a, b);
    let peer = Peer::v4();
    one.permit(peer.address);
    peer.send(b, b"not permitted by two");
    peer.send(a, b"permitted by one");
    assert_eq!(one.data().1, b"permitted by one");
    assert!(two.fence().is_empty());
}

/// Allocates both families: IPv4 first.
pub fn dual(client: &mut Client) -> [SocketAddr; 2] {
    client.login(USER, PASSWORD);
    let answer = client.ask(Outgoing::allocate().with(Attribute::additional_family(2)));
    assert!(
        answer.is_success() && !answer.has(ADDRESS_ERROR_CODE),
        "{answer:?}"
    );
    let mut both = answer.addresses(XOR_RELAYED_ADDRESS);
    both.sort();
    assert!(
        both.len() == 2 && both[0].is_ipv4() && both[1].is_ipv6(),
        "{both:?}"
    );
    [both[0], both[1]]
}
