//! A real client allocates and relays through a supervisor in this process: UDP and TCP, IPv4 and IPv6, both paths.

use hairpin::net;
use hairpin::net::{Batch, BufferRange, Buffers, IoMode, SendScratch, Transmit};
use hairpin::relay::{ConnectionLimits, Plan, Supervisor};
use hairpin::turn::client_state::{Answer, ClientState, Event, Login, Request};
use hairpin::turn::policy::acl::Cidr;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};
use hairpin::wire::attribute::Family;
use hairpin::wire::{channel_data, stream};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

/// One shard on loopback that relays to loopback.
fn plan(listeners: &[SocketAddr]) -> Plan {
    let mut realm = Realm::new("test");
    realm.credentials.add_user("test", "alice", "wonderland");
    realm.peers.allow = vec![Cidr::new(V4, 8).unwrap(), Cidr::new(V6, 128).unwrap()];
    let relays = [V4, V6].map(|ip| RelayAddress {
        local: ip,
        external: ip,
    });
    let mut plan = Plan::new(
        listeners.iter().copied(),
        Policy::new(realm, relays.to_vec()),
    );
    plan.shards = 1;
    plan
}

fn start(plan: Plan) -> Supervisor {
    Supervisor::start(plan).unwrap()
}

fn any(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

/// A peer that waits no longer than a test may.
fn peer(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(any(ip)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    /// A socket of ours, and the server that it writes to.
    Net(net::UdpSocket, SocketAddr),
}

/// A TURN client on a blocking socket.
struct Caller {
    line: Line,
    client: ClientState,
}

/// What a client received, with its octets.
#[derive(Debug, PartialEq, Eq)]
enum Got {
    Answer(Answer),
    Refused(u16),
    Data(SocketAddr, Vec<u8>),
    Channel(u16, Vec<u8>),
    Icmp(SocketAddr, u8, u8),
}

impl Caller {
    fn new(line: Line) -> Caller {
        let login = Login {
            username: "alice".into(),
            password: "wonderland".into(),
        };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&std::process::id().to_be_bytes().repeat(2));
        Caller {
            line,
            client: ClientState::new(Some(login), seed),
        }
    }

    fn udp(server: SocketAddr) -> Caller {
        let socket = peer(if server.is_ipv4() { V4 } else { V6 });
        // Connected: an answer from any other address would not arrive.
        socket.connect(server).unwrap();
        Caller::new(Line::Udp(socket))
    }

    fn tcp(server: SocketAddr) -> Caller {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Caller::new(Line::Tcp(stream, Vec::new()))
    }

    fn on(transport: &str, server: SocketAddr) -> Caller {
        if transport == "tcp" {
            Caller::tcp(server)
        } else {
            Caller::udp(server)
        }
    }

    fn write(&mut self, octets: &[u8]) {
        match &mut self.line {
            Line::Udp(socket) => assert_eq!(socket.send(octets).unwrap(), octets.len()),
            Line::Tcp(stream, _) => stream.write_all(octets).unwrap(),
            Line::Net(socket, server) => {
                let outgoing = Transmit::new(*server, BufferRange::written(0, octets.len()));
                let octets = Buffers {
                    received: &[],
                    written: octets,
                };
                assert_eq!(
                    socket
                        .send(&mut SendScratch::default(), &[outgoing], octets)
                        .datagrams,
                    1
                );
            }
        }
    }

    fn read(&mut self) -> Vec<u8> {
        match &mut self.line {
            Line::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer).unwrap();
                buffer.truncate(length);
                buffer
            }
            Line::Tcp(stream, kept) => loop {
                if let Some(length) = stream::frame(kept)
                    .unwrap()
                    .filter(|length| *length <= kept.len())
                {
                    return kept.drain(..length).collect();
                }
                let mut buffer = [0; 4096];
                let length = stream.read(&mut buffer).unwrap();
                assert!(length > 0, "the server closed the connection");
                kept.extend_from_slice(&buffer[..length]);
            },
            Line::Net(socket, _) => next(socket).1,
        }
    }

    fn receive(&mut self) -> Got {
        loop {
            let octets = self.read();
            let mut out = Vec::new();
            let got = match self.client.receive(&octets, &mut out) {
                Event::Granted { answer, .. } => Some(Got::Answer(answer)),
                Event::Refused { refusal, .. } => Some(Got::Refused(refusal.code.0)),
                Event::Data { peer, payload } => Some(Got::Data(peer, payload.to_vec())),
                Event::Channel(data) => Some(Got::Channel(data.number, data.payload.to_vec())),
                Event::Icmp { peer, kind, code } => Some(Got::Icmp(peer, kind, code)),
                Event::Retried { .. } => None,
                Event::Ignored(why) => panic!("{why:?}"),
            };
            if !out.is_empty() {
                self.write(&out);
            }
            if let Some(got) = got {
                return got;
            }
        }
    }

    fn ask(&mut self, request: Request) -> Got {
        let mut out = Vec::new();
        self.client.request(request, &mut out);
        self.write(&out);
        self.receive()
    }

    fn granted(&mut self, request: Request) -> Answer {
        match self.ask(request) {
            Got::Answer(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn allocate(&mut self, ip: IpAddr) -> SocketAddr {
        let request = Request::Allocate {
            family: Some(Family::of(ip)),
            lifetime: None,
        };
        self.granted(request).relayed.unwrap()
    }

    fn permit(&mut self, peer: SocketAddr) {
        self.granted(Request::CreatePermission { peers: vec![peer] });
    }

    fn bind(&mut self, number: u16, peer: SocketAddr) {
        self.granted(Request::ChannelBind { number, peer });
    }

    fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.send(peer, payload, &mut out);
        self.write(&out);
    }

    fn channel(&mut self, number: u16, payload: &[u8]) {
        let mut out = channel_data::header(number, payload.len() as u16).to_vec();
        out.extend_from_slice(payload);
        if let Line::Tcp(..) = self.line {
            out.resize(out.len().next_multiple_of(4), 0);
        }
        self.write(&out);
    }
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

fn receive_from(peer: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = peer.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    (buffer, from)
}

#[test]
fn data_passes_both_ways_over_every_transport_family_and_path() {
    for path in [IoMode::Batched, IoMode::Portable] {
        let server = start(Plan {
            path,
            ..plan(&[any(V4), any(V6)])
        });
        for (transport, at, ip) in [
            ("udp", 0, V4),
            ("udp", 1, V6),
            ("tcp", 0, V4),
            ("tcp", 1, V6),
            ("udp", 0, V6),
            ("tcp", 1, V4),
        ] {
            let what = format!("{path:?} {transport} {at} {ip}");
            let mut caller = Caller::on(transport, server.listener_addresses()[at]);
            let relayed = caller.allocate(ip);
            let peer = peer(ip);
            let there = peer.local_addr().unwrap();
            caller.permit(there);
            for length in [0, 1, 2, 3, 4, 1200, 1473, 9001, 65_000] {
                let sent = payload(length);
                caller.send(there, &sent);
                assert_eq!(
                    receive_from(&peer),
                    (sent.clone(), relayed),
                    "{what} {length}"
                );
                peer.send_to(&sent, relayed).unwrap();
                assert_eq!(caller.receive(), Got::Data(there, sent), "{what} {length}");
            }
            caller.bind(0x4001, there);
            for length in [0, 1, 2, 3, 4, 1200, 1473, 9001, 65_400] {
                let sent = payload(length);
                caller.channel(0x4001, &sent);
                assert_eq!(
                    receive_from(&peer),
                    (sent.clone(), relayed),
                    "{what} {length}"
                );
                peer.send_to(&sent, relayed).unwrap();
                assert_eq!(
                    caller.receive(),
                    Got::Channel(0x4001, sent),
                    "{what} {length}"
                );
            }
            assert_eq!(
                caller.granted(Request::Refresh { lifetime: 0 }).lifetime,
                Some(0)
            );
            assert_eq!(server.statistics().allocations, 0);
        }
        server.stop();
    }
}

#[test]
fn two_clients_of_this_server_reach_each_other_without_the_network() {
    let server = start(plan(&[any(V4)]));
    let address = server.listener_addresses()[0];
    for (one, two) in [
        ("udp", "udp"),
        ("udp", "tcp"),
        ("tcp", "udp"),
        ("tcp", "tcp"),
    ] {
        let (mut one, mut two) = (Caller::on(one, address), Caller::on(two, address));
        let (here, there) = (one.allocate(V4), two.allocate(V4));
        one.permit(there);
        two.bind(0x4fff, here);
        for length in [0, 3, 1200, 9001] {
            let sent = payload(length);
            one.send(there, &sent);
            assert_eq!(two.receive(), Got::Channel(0x4fff, sent.clone()));
            two.channel(0x4fff, &sent);
            assert_eq!(one.receive(), Got::Data(there, sent));
        }
    }
    let statistics = server.statistics();
    let peers: u64 = statistics
        .shards
        .iter()
        .map(|shard| shard.relay.peer_datagrams.get())
        .sum();
    assert_eq!(peers, 0, "no relay socket received anything");
    assert_eq!(
        statistics.shards[0].turn.hairpinned.packets.get(),
        4 * 4 * 2
    );
}

#[test]
fn wildcard_listeners_answer_from_the_address_that_was_asked() {
    let wildcards = [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ];
    let server = start(plan(&wildcards.map(any)));
    let [v4, v6] = [
        server.listener_addresses()[0].port(),
        server.listener_addresses()[1].port(),
    ];
    for asked in [(V4, v4), (IpAddr::from([127, 5, 6, 7]), v4), (V6, v6)] {
        let mut caller = Caller::udp(asked.into());
        let relayed = caller.allocate(V4);
        let peer = peer(V4);
        caller.bind(0x4000, peer.local_addr().unwrap());
        peer.send_to(b"hello", relayed).unwrap();
        assert_eq!(
            caller.receive(),
            Got::Channel(0x4000, b"hello".to_vec()),
            "{asked:?}"
        );
    }
}

#[test]
fn trains_arrive_whole_in_order_and_cost_few_calls() {
    let server = start(plan(&[any(V4)]));
    let mut caller = Caller::udp(server.listener_addresses()[0]);
    let relayed = caller.allocate(V4);
    let mut peer = net::UdpSocket::bind(any(V4), &net::UdpOptions::default()).unwrap();
    caller.bind(0x4000, peer.local_address());
    let before = server.statistics().shards[0].relay.send_calls.get();
    let octets: Vec<u8> = (0..32u8)
        .flat_map(|n| [&[0x40, 0, 3, 0xe8][..], &[n; 1000]].concat())
        .collect();
    let outgoing: Vec<_> = (0..32)
        .map(|n| {
            Transmit::new(
                server.listener_addresses()[0],
                BufferRange::written(n * 1004, 1004),
            )
        })
        .collect();
    // As a burst of the client's own: the same socket, from which it allocated.
    let Line::Udp(socket) = &caller.line else {
        unreachable!()
    };
    for item in &outgoing {
        let start = item.payload.start as usize;
        socket.send(&octets[start..start + 1004]).unwrap();
    }
    let mut batch = Batch::new(64);
    let mut got = Vec::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    while got.len() < 32 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} of 32 arrived",
            got.len()
        );
        batch.clear();
        peer.receive(&mut batch).unwrap();
        got.extend(batch.datagrams().iter().map(|d| batch.payload(d).to_vec()));
        std::thread::yield_now();
    }
    assert!(
        (0..32u8)
            .zip(&got)
            .all(|(n, payload)| *payload == [n; 1000])
    );
    // And back, as one GSO train.
    let back: Vec<_> = (0..32)
        .map(|n| Transmit::new(relayed, BufferRange::written(n * 1004 + 4, 1000)))
        .collect();
    let sent = peer.send(
        &mut SendScratch::default(),
        &back,
        Buffers {
            received: &[],
            written: &octets,
        },
    );
    assert_eq!(sent.datagrams, 32);
    for n in 0..32u8 {
        assert_eq!(caller.receive(), Got::Channel(0x4000, vec![n; 1000]));
    }
    let calls = server.statistics().shards[0].relay.send_calls.get() - before;
    assert!(calls < 64, "{calls} calls for 64 datagrams");
}

