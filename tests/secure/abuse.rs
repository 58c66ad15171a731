//! "10,000 half-open handshakes, one-byte-per-second ClientHellos, garbage after the handshake, DTLS fragments and replays,
//! oversized records: memory bounded, other clients unaffected."

use super::binary::{certified, relaying};
use crate::support::line::{
    Caller, Line, PATIENCE, bound, connect, connect_from, secured, trusting,
};
use crate::support::operating::{Directory, until};
use crate::support::relay::{Server, V4};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The beginning of a TLS record that promises a ClientHello.
const BEGINNING: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

fn is_closed(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
            }
        }
    }
}

/// Octets of memory that this process has in use, buffers in the kernel left out.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .map_or(0, |pages: usize| pages * 4096)
}

/// The same of another process.
fn resident_of(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    status
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .map_or(0, |pages: usize| pages * 4096)
}

#[test]
fn ten_thousand_half_open_handshakes_leave_others_alone() {
    let directory = Directory::new("half-open");
    // As many as are asked for, however many a process begins with: the server sees to its own.
    let allowed = hairpin::net::host::fd_limit::raise(12_000);
    if allowed < 11_000 {
        eprintln!(
            "SKIPPED: 10,000 half-open handshakes: the system allows this process {allowed} descriptors"
        );
        return;
    }
    let setup = certified(&directory, "relay.example")
        .flag("--handshake-time", "120s")
        .replace("--shards", "1");
    let server = setup.start();
    let address = server.v4;
    let mut caller = relaying(address, "relay.example");
    caller.echo(2);
    let before = resident_of(server.pid);
    let mut held = Vec::new();
    for n in 0..10_000 {
        let mut stream =
            connect_from(IpAddr::from([127, 1, 0, (n % 4) as u8 + 1]), address).unwrap();
        stream.write_all(BEGINNING).unwrap();
        held.push(stream);
    }
    let refused = || server.metric("hairpin_shard_handshakes_failed_total", &["limit"]) as usize;
    // Four addresses with 128 each; the rest were sent away.
    until("all have been met", || refused() == 10_000 - 4 * 128);
    // Others come in while they are there, and who was there stays.
    relaying(address, "relay.example").echo(3);
    Caller::new(Line::dtls_to(address)).echo(3);
    caller.echo_again();
    let grown = resident_of(server.pid).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} octets for 10,000 handshakes");
}

