//! RFC 6062: TCP allocations. The timeouts of 30 seconds are tested in `virtual_time`.

use crate::support::TIMEOUT;
use crate::support::client::{Client, PASSWORD, Packet, USER};
use crate::support::codec::*;
use crate::support::operator::until;
use crate::support::process::{OTHER_PASSWORD, OTHER_USER, Server, Setup};
use crate::support::transport::with_timeouts;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// RFC 6062 §5.1: "If the client connection transport is not TCP or TLS, the server MUST reject the
/// request with a 400 (Bad Request) error."
#[test]
fn a_tcp_allocation_over_udp_gets_400() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    assert_eq!(client.ask(Outgoing::allocate_tcp()).error(), Some(400));
}

/// RFC 6062 §5.1: "If the request contains the DONT-FRAGMENT, EVEN-PORT, or RESERVATION-TOKEN
/// attribute, the server MUST reject the request with a 400 (Bad Request) error."
#[test]
fn a_tcp_allocation_with_datagram_options_gets_400() {
    let mut client = Server::shared().tcp();
    client.login(USER, PASSWORD);
    let options = [
        Attribute::plain(DONT_FRAGMENT, b""),
        Attribute::even_port(true),
        Attribute::plain(RESERVATION_TOKEN, b"12345678"),
    ];
    for option in options {
        let answer = client.ask(Outgoing::allocate_tcp().with(option.clone()));
        assert_eq!(answer.error(), Some(400), "{option:?}");
    }
}

/// RFC 6062 §5.1: "the server MUST start accepting incoming TCP connections on the relayed
/// transport address"; "The RESERVATION-TOKEN attribute MUST NOT be present in the success
/// response."
#[test]
fn the_relayed_address_accepts_connections() {
    for family in [1, 2] {
        let mut client = Server::shared().tcp();
        client.login(USER, PASSWORD);
        let answer = client.ask(Outgoing::allocate_tcp().with(Attribute::family(family)));
        assert!(
            answer.is_success() && !answer.has(RESERVATION_TOKEN),
            "{answer:?}"
        );
        TcpStream::connect(answer.address(XOR_RELAYED_ADDRESS).unwrap()).unwrap();
    }
}

/// RFC 6062 §5.2: "the server MUST initiate an outgoing TCP connection. The local endpoint is the
/// relayed transport address"; §5.4: data goes "as-is" both ways, also if it came before the
/// ConnectionBind's response; on one shard and across shards.
#[test]
fn connect_and_bind_join_client_and_peer() {
    for shards in ["1", "4"] {
        let server = &Setup::new().replace("--shards", shards).start();
        for (listener, family) in [(server.v4, 1), (server.v4, 2), (server.v6, 2)] {
            let mut control = Client::tcp(listener);
            let relayed =
                control.allocate_with(Outgoing::allocate_tcp().with(Attribute::family(family)));
            let peers = TcpListener::bind((relayed.ip(), 0)).unwrap();
            let (mut peer, mut data, from) = join(server, &mut control, &peers, b"early");
            assert_eq!(from, relayed);
            data.write_all(b"to the peer").unwrap();
            expect(&mut peer, b"to the peer");
            peer.write_all(&[0, 1, 0, 0, 0x21, 0x12]).unwrap();
            expect(&mut data, &[0, 1, 0, 0, 0x21, 0x12]);
            control.fence();
        }
        until("all data connections are closed", || {
            server.metric("hairpin_shard_tcp_data_connections", &[]) == 0.0
        });
    }
}

/// RFC 6062 §5.4: "Data received on it MUST be sent as-is to the associated peer data connection",
/// however much.
#[test]
fn large_transfers_arrive_whole_both_ways() {
    let server = Server::shared();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (peer, data, _) = join(server, &mut control, &listener, b"");
    let bulk: Vec<u8> = (0..4_000_000_u32).map(|i| ((i * 31) >> 3) as u8).collect();
    for (from, to) in [(&data, &peer), (&peer, &data)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let sent = bulk.clone();
        let sender = std::thread::spawn(move || from.write_all(&sent).unwrap());
        let mut received = vec![0; bulk.len()];
        to.read_exact(&mut received).unwrap();
        assert!(received == bulk);
        sender.join().unwrap();
    }
}

