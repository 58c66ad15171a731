//! A client relays through a supervisor in this process: every transport, both families, both send
//! paths, and its counters.

#[path = "support/mod.rs"]
mod support;

use hairpin::net;
use hairpin::net::{Batch, BufferRange, Buffers, IoMode, SendScratch, Transmit};
use hairpin::relay::{ConnectionLimits, Plan, Supervisor};
use hairpin::turn::Policy;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use support::TIMEOUT;
use support::client::{Client, Packet, Peer, payload};
use support::codec::*;
use support::operator::until;
use support::relay::{BOTH, Relay, V4, V6, any_port, plan, realm};
use support::transport::{connect, with_timeouts};

/// A client of each transport, named for messages.
type Open = fn(SocketAddr) -> Client;
const TRANSPORTS: [(&str, Open); 2] = [("udp", Client::udp), ("tcp", Client::tcp)];

fn start(change: impl FnOnce(&mut Plan)) -> Relay {
    Relay::start(V4, change)
}

#[test]
fn data_passes_both_ways_over_every_transport_family_and_path() {
    for path in [IoMode::Batched, IoMode::Portable] {
        let relay = Relay::start_on(&BOTH.map(any_port), |plan| plan.path = path);
        for (transport, open) in TRANSPORTS {
            for (listener, peer_ip) in [(0, V4), (0, V6), (1, V4), (1, V6)] {
                let case = format!("{path:?} {transport} {listener} {peer_ip}");
                let mut client = open(relay.supervisor.listener_addresses()[listener]);
                let relayed = allocate(&mut client, peer_ip);
                let peer = Peer::at(peer_ip);
                client.permit(peer.address);
                for length in [0, 1, 2, 3, 4, 1200, 1473, 9001, 65_000] {
                    let sent = payload(length);
                    client.send_to(peer.address, &sent);
                    assert_eq!(peer.receive(), (relayed, sent.clone()), "{case} {length}");
                    peer.send(relayed, &sent);
                    assert_eq!(client.data(), (peer.address, sent), "{case} {length}");
                }
                client.bind(0x4001, peer.address);
                for length in [0, 1, 2, 3, 4, 1200, 1473, 9001, 65_400] {
                    let sent = payload(length);
                    client.send_channel(0x4001, &sent);
                    assert_eq!(peer.receive(), (relayed, sent.clone()), "{case} {length}");
                    peer.send(relayed, &sent);
                    assert_eq!(client.channel_data(), (0x4001, sent), "{case} {length}");
                }
                assert_eq!(client.refresh(0).number(LIFETIME), Some(0));
                assert_eq!(relay.supervisor.statistics().allocations, 0);
            }
        }
        relay.supervisor.stop();
    }
}

#[test]
fn clients_of_one_server_reach_each_other_without_the_network() {
    let relay = start(|_| {});
    for (_, open_one) in TRANSPORTS {
        for (_, open_two) in TRANSPORTS {
            let (mut one, mut two) = (open_one(relay.address), open_two(relay.address));
            let (first, second) = (one.allocate(), two.allocate());
            one.permit(second);
            two.bind(0x4fff, first);
            for length in [0, 3, 1200, 9001] {
                let sent = payload(length);
                one.send_to(second, &sent);
                assert_eq!(two.channel_data(), (0x4fff, sent.clone()));
                two.send_channel(0x4fff, &sent);
                assert_eq!(one.data(), (second, sent));
            }
        }
    }
    let shard = &relay.supervisor.statistics().shards[0];
    assert_eq!(
        shard.relay.peer_datagrams.get(),
        0,
        "no relay socket received anything"
    );
    assert_eq!(shard.turn.hairpinned.packets.get(), 4 * 4 * 2);
}

