//! "PROXY protocol v1/v2 (only from configured load balancers; the real client address is then used everywhere)".

use super::line::{Caller, Line, connect, secured, trusting};
use super::server::{Server, V4};
use hairpin::turn::acl::Cidr;
use std::io::{Read, Write};

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 3478\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x10\xe1\x0d\x96";

#[test]
fn a_balancers_word_is_taken_for_the_clients_address_over_tcp_and_tls() {
    let server = Server::start(V4, |plan| plan.secure.balancers = vec![Cidr::new(V4, 8).unwrap()]);
    for header in [V1, V2] {
        for cut in [0, 1, header.len() / 2, header.len()] {
            let mut stream = connect(server.address);
            stream.write_all(&header[..cut]).unwrap();
            if cut < header.len() {
                // Read by itself, not together with what follows.
                wait_for_reads(&server, cut);
                stream.write_all(&header[cut..]).unwrap();
            }
            let line = match cut % 2 {
                0 => Line::Tls(Box::new(secured(trusting(), stream, "relay.example").unwrap())),
                _ => Line::Tcp(stream),
            };
            let mut caller = Caller::new(line);
            let mapped =
                caller.granted(hairpin::turn::client::Request::Allocate { family: None, lifetime: None }).mapped;
            assert_eq!(mapped, Some("198.51.100.7:4321".parse().unwrap()));
        }
    }
}

/// Until the server has read what was written, where something was.
fn wait_for_reads(server: &Server, written: usize) {
    let before = server.count("stream_reads");
    let end = std::time::Instant::now() + std::time::Duration::from_millis(200);
    while written > 0 && server.count("stream_reads") == before && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
}

#[test]
fn nobody_else_may_say_who_they_are_and_a_balancer_must() {
    let strict = Server::start(V4, |plan| plan.secure.balancers = vec![Cidr::new(V4, 8).unwrap()]);
    let lax = Server::start(V4, |_| {});
    for (server, octets) in [(&lax, V1), (&lax, V2), (&strict, b"\0\x01\0\0\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0")] {
        let mut stream = connect(server.address);
        stream.write_all(octets).unwrap();
        assert!(matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)), "closed");
        assert!(server.count("connections_malformed") > 0);
    }
}