#[test]
#[cfg(target_os = "linux")]
fn dscp_ecn_and_hop_limit_cross_the_relay() {
    let server = start(plan(&[any(V4), any(V6)]));
    for (at, ip) in [(0, V4), (1, V6)] {
        let address = server.listener_addresses()[at];
        let options = net::UdpOptions {
            receive_traffic_class: true,
            receive_hop_limit: true,
            ..net::UdpOptions::default()
        };
        let mut peer = net::UdpSocket::bind(any(ip), &options).unwrap();
        let own = net::UdpSocket::bind(any(ip), &options).unwrap();
        let mut caller = Caller::new(Line::Net(own, address));
        let relayed = caller.allocate(ip);
        caller.bind(0x4000, peer.local_address());
        let marked = Transmit {
            traffic_class: 0xb9,
            hop_limit: 33,
            ..Transmit::new(relayed, BufferRange::written(0, 3))
        };
        peer.send(
            &mut SendScratch::default(),
            &[marked],
            Buffers {
                received: &[],
                written: b"abc",
            },
        );
        let Line::Net(socket, _) = &mut caller.line else {
            unreachable!()
        };
        let (got, octets) = next(socket);
        assert_eq!((got.traffic_class, got.hop_limit), (0xb9, 32), "{ip}");
        assert_eq!(octets, b"\x40\0\0\x03abc");
        let data = Transmit {
            traffic_class: 0xba,
            hop_limit: 2,
            ..Transmit::new(address, BufferRange::written(0, 7))
        };
        let last = Transmit {
            hop_limit: 1,
            ..data
        };
        let sent = socket.send(
            &mut SendScratch::default(),
            &[last, data],
            Buffers {
                received: &[],
                written: &octets,
            },
        );
        assert_eq!(sent.datagrams, 2);
        let (got, octets) = next(&mut peer);
        assert_eq!(
            (got.traffic_class, got.hop_limit, &octets[..]),
            (0xba, 1, &b"abc"[..]),
            "{ip}"
        );
    }
    assert_eq!(
        server.statistics().shards[0].relay.hop_limit_exceeded.get(),
        2
    );
}