/// The client asserts that each answer comes from the address that it sent to.
#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_used() {
    let wildcards = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let relay = Relay::start_on(&wildcards.map(any_port), |_| {});
    let [v4, v6] = [0, 1].map(|listener| relay.supervisor.listener_addresses()[listener].port());
    let other_loopback = IpAddr::from([127, 5, 6, 7]);
    for (ip, port) in [(V4, v4), (other_loopback, v4), (V6, v6)] {
        let mut client = Client::udp((ip, port).into());
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        peer.send(relayed, b"hello");
        assert_eq!(client.channel_data(), (0x4000, b"hello".to_vec()), "{ip}");
    }
}

#[test]
fn bursts_arrive_whole_and_in_order_and_are_sent_with_few_system_calls() {
    const COUNT: u8 = 32;
    let relay = start(|_| {});
    let mut client = relay.udp();
    let relayed = client.allocate();
    let mut peer = net::UdpSocket::bind(any_port(V4), &net::UdpOptions::default()).unwrap();
    client.bind(0x4000, peer.local_address());
    let send_calls = || relay.count(|c| &c.send_calls);
    let before = send_calls();
    let payloads: Vec<_> = (0..COUNT).map(|n| vec![n; 1000]).collect();
    for payload in &payloads {
        client.send_channel(0x4000, payload);
    }
    let mut batch = Batch::new(64);
    let mut received = Vec::new();
    let deadline = Instant::now() + TIMEOUT;
    while received.len() < payloads.len() {
        assert!(Instant::now() < deadline, "{} arrived", received.len());
        batch.clear();
        peer.receive(&mut batch).unwrap();
        received.extend(batch.datagrams().iter().map(|d| batch.payload(d).to_vec()));
        std::thread::yield_now();
    }
    assert!(received == payloads);
    // Back as one segmented send (GSO).
    let octets = payloads.concat();
    let back: Vec<_> = (0..usize::from(COUNT))
        .map(|n| Transmit::new(relayed, BufferRange::written(n * 1000, 1000)))
        .collect();
    let written = Buffers {
        received: &[],
        written: &octets,
    };
    let sent = peer.send(&mut SendScratch::default(), &back, written);
    assert_eq!(sent.datagrams, u64::from(COUNT));
    for payload in payloads {
        assert_eq!(client.channel_data(), (0x4000, payload));
    }
    let calls = send_calls() - before;
    assert!(calls < 64, "{calls} calls for 64 datagrams");
}

/// RFC 8656 §13: the relay takes one off TTL and hop limit, so a datagram that arrives with 1 goes
/// no further.
#[test]
#[cfg(target_os = "linux")]
fn a_datagram_with_hop_limit_one_is_dropped_and_counted() {
    let relay = Relay::start_on(&BOTH.map(any_port), |_| {});
    for (listener, ip) in [(0, V4), (1, V6)] {
        let mut client = Client::udp(relay.supervisor.listener_addresses()[listener]);
        allocate(&mut client, ip);
        let peer = Peer::at(ip);
        client.bind(0x4000, peer.address);
        for (hops, payload) in [(1, b"one"), (64, b"two")] {
            let socket = socket2::SockRef::from(client.socket());
            match ip {
                IpAddr::V4(_) => socket.set_ttl_v4(hops).unwrap(),
                IpAddr::V6(_) => socket.set_unicast_hops_v6(hops).unwrap(),
            }
            client.send_channel(0x4000, payload);
        }
        assert_eq!(peer.receive().1, b"two");
    }
    assert_eq!(relay.count(|c| &c.hop_limit_exceeded), 2);
}

