//! "PROXY protocol v1/v2 (only from configured load balancers; the real client address is then used everywhere)".

use super::binary::certified;
use crate::support::line::{Caller, Line, connect, connect_from, secured, trusting};
use crate::support::operating::{Directory, until};
use crate::support::relay::{Server, V4};
use hairpin::turn::client_state::Request;
use hairpin::turn::policy::acl::Cidr;
use std::io::{Read, Write};

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 3478\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x10\xe1\x0d\x96";

#[test]
fn a_balancers_word_is_taken_for_the_clients_address_over_tcp_and_tls() {
    let server = Server::start(V4, |plan| {
        plan.secure.load_balancers = vec![Cidr::new(V4, 8).unwrap()]
    });
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
                0 => Line::Tls(Box::new(
                    secured(trusting(), stream, "relay.example").unwrap(),
                )),
                _ => Line::Tcp(stream),
            };
            let mut caller = Caller::new(line);
            let mapped = caller
                .granted(hairpin::turn::client_state::Request::Allocate {
                    family: None,
                    lifetime: None,
                })
                .mapped;
            assert_eq!(mapped, Some("198.51.100.7:4321".parse().unwrap()));
        }
    }
}

/// Until the server has read what was written, where something was.
fn wait_for_reads(server: &Server, written: usize) {
    let before = server.count(|c| &c.stream_reads);
    let end = std::time::Instant::now() + std::time::Duration::from_millis(200);
    while written > 0
        && server.count(|c| &c.stream_reads) == before
        && std::time::Instant::now() < end
    {
        std::thread::yield_now();
    }
}

#[test]
fn nobody_else_may_say_who_they_are_and_a_balancer_must() {
    let strict = Server::start(V4, |plan| {
        plan.secure.load_balancers = vec![Cidr::new(V4, 8).unwrap()]
    });
    let lax = Server::start(V4, |_| {});
    for (server, octets) in [
        (&lax, V1),
        (&lax, V2),
        (
            &strict,
            b"\0\x01\0\0\x21\x12\xa4\x42\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
    ] {
        let mut stream = connect(server.address);
        stream.write_all(octets).unwrap();
        assert!(
            matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)),
            "closed"
        );
        assert!(server.count(|c| &c.connections_malformed) > 0);
    }
}

/// "The peer address in quota, log and access rules is the PROXY one only from trusted balancers."
#[test]
fn quotas_and_log_go_by_the_address_that_a_trusted_balancer_says() {
    let directory = Directory::new("balancer");
    let setup = certified(&directory, "relay.example").flag("--balancer", "127.0.0.2");
    let server = setup.flag("--address-allocations", "1").start();
    let allocate = Request::Allocate {
        family: None,
        lifetime: None,
    };
    let through = |header: &[u8], tls: bool| {
        let mut stream = connect_from([127, 0, 0, 2].into(), server.v4).unwrap();
        stream.write_all(header).unwrap();
        Caller::new(match tls {
            true => Line::Tls(Box::new(
                secured(trusting(), stream, "relay.example").unwrap(),
            )),
            false => Line::Tcp(stream),
        })
    };
    // Each address has one allocation, whichever balancer it came by and however it said so; here and there an IPv6 one.
    let carried: [(&[u8], &str, bool); 4] = [
        (V1, "198.51.100.7:4321", true),
        (
            b"PROXY TCP4 198.51.100.8 127.0.0.1 1 3478\r\n",
            "198.51.100.8:1",
            false,
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 7 3478\r\n",
            "[2001:db8::7]:7",
            true,
        ),
        (
            b"PROXY TCP6 2001:db8:1::7 ::1 7 3478\r\n",
            "[2001:db8:1::7]:7",
            false,
        ),
    ];
    let mut all = Vec::new();
    for (header, client, tls) in carried {
        let mut caller = through(header, tls);
        assert_eq!(
            caller.ask(allocate.clone()).unwrap().mapped,
            Some(client.parse().unwrap())
        );
        server.wait_for_line(&format!("client={client}"));
        all.push(caller);
    }
    // The same clients by another connection, and the balancer itself as one of its own.
    let other: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4322 3478\r\n";
    assert_eq!(
        through(other, false).ask(allocate.clone()).unwrap_err(),
        486
    );
    assert_eq!(through(other, true).ask(allocate.clone()).unwrap_err(), 486);
    let mut health = through(b"PROXY UNKNOWN\r\n", false);
    assert_eq!(
        health
            .ask(allocate.clone())
            .unwrap()
            .mapped
            .unwrap()
            .ip()
            .to_string(),
        "127.0.0.2"
    );
    // Who is none may not say who they are; what they are is what counts.
    let refused = server.metric(
        "hairpin_shard_client_connections_closed_total",
        &["malformed"],
    );
    let mut liar = connect_from([127, 0, 0, 3].into(), server.v4).unwrap();
    liar.write_all(V1).unwrap();
    assert!(matches!(liar.read(&mut [0; 64]), Ok(0) | Err(_)), "closed");
    until("it counts", || {
        server.metric(
            "hairpin_shard_client_connections_closed_total",
            &["malformed"],
        ) > refused
    });
    let mut honest = Caller::new(Line::Tcp(
        connect_from([127, 0, 0, 3].into(), server.v4).unwrap(),
    ));
    assert_eq!(
        honest
            .ask(allocate)
            .unwrap()
            .mapped
            .unwrap()
            .ip()
            .to_string(),
        "127.0.0.3"
    );
}
