//! "10,000 half-open handshakes, one-byte-per-second ClientHellos, garbage after the handshake, DTLS fragments and replays,
//! oversized records: memory bounded, other clients unaffected."

use super::line::{Caller, Line, bound, connect, secured, trusting};
use super::server::{Server, V4};
use hairpin::relay::Handshakes;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The beginning of a TLS record that promises a ClientHello.
const BEGINNING: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// Connects from a loopback address of its own.
fn connect_from(ip: Ipv4Addr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(ip), 0).into())?;
    socket.connect(&server.into())?;
    Ok(socket.into())
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            }
        }
    }
}

/// Octets of memory that this process has in use, buffers in the kernel left out.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    status.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: usize| pages * 4096)
}

#[test]
fn ten_thousand_half_open_handshakes_leave_others_alone() {
    // Both ends are in this process: as many as the system lets it have descriptors for.
    let limit = nix_limit();
    let count = 10_000.min(limit.saturating_sub(512) / 2);
    if count < 10_000 {
        eprintln!("{count} half-open handshakes instead of 10,000: so many descriptors are allowed");
    }
    let server = Server::start(V4, |plan| {
        plan.connections.handshakes = Handshakes { patience: Duration::from_secs(120), ..Handshakes::default() };
    });
    let mut caller = Caller::new(Line::tls(&server));
    caller.echo(2);
    let before = resident();
    let mut held = Vec::new();
    for n in 0..count {
        let Ok(mut stream) = connect_from(Ipv4Addr::new(127, 1, 0, (n % 4) as u8 + 1), server.address) else {
            continue;
        };
        let _ = stream.write_all(BEGINNING);
        held.push(stream);
    }
    // Another client comes in while they are there.
    Caller::new(Line::tls(&server)).echo(3);
    Caller::new(Line::dtls(&server)).echo(3);
    assert!(server.count("handshakes_refused") as usize >= count.saturating_sub(4 * 128 + 64), "few under way");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} octets for {count} handshakes");
}

/// How many descriptors this process may have.
fn nix_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

#[test]
fn a_hello_that_comes_by_the_octet_is_given_up_in_time() {
    let server = Server::start(V4, |plan| {
        plan.connections.handshakes.patience = Duration::from_secs(2);
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
    assert_eq!(server.count("handshakes_failed"), 1);
    Caller::new(Line::tls(&server)).echo(1);
}

#[test]
fn garbage_ends_a_connection_before_and_after_the_handshake() {
    let server = Server::start(V4, |_| {});
    for garbage in [&[22, 3, 1, 0xff, 0xff, 1][..], b"\x16garbage that is no record at all", &[0xff; 100]] {
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
    while server.count("connections") > 0 {
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
            let _ = socket.recv(&mut [0; 2048]);
            // Somebody else is served in between; and nothing is lost for want of room in the kernel.
            caller.echo_again();
        }
    }
    assert!(server.count("dtls_challenged") > 0 && server.count("dtls_discarded") > 0);
    assert_eq!(server.count("dtls_handshakes"), 1);
    let grown = resident().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} octets");
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
