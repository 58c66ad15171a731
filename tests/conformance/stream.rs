//! TURN over TCP: framing, garbage, idle and slow connections.

use crate::support::client::{Client, Packet, Peer};
use crate::support::codec::*;
use crate::support::process::Server;
use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::Policy;
use std::io::Write;
use std::time::{Duration, Instant};

/// RFC 8489 §6.2.2: only the headers mark the boundaries of messages in a stream.
#[test]
fn every_message_may_be_cut_anywhere() {
    let server = Server::shared();
    let peer = Peer::v4();
    let mut other = server.tcp();
    let binding = Outgoing::request(BINDING)
        .with(Attribute::plain(SOFTWARE, b"odd"))
        .encode(None);
    for cut in 1..binding.len() {
        let mut client = server.tcp();
        client.send_raw(&binding[..cut]);
        other.fence();
        client.send_raw(&binding[cut..]);
        assert!(
            client
                .answer(binding[8..20].try_into().unwrap())
                .is_success(),
            "cut at {cut}"
        );
    }
    let mut client = server.tcp();
    client.allocate();
    client.bind(0x4001, peer.address);
    let data = channel_data(0x4001, b"payload", true);
    for cut in 1..data.len() {
        client.send_raw(&data[..cut]);
        other.fence();
        client.send_raw(&data[cut..]);
        assert_eq!(peer.receive().1, b"payload", "cut at {cut}");
    }
    for cut in (1..100).step_by(9) {
        let refresh = Outgoing::request(REFRESH).encode(client.credentials.as_ref());
        client.send_raw(&refresh[..cut]);
        other.fence();
        client.send_raw(&refresh[cut..]);
        assert!(
            client
                .answer(refresh[8..20].try_into().unwrap())
                .is_success(),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_session_may_arrive_octet_by_octet() {
    let mut client = Server::shared().tcp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    let bind = Outgoing::request(CHANNEL_BIND)
        .with(Attribute::channel(0x4001))
        .with(Attribute::peer(peer.address));
    let mut octets = bind.encode(client.credentials.as_ref());
    octets.extend(channel_data(0x4001, b"abc", true));
    octets.extend(
        Outgoing::indication(SEND)
            .with(Attribute::peer(peer.address))
            .with(Attribute::data(b"defgh"))
            .encode(None),
    );
    octets.extend(channel_data(0x4001, b"", true));
    for octet in &octets {
        client.send_raw(&[*octet]);
    }
    assert!(client.answer(bind.id).is_success());
    for expected in [&b"abc"[..], b"defgh", b""] {
        assert_eq!(peer.receive(), (relayed, expected.to_vec()));
    }
}

/// RFC 8489 §6.2.2: several transactions may be pending on a connection.
#[test]
fn each_request_of_one_segment_is_answered() {
    let mut client = Server::shared().tcp();
    let requests: Vec<Outgoing> = (0..50).map(|_| Outgoing::request(BINDING)).collect();
    let octets: Vec<u8> = requests.iter().flat_map(|r| r.encode(None)).collect();
    client.send_raw(&octets);
    for request in &requests {
        assert!(client.answer(request.id).is_success());
    }
}

/// RFC 8489 §6.2.2: "the server SHOULD keep the connection open and let the client close it".
#[test]
fn the_connection_stays_open_between_requests() {
    let mut client = Server::shared().tcp();
    client.fence();
    assert!(!client.is_closed_within(Duration::from_millis(300)));
    client.fence();
}

/// After a bounded time at most.
#[test]
fn garbage_closes_the_connection() {
    let server = Server::shared();
    let mut bad_cookie = Outgoing::request(BINDING).encode(None);
    bad_cookie[4] ^= 0xff;
    let mut odd_length = Outgoing::request(BINDING).encode(None);
    odd_length[3] = 3;
    for garbage in [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0x50; 64],
        bad_cookie,
        odd_length,
    ] {
        let mut client = server.tcp();
        client.send_raw(&garbage);
        assert!(
            client.is_closed_within(Duration::from_secs(20)),
            "{:02x?}",
            &garbage[..8]
        );
    }
}

#[test]
fn requests_before_garbage_are_answered() {
    let mut client = Server::shared().tcp();
    let request = Outgoing::request(BINDING);
    let mut octets = request.encode(None);
    octets.extend([0xff; 32]);
    client.send_raw(&octets);
    assert!(client.answer(request.id).is_success());
}

/// RFC 8489 §6.2.2: "The server SHOULD NOT close a connection if a request was received over that
/// connection for which a response was not sent", also if the client has closed its half after the
/// request.
#[test]
fn a_request_is_answered_before_the_connection_closes() {
    let mut client = Server::shared().tcp();
    let request = Outgoing::request(BINDING);
    client.send(&request);
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.answer(request.id).is_success());
    assert!(client.is_closed_within(Duration::from_secs(20)));
}

/// Also after half a message, and after pings without an allocation. The timeout of this test is
/// half a second, in this process.
#[test]
fn an_idle_connection_is_closed() {
    let realm = hairpin::turn::policy::realm::Realm::new("test.org");
    let mut plan = Plan::new(["127.0.0.1:0".parse().unwrap()], Policy::new(realm, vec![]));
    plan.shards = 1;
    plan.connection_limits.idle_timeout = Duration::from_millis(500);
    let supervisor = Supervisor::start(plan).unwrap();
    let mut silent = Client::tcp(supervisor.listener_addresses()[0]);
    let mut halting = Client::tcp(supervisor.listener_addresses()[0]);
    let mut lively = Client::tcp(supervisor.listener_addresses()[0]);
    halting.send_raw(&Outgoing::request(BINDING).encode(None)[..10]);
    let end = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < end {
        assert!(lively.fence().is_empty());
        std::thread::park_timeout(Duration::from_millis(20));
    }
    for client in [&mut silent, &mut halting] {
        assert!(client.is_closed_within(Duration::from_secs(10)));
    }
    supervisor.stop();
}

/// A full TCP connection drops packets, counts them, and buffers a bounded amount. When the client
/// reads again, it receives whole messages, and the connection still works.
#[test]
fn a_slow_reader_loses_whole_packets() {
    let server = Server::shared();
    let mut slow = server.tcp();
    let relayed = slow.allocate();
    let peer = Peer::v4();
    slow.bind(0x4001, peer.address);
    let mut other = server.udp();
    let before = server.metric(
        "hairpin_shard_packets_dropped_total",
        &["stream_buffer_full"],
    );
    for round in 0..20_000_u32 {
        let mut payload = vec![0; 1200];
        payload[..4].copy_from_slice(&round.to_be_bytes());
        peer.send(relayed, &payload);
        if round % 50 == 0 {
            other.fence();
        }
    }
    other.fence();
    assert!(
        server.metric(
            "hairpin_shard_packets_dropped_total",
            &["stream_buffer_full"]
        ) > before,
        "drops are counted"
    );
    let request = Outgoing::request(BINDING);
    slow.send(&request);
    let mut last = None;
    let mut received = 0;
    loop {
        match slow.receive() {
            Packet::Channel(0x4001, payload) => {
                let round = u32::from_be_bytes(payload[..4].try_into().unwrap());
                assert!(
                    payload.len() == 1200 && last < Some(round),
                    "in order and whole"
                );
                last = Some(round);
                received += 1;
            }
            Packet::Stun(answer) if answer.id == request.id => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..20_000).contains(&received), "{received} of 20000");
}

#[test]
fn a_slow_reader_does_not_delay_other_clients() {
    let server = Server::shared();
    let mut slow = server.tcp();
    let relayed = slow.allocate();
    let peer = Peer::v4();
    slow.bind(0x4001, peer.address);
    let mut others: Vec<Client> = (0..8)
        .map(|i| {
            if i % 2 == 0 {
                server.udp()
            } else {
                server.tcp()
            }
        })
        .collect();
    let start = Instant::now();
    for _ in 0..200 {
        for _ in 0..20 {
            peer.send(relayed, &[0; 1400]);
        }
        others
            .iter_mut()
            .for_each(|c| assert!(c.fence().is_empty()));
    }
    assert!(start.elapsed() < Duration::from_secs(30));
}

/// RFC 8489 §6.2.2: also after half a message.
#[test]
fn a_half_closed_connection_is_closed_at_once() {
    let mut client = Server::shared().tcp();
    client.fence();
    client.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.is_closed_within(Duration::from_secs(20)));
}

#[test]
fn a_reset_connection_does_no_harm() {
    let server = Server::shared();
    for _ in 0..50 {
        let mut client = server.tcp();
        client.allocate();
        let linger = socket2::SockRef::from(&*client.stream());
        linger.set_linger(Some(Duration::ZERO)).unwrap();
        client.stream().write_all(&[0, 1, 0]).unwrap();
    }
    assert!(server.tcp().fence().is_empty());
}