/// Waits for a datagram.
fn next(socket: &mut net::UdpSocket) -> (net::Datagram, Vec<u8>) {
    let mut batch = Batch::new(1);
    let deadline = std::time::Instant::now() + PATIENCE;
    while batch.datagrams().is_empty() {
        assert!(std::time::Instant::now() < deadline, "nothing came");
        socket.receive(&mut batch).unwrap();
        std::thread::yield_now();
    }
    let first = batch.datagrams()[0];
    (first, batch.payload(&first).to_vec())
}

#[test]
#[cfg(target_os = "linux")]
fn a_peer_that_is_not_there_is_told_as_icmp() {
    let server = start(plan(&[any(V4), any(V6)]));
    for (at, ip, told) in [(0, V4, (3, 3)), (1, V6, (1, 4))] {
        let mut caller = Caller::udp(server.listener_addresses()[at]);
        caller.allocate(ip);
        let gone = peer(ip).local_addr().unwrap();
        let here = peer(ip);
        caller.permit(gone);
        caller.send(gone, b"anybody?");
        assert_eq!(caller.receive(), Got::Icmp(gone, told.0, told.1));
        // The pending error costs the next datagram nothing.
        for _ in 0..3 {
            caller.send(here.local_addr().unwrap(), b"you?");
            assert_eq!(receive_from(&here).0, b"you?");
            caller.send(gone, b"anybody?");
            assert_eq!(caller.receive(), Got::Icmp(gone, told.0, told.1));
        }
    }
}

