//! Half-open handshakes, slow hellos, garbage, replays and forgeries: memory stays bounded and
//! other clients are unaffected.

use crate::support::client::{Client, Peer, SERVER_NAME};
use crate::support::directory::Directory;
use crate::support::missing::skipped;
use crate::support::operator::until;
use crate::support::process::Setup;
use crate::support::relay::{Relay, V4};
use crate::support::transport::{
    Transport, accept_any_certificate, connect, connect_from, connected_udp, tls_handshake,
};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

/// The first octets of a TLS record that announces a ClientHello.
const HELLO_START: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[test]
fn ten_thousand_half_open_handshakes_leave_other_clients_alone() {
    let directory = Directory::new("half-open");
    // The limit of this process; the server raises its own.
    let descriptors = hairpin::net::host::fd_limit::raise(12_000);
    if descriptors < 11_000 {
        skipped(&format!(
            "10,000 connections need more than {descriptors} descriptors"
        ));
        return;
    }
    let server = Setup::new()
        .certificate(&directory, SERVER_NAME)
        .flag("--handshake-time", "120s")
        .replace("--shards", "1")
        .start();
    let mut client = Client::tls(server.v4);
    client.allocate_and_exchange(2);
    let before = resident_octets(server.pid);
    let half_open: Vec<TcpStream> = (0..10_000)
        .map(|n| {
            let from = IpAddr::from([127, 1, 0, (n % 4) as u8 + 1]);
            let mut stream = connect_from(from, server.v4).unwrap();
            stream.write_all(HELLO_START).unwrap();
            stream
        })
        .collect();
    // Each of the four addresses may have 128 handshakes at a time.
    let refused = || server.metric("hairpin_shard_handshakes_failed_total", &["limit"]) as usize;
    until("all others are refused", || refused() == 10_000 - 4 * 128);
    Client::tls(server.v4).allocate_and_exchange(3);
    Client::dtls(server.v4).allocate_and_exchange(3);
    client.assert_allocated();
    let grown = resident_octets(server.pid).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} octets for 10,000 handshakes");
    drop(half_open);
}

#[test]
fn a_hello_sent_octet_by_octet_times_out() {
    let relay = Relay::start_secure(V4, |plan| {
        plan.connection_limits.handshakes.timeout = Duration::from_secs(2);
    });
    let mut slow = connect(relay.address);
    let start = Instant::now();
    let closed = HELLO_START.iter().chain(&[0; 400]).any(|octet| {
        std::thread::sleep(Duration::from_millis(50));
        slow.write_all(&[*octet]).is_err()
    });
    assert!(closed && start.elapsed() < Duration::from_secs(15));
    assert_eq!(relay.count(|c| &c.handshakes_failed), 1);
    relay.tls().allocate_and_exchange(1);
}

#[test]
fn garbage_closes_a_connection_before_and_after_the_handshake() {
    let relay = Relay::start_secure(V4, |_| {});
    for garbage in [
        &[22, 3, 1, 0xff, 0xff, 1][..],
        b"\x16garbage that is no record at all",
        &[0xff; 100],
    ] {
        let mut stream = connect(relay.address);
        stream.write_all(garbage).unwrap();
        let _ = stream.write_all(&[0; 70_000]);
        assert!(is_closed(&mut stream), "{garbage:?}");
    }
    let handshake = || {
        let stream = connect(relay.address);
        tls_handshake(accept_any_certificate(), stream, SERVER_NAME).unwrap()
    };
    // Neither STUN nor HTTP; and HTTP, without a web service behind this relay.
    for inside in [&[0xfe; 64][..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = handshake();
        stream.write_all(inside).unwrap();
        stream.flush().unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    // A record longer than TLS allows.
    let mut stream = handshake();
    stream.sock.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
    let _ = stream.sock.write_all(&[0; 70_000]);
    assert!(is_closed(&mut stream.sock));
    relay.tls().allocate_and_exchange(1);
    until("all connections are closed", || {
        relay.count(|c| &c.connections) == 0
    });
}

fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                use std::io::ErrorKind::{TimedOut, WouldBlock};
                return !matches!(error.kind(), WouldBlock | TimedOut);
            }
        }
    }
}

