//! RFC 5780: NAT behaviour discovery, on two addresses with two ports each.

use crate::support::TIMEOUT;
use crate::support::client::Peer;
use crate::support::codec::*;
use crate::support::process::{Server, Setup, free_port};
use std::net::{SocketAddr, UdpSocket};
use std::sync::OnceLock;

/// RFC 5780 §6.1: on each of the four listeners, OTHER-ADDRESS is the other address and port,
/// RESPONSE-ORIGIN is the source of the response, and MAPPED-ADDRESS and XOR-MAPPED-ADDRESS are
/// both there.
#[test]
fn each_listener_names_the_one_with_other_address_and_port() {
    for from in four() {
        let (answer, source) = exchange(from, &Outgoing::request(BINDING));
        let other = opposite(from);
        assert_eq!(source, from);
        assert_eq!(answer.plain_address(RESPONSE_ORIGIN), Some(from));
        assert_eq!(answer.plain_address(OTHER_ADDRESS), Some(other));
        assert_eq!(
            answer.plain_address(MAPPED_ADDRESS),
            answer.address(XOR_MAPPED_ADDRESS)
        );
    }
}

/// RFC 5780 §6.1, table 1: the flags of CHANGE-REQUEST select the source, and RESPONSE-ORIGIN
/// names it.
#[test]
fn change_request_selects_the_source_of_the_response() {
    for to in four() {
        let other = opposite(to);
        for (flags, expected) in [
            (0, to),
            (CHANGE_PORT, SocketAddr::new(to.ip(), other.port())),
            (CHANGE_IP, SocketAddr::new(other.ip(), to.port())),
            (CHANGE_IP | CHANGE_PORT, other),
        ] {
            let request = Outgoing::request(BINDING).with(change(flags));
            let (answer, source) = exchange(to, &request);
            assert!(answer.is_success(), "{answer:?}");
            assert_eq!(source, expected, "flags {flags:#x} to {to}");
            assert_eq!(answer.plain_address(RESPONSE_ORIGIN), Some(expected));
            assert_eq!(
                answer.plain_address(OTHER_ADDRESS),
                Some(other),
                "regardless of the flags"
            );
        }
    }
}

/// RFC 5780 §6.1: without an alternate address the server "MUST generate an error response of type
/// 420", and sends no OTHER-ADDRESS.
#[test]
fn change_request_without_an_alternate_address_gets_420() {
    let server = Server::shared();
    let mut client = server.udp();
    let answer = client.exchange(&Outgoing::request(BINDING).with(change(CHANGE_IP)));
    assert_eq!(
        (answer.error(), answer.unknown()),
        (Some(420), vec![CHANGE_REQUEST])
    );
    let plain = client.exchange(&Outgoing::request(BINDING));
    assert!(!plain.has(OTHER_ADDRESS) && !plain.has(RESPONSE_ORIGIN));
}

/// RFC 5780 §7.5: "the Binding Response MUST be transmitted to the source IP address of the Binding
/// Request and the port contained in RESPONSE-PORT."
#[test]
fn response_port_selects_the_destination_port() {
    let to = four()[0];
    let (asking, listening) = (Peer::v4(), Peer::v4());
    let [a, b] = listening.address.port().to_be_bytes();
    // "A 16-bit unsigned integer in network byte order followed by 2 bytes of padding": clients
    // differ on whether the length includes it.
    for value in [&[a, b, 0, 0][..], &[a, b]] {
        let request = Outgoing::request(BINDING).with(Attribute::plain(RESPONSE_PORT, value));
        asking.send(to, &request.encode(None));
        let (source, octets) = listening.receive();
        let answer = Incoming::parse(&octets).unwrap();
        assert_eq!((source, answer.id), (to, request.id));
        assert_eq!(answer.address(XOR_MAPPED_ADDRESS), Some(asking.address));
    }
    for value in [&[a][..], &[a, b, 0], &[0, 0, 0, 0]] {
        let request = Outgoing::request(BINDING).with(Attribute::plain(RESPONSE_PORT, value));
        assert_eq!(exchange(to, &request).0.error(), Some(400), "{value:?}");
    }
}