#[test]
fn a_stream_may_be_cut_anywhere() {
    let server = start(plan(&[any(V4)]));
    let mut caller = Caller::tcp(server.listener_addresses()[0]);
    let relayed = caller.allocate(V4);
    let peer = peer(V4);
    let there = peer.local_addr().unwrap();
    caller.bind(0x4000, there);
    let mut octets = Vec::new();
    caller.client.send(there, b"one", &mut octets);
    octets.extend(b"\x40\0\0\x03two\0\x40\0\0\x05three\0\0\0");
    caller.client.request(Request::Binding, &mut octets);
    for cut in 1..octets.len() {
        caller.write(&octets[..cut]);
        std::thread::yield_now();
        caller.write(&octets[cut..]);
        for expected in [&b"one"[..], b"two", b"three"] {
            assert_eq!(
                receive_from(&peer),
                (expected.to_vec(), relayed),
                "cut at {cut}"
            );
        }
        // Only the first answer meets an open transaction.
        assert!(!caller.read().is_empty());
    }
    for octet in &octets {
        caller.write(std::slice::from_ref(octet));
    }
    assert_eq!(receive_from(&peer).0, b"one");
}

/// Waits until the other end has closed, and gives what it said before.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it was not closed: {error}"),
    }
    all
}

#[test]
fn garbage_and_silence_close_a_connection_but_an_allocation_keeps_it() {
    let connection_limits = ConnectionLimits {
        idle_timeout: Duration::from_millis(300),
        ..ConnectionLimits::default()
    };
    let server = start(Plan {
        connection_limits,
        ..plan(&[any(V4)])
    });
    let address = server.listener_addresses()[0];
    let mut kept = Caller::tcp(address);
    let relayed = kept.allocate(V4);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\xff",
        b"\x40\0\0\x03two\0",
        b"\0\x01\0\x03",
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(garbage).unwrap();
        assert!(rest(&stream).is_empty());
    }
    let relay = server.statistics().shards[0].relay.clone();
    assert_eq!(relay.connections_malformed.get(), 4);
    // Nothing at all, and the beginning of something.
    for beginning in [&b""[..], b"\0\x01\0\0"] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(beginning).unwrap();
        assert!(rest(&stream).is_empty());
    }
    assert_eq!(relay.connections_idle.get(), 2);
    // All that took several times as long as silence may last.
    let peer = peer(V4);
    kept.bind(0x4000, peer.local_addr().unwrap());
    peer.send_to(b"still here", relayed).unwrap();
    assert_eq!(kept.receive(), Got::Channel(0x4000, b"still here".to_vec()));
    assert_eq!(
        kept.granted(Request::Refresh { lifetime: 0 }).lifetime,
        Some(0)
    );
    let Line::Tcp(stream, _) = &kept.line else {
        unreachable!()
    };
    assert!(rest(stream).is_empty());
    assert_eq!(relay.connections.get(), 0);
}