#[test]
#[cfg(target_os = "linux")]
fn an_unreachable_peer_is_reported_as_icmp_and_costs_the_next_datagram_nothing() {
    let relay = Relay::start_on(&BOTH.map(any_port), |_| {});
    for (listener, ip, kind_and_code) in [(0, V4, [3, 3]), (1, V6, [1, 4])] {
        let mut client = Client::udp(relay.supervisor.listener_addresses()[listener]);
        allocate(&mut client, ip);
        let closed = Peer::at(ip).address;
        let open = Peer::at(ip);
        client.permit(closed);
        let expect_icmp = |client: &mut Client| {
            client.send_to(closed, b"unreachable");
            let Packet::Stun(report) = client.receive() else {
                panic!("not a Data indication")
            };
            assert_eq!(report.address(XOR_PEER_ADDRESS), Some(closed));
            assert_eq!(report.get(ICMP).unwrap()[2..4], kind_and_code);
        };
        expect_icmp(&mut client);
        // The kernel keeps the error for the next call on the socket, which must not lose that
        // datagram.
        for _ in 0..3 {
            client.send_to(open.address, b"reachable");
            assert_eq!(open.receive().1, b"reachable");
            expect_icmp(&mut client);
        }
    }
}

#[test]
fn a_stream_is_parsed_wherever_it_is_cut() {
    let relay = start(|_| {});
    let mut client = relay.tcp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    let indication = Outgoing::indication(SEND)
        .with(Attribute::peer(peer.address))
        .with(Attribute::data(b"one"));
    let binding = Outgoing::request(BINDING);
    let octets = [
        &indication.encode(None)[..],
        b"\x40\0\0\x03two\0\x40\0\0\x05three\0\0\0",
        &binding.encode(None),
    ]
    .concat();
    for cut in 1..octets.len() {
        client.send_raw(&octets[..cut]);
        std::thread::yield_now();
        client.send_raw(&octets[cut..]);
        for expected in [&b"one"[..], b"two", b"three"] {
            assert_eq!(peer.receive(), (relayed, expected.to_vec()), "cut at {cut}");
        }
        assert!(client.answer(binding.id).is_success());
    }
    for octet in &octets {
        client.send_raw(std::slice::from_ref(octet));
    }
    assert_eq!(peer.receive().1, b"one");
}

/// Waits until the server has closed the connection; returns what it sent before.
fn read_until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
    all
}

#[test]
fn garbage_and_idleness_close_a_connection_but_an_allocation_keeps_it_open() {
    let relay = start(|plan| plan.connection_limits.idle_timeout = Duration::from_millis(300));
    let mut client = relay.tcp();
    let relayed = client.allocate();
    let expect_closed = |octets: &[u8]| {
        let mut stream = connect(relay.address);
        stream.write_all(octets).unwrap();
        assert!(read_until_closed(&mut stream).is_empty());
    };
    expect_closed(b"GET / HTTP/1.1\r\n\r\n");
    expect_closed(b"\xff");
    expect_closed(b"\x40\0\0\x03two\0");
    expect_closed(b"\0\x01\0\x03");
    assert_eq!(relay.count(|c| &c.connections_malformed), 4);
    expect_closed(b"");
    expect_closed(b"\0\x01\0\0");
    assert_eq!(relay.count(|c| &c.connections_idle), 2);
    // All of that took several times the idle timeout.
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    peer.send(relayed, b"still open");
    assert_eq!(client.channel_data(), (0x4000, b"still open".to_vec()));
    assert_eq!(client.refresh(0).number(LIFETIME), Some(0));
    let (stream, _) = client.into_stream();
    assert!(read_until_closed(&mut with_timeouts(stream)).is_empty());
    assert_eq!(relay.count(|c| &c.connections), 0);
}

#[test]
fn closing_the_connection_deletes_the_allocation() {
    let relay = start(|_| {});
    let mut client = relay.tcp();
    let relayed = client.allocate();
    assert_eq!(relay.supervisor.statistics().allocations, 1);
    drop(client);
    until("the relayed port is free", || {
        UdpSocket::bind(relayed).is_ok()
    });
    assert_eq!(relay.supervisor.statistics().allocations, 0);
}

