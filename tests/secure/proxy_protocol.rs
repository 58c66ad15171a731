//! The PROXY protocol: a configured load balancer's header replaces the client's address
//! everywhere, any other client's is refused.

use crate::support::client::{Client, SERVER_NAME};
use crate::support::codec::*;
use crate::support::directory::Directory;
use crate::support::operator::until;
use crate::support::process::Setup;
use crate::support::relay::{Relay, V4};
use crate::support::transport::{Transport, connect, connect_from};
use hairpin::turn::policy::acl::Cidr;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const V1: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4321 3478\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\x01\x10\xe1\x0d\x96";

#[test]
fn a_balancers_header_gives_the_clients_address_over_tcp_and_tls() {
    let relay = Relay::start_secure(V4, |plan| {
        plan.secure.load_balancers = vec![Cidr::new(V4, 8).unwrap()]
    });
    for header in [V1, V2] {
        for cut in [0, 1, header.len() / 2, header.len()] {
            let mut stream = connect(relay.address);
            stream.write_all(&header[..cut]).unwrap();
            if cut < header.len() {
                // The server must read the first part alone.
                wait_for_read(&relay, cut);
                stream.write_all(&header[cut..]).unwrap();
            }
            let mut client = client_on(stream, relay.address, cut % 2 == 0);
            assert_eq!(mapped(&mut client), "198.51.100.7:4321".parse().unwrap());
        }
    }
}

fn wait_for_read(relay: &Relay, written: usize) {
    let before = relay.count(|c| &c.stream_reads);
    let deadline = Instant::now() + Duration::from_millis(200);
    while written > 0 && relay.count(|c| &c.stream_reads) == before && Instant::now() < deadline {
        std::thread::yield_now();
    }
}

#[test]
fn a_header_from_another_client_is_refused_and_a_balancers_is_required() {
    let behind_balancer = Relay::start_secure(V4, |plan| {
        plan.secure.load_balancers = vec![Cidr::new(V4, 8).unwrap()]
    });
    let direct = Relay::start_secure(V4, |_| {});
    let binding = Outgoing::request(BINDING).encode(None);
    for (relay, octets) in [
        (&direct, V1),
        (&direct, V2),
        (&behind_balancer, &binding[..]),
    ] {
        let mut stream = connect(relay.address);
        stream.write_all(octets).unwrap();
        assert!(
            matches!(stream.read(&mut [0; 64]), Ok(0) | Err(_)),
            "closed"
        );
        assert!(relay.count(|c| &c.connections_malformed) > 0);
    }
}

/// Each client address may hold one allocation, whichever balancer carries it and whichever header
/// names it.
#[test]
fn quotas_and_log_use_the_address_from_the_header() {
    let directory = Directory::new("balancer");
    let server = Setup::new()
        .certificate(&directory, SERVER_NAME)
        .flag("--balancer", "127.0.0.2")
        .flag("--address-allocations", "1")
        .start();
    let through = |header: &[u8], tls: bool| {
        let mut stream = connect_from([127, 0, 0, 2].into(), server.v4).unwrap();
        stream.write_all(header).unwrap();
        client_on(stream, server.v4, tls)
    };
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
    let mut open = Vec::new();
    for (header, address, tls) in carried {
        let mut client = through(header, tls);
        assert_eq!(mapped(&mut client), address.parse().unwrap());
        server.wait_for_line(&format!("client={address}"));
        open.push(client);
    }
    // A second connection of the first client.
    let second: &[u8] = b"PROXY TCP4 198.51.100.7 127.0.0.1 4322 3478\r\n";
    for tls in [false, true] {
        let mut client = through(second, tls);
        client.login_as_first_user();
        assert_eq!(client.ask(Outgoing::allocate()).error(), Some(486));
    }
    // A health check of the balancer counts for the balancer's own address.
    let mut health_check = through(b"PROXY UNKNOWN\r\n", false);
    assert_eq!(mapped(&mut health_check).ip().to_string(), "127.0.0.2");
    open.push(health_check);
    // A client that is no balancer may not send a header; without one its own address counts.
    let malformed = || {
        server.metric(
            "hairpin_shard_client_connections_closed_total",
            &["malformed"],
        )
    };
    let before = malformed();
    let mut other = connect_from([127, 0, 0, 3].into(), server.v4).unwrap();
    other.write_all(V1).unwrap();
    assert!(matches!(other.read(&mut [0; 64]), Ok(0) | Err(_)), "closed");
    until("the connection is counted", || malformed() > before);
    let stream = connect_from([127, 0, 0, 3].into(), server.v4).unwrap();
    let mut direct = client_on(stream, server.v4, false);
    assert_eq!(mapped(&mut direct).ip().to_string(), "127.0.0.3");
}

fn client_on(stream: TcpStream, server: SocketAddr, tls: bool) -> Client {
    let transport = match tls {
        true => Transport::tls_on(stream, SERVER_NAME),
        false => Transport::Tcp(stream),
    };
    Client::new(transport, server)
}

/// Allocates; returns XOR-MAPPED-ADDRESS.
fn mapped(client: &mut Client) -> SocketAddr {
    client.login_as_first_user();
    let response = client.ask(Outgoing::allocate());
    response.address(XOR_MAPPED_ADDRESS).unwrap()
}