/// RFC 5780 §6.1: PADDING is answered with PADDING. Together with RESPONSE-PORT it gets 400,
/// because it would amplify.
#[test]
fn padding_is_returned_but_not_to_a_response_port() {
    let to = four()[0];
    let padding = Attribute::plain(PADDING, &[0x5a; 1500]);
    let request = Outgoing::request(BINDING).with(padding.clone());
    let sent = request.encode(None).len();
    let (answer, _) = exchange(to, &request);
    let padded = answer.get(PADDING).unwrap().len();
    assert!(
        padded >= 1000 && answer.octets.len() <= sent + 100,
        "{padded} octets"
    );
    let elsewhere = Outgoing::request(BINDING)
        .with(padding)
        .with(Attribute::plain(RESPONSE_PORT, &[0x12, 0x34, 0, 0]));
    assert_eq!(exchange(to, &elsewhere).0.error(), Some(400));
    let small = Outgoing::request(BINDING).with(Attribute::plain(PADDING, b"1234"));
    assert!(
        exchange(to, &small).0.octets.len() < 200,
        "the response is not much larger than the request"
    );
}

/// RFC 5780 §7.2 and §7.5: over TCP, CHANGE-REQUEST gets 420 and RESPONSE-PORT changes nothing.
#[test]
fn over_tcp_the_response_stays_on_its_connection() {
    let mut client = crate::support::client::Client::tcp(four()[0]);
    for flags in [CHANGE_PORT, CHANGE_IP, CHANGE_IP | CHANGE_PORT] {
        let answer = client.exchange(&Outgoing::request(BINDING).with(change(flags)));
        assert_eq!(
            (answer.error(), answer.unknown()),
            (Some(420), vec![CHANGE_REQUEST]),
            "flags {flags:#x}"
        );
    }
    let port = Attribute::plain(RESPONSE_PORT, &[0x12, 0x34, 0, 0]);
    let answer = client.exchange(&Outgoing::request(BINDING).with(port));
    assert!(answer.is_success(), "{answer:?}");
    let own = client.stream().local_addr().unwrap();
    assert_eq!(answer.address(XOR_MAPPED_ADDRESS), Some(own));
    assert_eq!(answer.plain_address(RESPONSE_ORIGIN), Some(four()[0]));
}

#[test]
fn alternate_listeners_are_turn_servers() {
    for to in four() {
        let mut client = crate::support::client::Client::udp(to);
        client.allocate();
    }
}

fn change(flags: u32) -> Attribute {
    Attribute::Plain(CHANGE_REQUEST, flags.to_be_bytes().to_vec())
}

/// The response and its source.
fn exchange(to: SocketAddr, request: &Outgoing) -> (Incoming, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.send_to(&request.encode(None), to).unwrap();
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    (Incoming::parse(&buffer[..length]).unwrap(), from)
}

/// Both addresses with both ports.
fn four() -> [SocketAddr; 4] {
    let (one, two) = corners();
    [
        one,
        SocketAddr::new(one.ip(), two.port()),
        SocketAddr::new(two.ip(), one.port()),
        two,
    ]
}

fn opposite(corner: SocketAddr) -> SocketAddr {
    let (one, two) = corners();
    let ip = if corner.ip() == one.ip() {
        two.ip()
    } else {
        one.ip()
    };
    let port = if corner.port() == one.port() {
        two.port()
    } else {
        one.port()
    };
    SocketAddr::new(ip, port)
}

fn corners() -> (SocketAddr, SocketAddr) {
    static SERVER: OnceLock<(Server, SocketAddr)> = OnceLock::new();
    let (server, alternate) = SERVER.get_or_init(|| {
        let alternate = SocketAddr::from(([127, 0, 0, 2], free_port()));
        (
            Setup::new()
                .flag("--alternate-listen", &alternate.to_string())
                .start(),
            alternate,
        )
    });
    (server.v4, *alternate)
}

const CHANGE_IP: u32 = 4;
const CHANGE_PORT: u32 = 2;