#[test]
fn a_slow_reader_loses_whole_packets_and_the_buffer_stays_bounded() {
    let relay = start(|plan| {
        plan.connection_limits = ConnectionLimits {
            max_output: 64 << 10,
            send_buffer: Some(64 << 10),
            ..ConnectionLimits::default()
        }
    });
    let mut client = relay.tcp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    let deadline = Instant::now() + TIMEOUT;
    while relay.count(|c| &c.stream_dropped) < 1000 {
        assert!(Instant::now() < deadline, "not dropped");
        peer.send(relayed, &[7; 1200]);
    }
    // Other clients are served meanwhile.
    relay.udp().fence();
    // Once it reads, each packet that it receives is whole.
    let packets = client.fence();
    assert!(!packets.is_empty());
    for packet in packets {
        assert!(matches!(packet, Packet::Channel(0x4000, data) if data == [7; 1200]));
    }
    assert_eq!(relay.count(|c| &c.connections_unread), 0);
}

#[test]
fn unread_responses_close_the_connection() {
    let relay = start(|plan| {
        plan.answer_rate = 0;
        plan.connection_limits = ConnectionLimits {
            max_output: 4 << 10,
            send_buffer: Some(4 << 10),
            ..ConnectionLimits::default()
        }
    });
    let mut stream = connect(relay.address);
    let requests = Outgoing::request(BINDING).encode(None).repeat(1000);
    let error = (0..100_000)
        .find_map(|_| stream.write_all(&requests).err())
        .unwrap();
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    assert_eq!(relay.count(|c| &c.connections_unread), 1);
}

#[test]
fn a_port_in_use_is_named_and_stopping_frees_every_port() {
    let relay = start(|_| {});
    let address = relay.address;
    let relayed = relay.udp().allocate();
    for shards in [1, 2] {
        let error = Supervisor::start(Plan {
            shards,
            ..plan(&[address], realm())
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&address.to_string()), "{error}");
    }
    relay.supervisor.stop();
    UdpSocket::bind(relayed).unwrap();
    Relay::start_on(&[address], |_| {}).supervisor.stop();
}

#[test]
fn shards_share_the_listeners_and_their_clients_reach_each_other() {
    const CLIENTS: usize = 24;
    let relay = start(|plan| plan.shards = 3);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|n| if n % 3 == 0 { relay.tcp() } else { relay.udp() })
        .collect();
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocate).collect();
    let shards = relay.supervisor.statistics().shards;
    let busy = shards.iter().filter(|shard| shard.turn.started.get() > 0);
    assert!(busy.count() > 1, "the kernel gave all clients to one shard");
    let next = |n: usize| (n + 1) % CLIENTS;
    let previous = |n: usize| (n + CLIENTS - 1) % CLIENTS;
    for (n, client) in clients.iter_mut().enumerate() {
        client.permit(relayed[next(n)]);
        client.bind(0x4000, relayed[previous(n)]);
    }
    for n in 0..CLIENTS {
        clients[n].send_to(relayed[next(n)], &payload(n * 50));
        assert_eq!(clients[next(n)].channel_data(), (0x4000, payload(n * 50)));
    }
}

#[test]
fn a_supervisor_lists_and_closes_allocations_and_replaces_the_policy() {
    let relay = start(|_| {});
    let relayed = relay.udp().allocate();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let all = relay.supervisor.allocations().await;
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].relayed.as_slice(), &*all[0].user),
            (&[relayed][..], "alice")
        );
        assert!(relay.supervisor.close_allocation(all[0].id).await);
        assert!(!relay.supervisor.close_allocation(all[0].id).await);
        assert!(relay.supervisor.allocations().await.is_empty());
        let draining = Policy {
            draining: true,
            ..plan(&[], realm()).policy
        };
        relay.supervisor.replace_policy(draining).await;
    });
    let mut client = relay.udp();
    client.login_as_first_user();
    assert_eq!(client.ask(Outgoing::allocate()).error(), Some(508));
}

fn allocate(client: &mut Client, ip: IpAddr) -> SocketAddr {
    match ip {
        IpAddr::V4(_) => client.allocate(),
        IpAddr::V6(_) => client.allocate_v6(),
    }
}