/// A reader that stops stops the writer at the other end, in both directions: nothing is lost, and
/// the server buffers a bounded amount.
#[test]
fn a_slow_reader_stops_the_writer_and_nothing_is_lost() {
    let server = Server::shared();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (peer, data, _) = join(server, &mut control, &listener, b"");
    let pattern: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    for (mut from, mut to) in [(&data, &peer), (&peer, &data)] {
        from.set_nonblocking(true).unwrap();
        let mut written = 0;
        let mut last_progress = Instant::now();
        while last_progress.elapsed() < Duration::from_millis(500) {
            match from.write(&pattern[written % pattern.len()..]) {
                Ok(length) => (written, last_progress) = (written + length, Instant::now()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    std::thread::park_timeout(Duration::from_millis(1))
                }
                Err(e) => panic!("{e}"),
            }
            assert!(written < 64 << 20, "the server accepts everything");
        }
        from.set_nonblocking(false).unwrap();
        let mut received = 0;
        let mut buffer = vec![0; 1 << 20];
        while received < written {
            let length = to.read(&mut buffer).unwrap();
            assert!(length > 0, "closed after {received} of {written} octets");
            let intact = buffer[..length]
                .iter()
                .zip(received..)
                .all(|(octet, n)| *octet == pattern[n % pattern.len()]);
            assert!(intact);
            received += length;
        }
        from.write_all(b"and it goes on").unwrap();
        let mut rest = [0; 14];
        to.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"and it goes on");
    }
}

/// RFC 6062 §5.2: "it MUST return a 446 (Connection Already Exists) error" while the connection to
/// that peer is pending or active.
#[test]
fn a_second_connect_to_the_same_peer_gets_446() {
    let server = Server::shared();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pending = control.ask(Outgoing::connect(address));
    assert!(pending.is_success());
    assert_eq!(
        control.ask(Outgoing::connect(address)).error(),
        Some(446),
        "pending"
    );
    let (_peer, _) = listener.accept().unwrap();
    let mut data = server.tcp();
    bind(&mut data, pending.get(CONNECTION_ID).unwrap());
    assert_eq!(
        control.ask(Outgoing::connect(address)).error(),
        Some(446),
        "active"
    );
}

/// RFC 6062 §5.2: a missing or invalid XOR-PEER-ADDRESS gets 400, no allocation 437, a forbidden
/// peer 403.
#[test]
fn connect_without_allocation_or_to_a_bad_peer_is_refused() {
    let server = Server::shared_strict();
    let mut control = server.tcp();
    control.login(USER, PASSWORD);
    assert_eq!(
        control
            .ask(Outgoing::connect("8.8.8.8:80".parse().unwrap()))
            .error(),
        Some(437)
    );
    control.allocate_with(Outgoing::allocate_tcp());
    assert_eq!(control.ask(Outgoing::request(CONNECT)).error(), Some(400));
    let broken = Outgoing::request(CONNECT).with(Attribute::plain(XOR_PEER_ADDRESS, b"\0\x01\0"));
    assert_eq!(control.ask(broken).error(), Some(400));
    for forbidden in ["127.0.0.1:80", "10.0.0.1:80", "169.254.169.254:80"] {
        assert_eq!(
            control
                .ask(Outgoing::connect(forbidden.parse().unwrap()))
                .error(),
            Some(403),
            "{forbidden}"
        );
    }
}

/// RFC 6062 §5.2: "If the connection attempt fails or times out, the server MUST return a 447
/// (Connection Timeout or Failure) error"; then another attempt may be made.
#[test]
fn a_refused_connection_gets_447() {
    let mut control = Server::shared().tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(control.ask(Outgoing::connect(address)).error(), Some(447));
    assert_eq!(control.ask(Outgoing::connect(address)).error(), Some(447));
    let listener = TcpListener::bind(address).unwrap();
    assert!(control.ask(Outgoing::connect(address)).is_success());
    listener.accept().unwrap();
}