#[test]
fn a_hello_that_comes_by_the_octet_is_given_up_in_time() {
    let server = Server::start(V4, |plan| {
        plan.connection_limits.handshakes.timeout = Duration::from_secs(2);
    });
    let mut slow = connect(server.address);
    let began = Instant::now();
    let mut closed = false;
    for octet in BEGINNING.iter().chain(&[0; 400]) {
        if slow.write_all(&[*octet]).is_err() {
            closed = true;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(closed && began.elapsed() < Duration::from_secs(15));
    assert_eq!(server.count(|c| &c.handshakes_failed), 1);
    Caller::new(Line::tls(&server)).echo(1);
}

#[test]
fn garbage_ends_a_connection_before_and_after_the_handshake() {
    let server = Server::start(V4, |_| {});
    for garbage in [
        &[22, 3, 1, 0xff, 0xff, 1][..],
        b"\x16garbage that is no record at all",
        &[0xff; 100],
    ] {
        let mut stream = connect(server.address);
        stream.write_all(garbage).unwrap();
        let _ = stream.write_all(&[0; 70_000]);
        assert!(is_closed(&mut stream), "{garbage:?}");
    }
    // Inside TLS, neither STUN nor HTTP.
    let mut inside = secured(trusting(), connect(server.address), "relay.example").unwrap();
    inside.write_all(&[0xfe; 64]).unwrap();
    inside.flush().unwrap();
    let mut rest = Vec::new();
    let _ = inside.read_to_end(&mut rest);
    assert!(rest.is_empty());
    // No HTTP service stands behind this one.
    let mut http = secured(trusting(), connect(server.address), "relay.example").unwrap();
    http.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = http.read_to_end(&mut rest);
    assert!(rest.is_empty());
    // In the place of a record, one that is too large.
    let mut torn = secured(trusting(), connect(server.address), "relay.example").unwrap();
    torn.sock.write_all(&[23, 3, 3, 0xff, 0xff]).unwrap();
    let _ = torn.sock.write_all(&[0; 70_000]);
    assert!(is_closed(&mut torn.sock));
    Caller::new(Line::tls(&server)).echo(1);
    let end = Instant::now() + Duration::from_secs(20);
    while server.count(|c| &c.connections) > 0 {
        assert!(Instant::now() < end, "all have left");
        std::thread::yield_now();
    }
}

#[test]
fn datagrams_of_dtls_that_nobody_began_cost_nothing() {
    let server = Server::start(V4, |_| {});
    let mut caller = Caller::new(Line::dtls(&server));
    caller.echo(2);
    let socket = bound(server.address);
    // Whole hellos without a cookie, from as many ports as there are rounds: answered, and forgotten.
    let hello = hello();
    let before = resident();
    let mut answers = 0;
    for round in 0..20_000u32 {
        let mut noise = hello.clone();
        // Another random each; fragments of a hello too.
        noise[27..31].copy_from_slice(&round.to_be_bytes());
        if round % 2 == 0 {
            noise[19..22].copy_from_slice(&[0, 0, 9]);
        }
        let _ = socket.send(&noise);
        let _ = socket.send(&[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 0, 4, 1, 2, 3, 4]);
        if round % 64 == 0 {
            if let Ok(answer) = socket.recv(&mut [0; 2048]) {
                // Whoever is answered may not have asked: it gets no more than came.
                assert!(answer <= hello.len(), "{answer} octets for {}", hello.len());
                answers += 1;
            }
            // Somebody else is served in between; and nothing is lost for want of room in the kernel.
            caller.echo_again();
        }
    }
    assert!(
        answers > 0
            && server.count(|c| &c.dtls_cookies_sent) > 0
            && server.count(|c| &c.dtls_unassociated) > 0
    );
    assert_eq!(server.count(|c| &c.dtls_handshakes), 1);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} octets");
}

/// Replays, forgeries, alerts that nobody sealed, fragments of handshakes: all from the very address of a client that goes on.
#[test]
fn noise_from_the_address_of_an_association_changes_nothing_about_it() {
    let server = Server::start(V4, |_| {});
    let mut caller = Caller::new(Line::dtls(&server));
    let relayed = caller.allocate();
    let peer = UdpSocket::bind((V4, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let there = peer.local_addr().unwrap();
    caller.permit(there);
    let before = resident();
    for round in 0..2_000u32 {
        caller.send(there, &round.to_be_bytes());
        let Line::Dtls(dtls) = &caller.line else {
            unreachable!()
        };
        let again = dtls.sent.clone();
        let mut forged = again.clone();
        *forged.last_mut().unwrap() ^= 1;
        let [.., a, b] = round.to_be_bytes();
        // A close and a failure in the clear; a fragment that promises 16 MiB; a record longer than any.
        let close = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, a, b, 0, 2, 1, 0];
        let fatal = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 1, a, b, 0, 2, 2, 40];
        let mut fragment = vec![
            22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 2, a, b, 0, 22, 11, 0xff, 0xff, 0xff, 0, 9, 0, 0, a, 0,
            0, 10,
        ];
        fragment.extend([b; 10]);
        let mut long = vec![23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 3, a, b, 0xff, 0xff];
        long.extend([0; 3_000]);
        for noise in [&again[..], &forged, &close, &fatal, &fragment, &long] {
            let _ = dtls.socket.send(noise);
        }
        let mut buffer = [0; 64];
        let (length, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from),
            (&round.to_be_bytes()[..], relayed),
            "once, and nothing else"
        );
    }
    caller.bounce(&peer, relayed, 1_000);
    assert_eq!(server.count(|c| &c.dtls_handshakes), 1);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} octets");
}

/// A ClientHello as a client sends it first.
fn hello() -> Vec<u8> {
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