#[test]
fn a_connection_that_closes_ends_its_allocation() {
    let server = start(plan(&[any(V4)]));
    let mut caller = Caller::tcp(server.listener_addresses()[0]);
    let relayed = caller.allocate(V4);
    assert_eq!(server.statistics().allocations, 1);
    drop(caller);
    let deadline = std::time::Instant::now() + PATIENCE;
    while UdpSocket::bind(relayed).is_err() {
        assert!(
            std::time::Instant::now() < deadline,
            "the relayed port is still bound"
        );
        std::thread::yield_now();
    }
    assert_eq!(server.statistics().allocations, 0);
}

#[test]
fn a_slow_reader_loses_packets_and_nothing_grows() {
    let connection_limits = ConnectionLimits {
        max_output: 64 << 10,
        send_buffer: Some(64 << 10),
        ..ConnectionLimits::default()
    };
    let server = start(Plan {
        connection_limits,
        ..plan(&[any(V4)])
    });
    let mut caller = Caller::tcp(server.listener_addresses()[0]);
    let relayed = caller.allocate(V4);
    let peer = peer(V4);
    caller.bind(0x4000, peer.local_addr().unwrap());
    let relay = server.statistics().shards[0].relay.clone();
    let deadline = std::time::Instant::now() + PATIENCE;
    while relay.stream_dropped.get() < 1000 {
        assert!(
            std::time::Instant::now() < deadline,
            "{} dropped",
            relay.stream_dropped.get()
        );
        peer.send_to(&[7; 1200], relayed).unwrap();
    }
    // Others are served meanwhile, and so is this one once it reads: every packet that it gets is whole.
    assert!(matches!(
        Caller::udp(server.listener_addresses()[0]).ask(Request::Binding),
        Got::Answer(_)
    ));
    let mut out = Vec::new();
    caller.client.request(Request::Binding, &mut out);
    caller.write(&out);
    let mut packets = 0;
    loop {
        match caller.receive() {
            Got::Channel(0x4000, data) => assert_eq!(data, [7; 1200]),
            Got::Answer(_) => break,
            other => panic!("{other:?}"),
        }
        packets += 1;
    }
    assert!(packets > 0);
    assert_eq!(relay.connections_unread.get(), 0);
}