/// RFC 6062 §5.3: "The indication MUST include an XOR-PEER-ADDRESS attribute containing the peer's
/// transport address, as well as a CONNECTION-ID attribute".
#[test]
fn a_permitted_peer_may_connect() {
    let server = Server::shared();
    let mut control = server.tcp();
    let relayed = control.allocate_with(Outgoing::allocate_tcp());
    control.permit("127.0.0.1:9".parse().unwrap());
    let mut peer = TcpStream::connect(relayed).unwrap();
    peer.set_read_timeout(Some(TIMEOUT)).unwrap();
    peer.write_all(b"before the bind").unwrap();
    let Packet::Stun(attempt) = control.receive() else {
        panic!("no indication")
    };
    assert_eq!(
        (attempt.class, attempt.method),
        (INDICATION, CONNECTION_ATTEMPT)
    );
    assert_eq!(
        attempt.address(XOR_PEER_ADDRESS),
        Some(peer.local_addr().unwrap())
    );
    let mut data = server.tcp();
    bind(&mut data, attempt.get(CONNECTION_ID).unwrap());
    let (mut data, early) = data.into_stream();
    expect_behind(&mut data, early, b"before the bind");
    data.write_all(b"welcome").unwrap();
    expect(&mut peer, b"welcome");
}

/// RFC 6062 §5.3: "If no permission for this peer has been installed for this allocation, the
/// server MUST close the connection with the peer immediately".
#[test]
fn a_connection_from_a_peer_without_permission_is_closed() {
    let mut control = Server::shared().tcp();
    let relayed = control.allocate_with(Outgoing::allocate_tcp());
    let mut peer = TcpStream::connect(relayed).unwrap();
    peer.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert!(matches!(peer.read(&mut [0; 8]), Ok(0) | Err(_)));
    assert!(control.fence().is_empty());
}

/// RFC 6062 §5.4: a CONNECTION-ID that is missing or refers to no pending connection gets 400, and
/// so does a connection over UDP.
#[test]
fn connection_bind_without_a_pending_connection_gets_400() {
    let server = Server::shared();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answer = control.ask(Outgoing::connect(listener.local_addr().unwrap()));
    let id = answer.get(CONNECTION_ID).unwrap();
    for mut client in server.both() {
        client.login(USER, PASSWORD);
        assert_eq!(
            client.ask(Outgoing::request(CONNECTION_BIND)).error(),
            Some(400)
        );
        let bogus =
            Outgoing::request(CONNECTION_BIND).with(Attribute::plain(CONNECTION_ID, b"nope"));
        assert_eq!(client.ask(bogus).error(), Some(400));
    }
    let mut over_udp = server.udp();
    over_udp.login(USER, PASSWORD);
    assert_eq!(
        over_udp.ask(Outgoing::connection_bind(id)).error(),
        Some(400)
    );
    let mut stranger = server.tcp();
    stranger.login(OTHER_USER, OTHER_PASSWORD);
    assert_eq!(
        stranger.ask(Outgoing::connection_bind(id)).error(),
        Some(441),
        "another user's connection"
    );
    let mut anonymous = server.tcp();
    assert_eq!(
        anonymous.exchange(&Outgoing::connection_bind(id)).error(),
        Some(401)
    );
    let mut first = server.tcp();
    first.login(USER, PASSWORD);
    bind(&mut first, id);
    let mut second = server.tcp();
    second.login(USER, PASSWORD);
    assert_eq!(
        second.ask(Outgoing::connection_bind(id)).error(),
        Some(400),
        "bound already"
    );
}

/// RFC 6062 §5.5: "When a client data connection is closed, the server MUST close the
/// corresponding peer data connection", and the other way round. A half-close is passed on after
/// the data.
#[test]
fn closing_one_end_closes_the_other() {
    let server = Server::shared();
    for peer_first in [false, true] {
        let mut control = server.tcp();
        control.allocate_with(Outgoing::allocate_tcp());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (peer, data, _) = join(server, &mut control, &listener, b"");
        let (mut one, mut two) = if peer_first {
            (peer, data)
        } else {
            (data, peer)
        };
        one.write_all(b"last data").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        expect(&mut two, b"last data");
        assert_eq!(two.read(&mut [0; 8]).unwrap(), 0);
        two.write_all(b"still open").unwrap();
        expect(&mut one, b"still open");
        drop(two);
        assert!(matches!(one.read(&mut [0; 8]), Ok(0) | Err(_)));
        let again = control.ask(Outgoing::connect(listener.local_addr().unwrap()));
        assert!(
            again.is_success(),
            "the peer may be connected to again: {again:?}"
        );
    }
}