/// A hello without a cookie is answered and forgotten, so spoofed hellos cost no memory and are not
/// amplified.
#[test]
fn dtls_datagrams_without_an_association_cost_nothing() {
    let relay = Relay::start_secure(V4, |_| {});
    let mut client = relay.dtls();
    client.allocate_and_exchange(2);
    let socket = connected_udp(relay.address);
    let hello = first_client_hello();
    let before = resident_octets(std::process::id());
    let mut answers = 0;
    for round in 0..20_000u32 {
        let mut noise = hello.clone();
        // Each hello has another random; every second one is a fragment.
        noise[27..31].copy_from_slice(&round.to_be_bytes());
        if round % 2 == 0 {
            noise[19..22].copy_from_slice(&[0, 0, 9]);
        }
        let _ = socket.send(&noise);
        let _ = socket.send(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
        if round % 64 == 0 {
            if let Ok(answer) = socket.recv(&mut [0; 2048]) {
                assert!(answer <= hello.len(), "{answer} octets for {}", hello.len());
                answers += 1;
            }
            // Also keeps the noise from overflowing the kernel's receive buffer.
            client.assert_allocated();
        }
    }
    assert!(
        answers > 0
            && relay.count(|c| &c.dtls_cookies_sent) > 0
            && relay.count(|c| &c.dtls_unassociated) > 0
    );
    assert_eq!(relay.count(|c| &c.dtls_handshakes), 1);
    let grown = resident_octets(std::process::id()).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} octets");
}

/// Replays, forgeries, unauthenticated alerts and handshake fragments, all from the address of a
/// client that goes on.
#[test]
fn an_association_ignores_noise_from_its_own_address() {
    let relay = Relay::start_secure(V4, |_| {});
    let mut client = relay.dtls();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.permit(peer.address);
    let before = resident_octets(std::process::id());
    for round in 0..2_000u32 {
        client.send_to(peer.address, &round.to_be_bytes());
        let Transport::Dtls(dtls) = &client.transport else {
            unreachable!()
        };
        let replay = dtls.last_sent.clone();
        let mut forged = replay.clone();
        *forged.last_mut().unwrap() ^= 1;
        let [.., a, b] = round.to_be_bytes();
        let close_notify = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, a, b, 0, 2, 1, 0];
        let fatal_alert = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, a, b, 0, 2, 2, 40];
        // Announces a message of 16 MiB.
        let mut fragment = vec![
            22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 2, a, b, 0, 22, 11, 0xff, 0xff, 0xff, 0, 9, 0, 0, a, 0,
            0, 10,
        ];
        fragment.extend([b; 10]);
        // Announces more octets than a record may have.
        let mut long_record = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 3, a, b, 0xff, 0xff];
        long_record.extend([0; 3_000]);
        for noise in [
            &replay[..],
            &forged,
            &close_notify,
            &fatal_alert,
            &fragment,
            &long_record,
        ] {
            let _ = dtls.socket.send(noise);
        }
        // A replay that was relayed would arrive before the next round's payload.
        assert_eq!(peer.receive(), (relayed, round.to_be_bytes().to_vec()));
    }
    client.exchange_with(&peer, relayed, 1_000);
    assert_eq!(relay.count(|c| &c.dtls_handshakes), 1);
    let grown = resident_octets(std::process::id()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} octets");
}

/// The first datagram of a DTLS client.
fn first_client_hello() -> Vec<u8> {
    let own = dimpl::certificate::generate_self_signed_certificate().unwrap();
    let config = std::sync::Arc::new(dimpl::Config::default());
    let mut engine = dimpl::Dtls::new_12(config, own, Instant::now());
    engine.set_active(true);
    engine.handle_timeout(Instant::now()).unwrap();
    let mut scratch = vec![0; 20_000];
    match engine.poll_output(&mut scratch) {
        dimpl::Output::Packet(packet) => packet.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// The memory of a process in octets, without kernel buffers.
fn resident_octets(pid: u32) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