#[test]
fn answers_that_nobody_reads_close_the_connection() {
    let connection_limits = ConnectionLimits {
        max_output: 4 << 10,
        send_buffer: Some(4 << 10),
        ..ConnectionLimits::default()
    };
    let server = start(Plan {
        connection_limits,
        answer_rate: 0,
        ..plan(&[any(V4)])
    });
    let mut caller = Caller::tcp(server.listener_addresses()[0]);
    let mut requests = Vec::new();
    caller.client.request(Request::Binding, &mut requests);
    let requests = requests.repeat(1000);
    let Line::Tcp(stream, _) = &mut caller.line else {
        unreachable!()
    };
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let failed = (0..100_000)
        .find_map(|_| stream.write_all(&requests).err())
        .unwrap();
    assert!(
        matches!(
            failed.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{failed}"
    );
    assert_eq!(
        server.statistics().shards[0].relay.connections_unread.get(),
        1
    );
}

#[test]
fn a_port_in_use_is_named_and_stopping_gives_it_back() {
    let server = start(plan(&[any(V4)]));
    let address = server.listener_addresses()[0];
    let mut caller = Caller::udp(address);
    let relayed = caller.allocate(V4);
    for shards in [1, 2] {
        let error = Supervisor::start(Plan {
            shards,
            ..plan(&[address])
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    server.stop();
    UdpSocket::bind(relayed).unwrap();
    start(plan(&[address])).stop();
}

#[test]
fn shards_share_the_listeners_and_reach_each_other() {
    let server = start(Plan {
        shards: 3,
        pin: false,
        ..plan(&[any(V4)])
    });
    let address = server.listener_addresses()[0];
    let mut callers: Vec<_> = (0..24)
        .map(|n| Caller::on(if n % 3 == 0 { "tcp" } else { "udp" }, address))
        .collect();
    let relayed: Vec<_> = callers
        .iter_mut()
        .map(|caller| caller.allocate(V4))
        .collect();
    let busy = server
        .statistics()
        .shards
        .iter()
        .filter(|shard| shard.turn.started.get() > 0)
        .count();
    assert!(busy > 1, "the kernel gave all clients to one shard");
    for (n, caller) in callers.iter_mut().enumerate() {
        caller.permit(relayed[(n + 1) % 24]);
        caller.bind(0x4000, relayed[(n + 23) % 24]);
    }
    for n in 0..24 {
        callers[n].send(relayed[(n + 1) % 24], &payload(n * 50));
        assert_eq!(
            callers[(n + 1) % 24].receive(),
            Got::Channel(0x4000, payload(n * 50))
        );
    }
}

#[test]
fn a_supervisor_lists_and_closes_allocations_and_replaces_the_policy() {
    let server = start(plan(&[any(V4)]));
    let address = server.listener_addresses()[0];
    let mut caller = Caller::udp(address);
    let relayed = caller.allocate(V4);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let all = server.allocations().await;
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].relayed.as_slice(), &*all[0].user),
            (&[relayed][..], "alice")
        );
        assert!(server.close_allocation(all[0].id).await);
        assert!(!server.close_allocation(all[0].id).await);
        assert!(server.allocations().await.is_empty());
        let refusing = Policy {
            draining: true,
            ..plan(&[]).policy
        };
        server.replace_policy(refusing).await;
    });
    let request = Request::Allocate {
        family: None,
        lifetime: None,
    };
    assert_eq!(Caller::udp(address).ask(request), Got::Refused(508));
}