/// RFC 6062 §5.5: "If the allocation associated with a data connection expires, the data connection
/// MUST be closed."
#[test]
fn the_end_of_an_allocation_closes_its_connections() {
    let server = Server::shared();
    for delete in [true, false] {
        let mut control = server.tcp();
        let relayed = control.allocate_with(Outgoing::allocate_tcp());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut peer, mut data, _) = join(server, &mut control, &listener, b"");
        match delete {
            true => assert!(control.refresh(0).is_success()),
            false => drop(control),
        }
        assert!(matches!(peer.read(&mut [0; 8]), Ok(0) | Err(_)));
        assert!(matches!(data.read(&mut [0; 8]), Ok(0) | Err(_)));
        until("the relayed port is free", || {
            TcpListener::bind(relayed).is_ok()
        });
    }
}

/// Although their ConnectionBinds arrive on any shard.
#[test]
fn connections_of_one_allocation_stay_separate() {
    let server = Server::shared();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let mut joined: Vec<(TcpStream, TcpStream)> = (0..10)
        .map(|_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let (peer, data, _) = join(server, &mut control, &listener, b"");
            (peer, data)
        })
        .collect();
    for (number, (peer, data)) in joined.iter_mut().enumerate() {
        peer.write_all(&[number as u8; 3]).unwrap();
        data.write_all(&[number as u8 + 100; 3]).unwrap();
    }
    for (number, (peer, data)) in joined.iter_mut().enumerate() {
        expect(data, &[number as u8; 3]);
        expect(peer, &[number as u8 + 100; 3]);
    }
}

#[test]
fn two_tcp_allocations_of_one_server_reach_each_other() {
    let server = Server::shared();
    let (mut one, mut two) = (server.tcp(), server.tcp());
    let (a, b) = (
        one.allocate_with(Outgoing::allocate_tcp()),
        two.allocate_with(Outgoing::allocate_tcp()),
    );
    two.permit(a);
    let connected = one.ask(Outgoing::connect(b));
    assert!(connected.is_success(), "{connected:?}");
    let Packet::Stun(attempt) = two.receive() else {
        panic!("no indication")
    };
    assert_eq!(attempt.address(XOR_PEER_ADDRESS), Some(a));
    let mut ends = [connected, attempt].map(|message| {
        let mut data = server.tcp();
        bind(&mut data, message.get(CONNECTION_ID).unwrap());
        data.into_stream().0
    });
    ends[0].write_all(b"hello").unwrap();
    expect(&mut ends[1], b"hello");
    ends[1].write_all(b"hello yourself").unwrap();
    expect(&mut ends[0], b"hello yourself");
}

/// Sends a ConnectionBind, which must succeed.
fn bind(data: &mut Client, id: &[u8]) {
    bind_with_data(data, id, b"");
}

/// Sends a ConnectionBind and the first octets for the peer in one write. A nonce is valid for one
/// connection only.
fn bind_with_data(data: &mut Client, id: &[u8], first: &[u8]) {
    data.login(USER, PASSWORD);
    let request = Outgoing::connection_bind(id);
    let octets = request.encode(data.credentials.as_ref());
    data.send_raw(&[&octets, first].concat());
    let answer = data.answer(request.id);
    assert!(answer.is_success(), "{answer:?}");
}

/// Connects an allocation to a peer, both of which send `early` before the connections are joined;
/// returns the ends of peer and client, and the address that the peer was connected from.
fn join(
    server: &Server,
    control: &mut Client,
    listener: &TcpListener,
    early: &[u8],
) -> (TcpStream, TcpStream, SocketAddr) {
    let answer = control.ask(Outgoing::connect(listener.local_addr().unwrap()));
    assert!(answer.is_success(), "{answer:?}");
    let (peer, from) = listener.accept().unwrap();
    let mut peer = with_timeouts(peer);
    peer.write_all(early).unwrap();
    let mut data = server.tcp();
    bind_with_data(&mut data, answer.get(CONNECTION_ID).unwrap(), early);
    let (mut data, buffered) = data.into_stream();
    expect_behind(&mut data, buffered, early);
    expect(&mut peer, early);
    (peer, data, from)
}

fn expect(stream: &mut TcpStream, octets: &[u8]) {
    expect_behind(stream, vec![], octets);
}

fn expect_behind(stream: &mut TcpStream, mut early: Vec<u8>, octets: &[u8]) {
    let mut rest = vec![0; octets.len() - early.len()];
    stream.read_exact(&mut rest).unwrap();
    early.extend(rest);
    assert_eq!(early, octets);
}
