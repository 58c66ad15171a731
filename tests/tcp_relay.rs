//! RFC 6062 through a supervisor in this process: connections to peers and from peers, on one shard and across shards.

use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::policy::acl::Cidr;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};
use hairpin::wire::integrity::Key;
use hairpin::wire::registry::PasswordAlgorithm;
use hairpin::wire::{AttributeType, Class, Message, Method, Writer, attribute, stream};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(10);

fn start(shards: usize) -> Supervisor {
    let mut realm = Realm::new("test");
    realm.credentials.add_user("test", "alice", "wonderland");
    realm.peers.allow = vec![Cidr::new(V4, 8).unwrap(), Cidr::new(V6, 128).unwrap()];
    let relays = [V4, V6].map(|ip| RelayAddress {
        local: ip,
        external: ip,
    });
    let listeners = [SocketAddr::new(V4, 0), SocketAddr::new(V6, 0)];
    let plan = Plan {
        shards,
        pin: false,
        ..Plan::new(listeners, Policy::new(realm, relays.to_vec()))
    };
    Supervisor::start(plan).unwrap()
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client's connection: requests sealed with the long-term key, answers as octets.
struct Control {
    stream: TcpStream,
    nonce: Vec<u8>,
    count: u8,
}

impl Control {
    fn new(server: SocketAddr) -> Control {
        let stream = patient(TcpStream::connect(server).unwrap());
        let mut control = Control {
            stream,
            nonce: Vec::new(),
            count: 0,
        };
        let challenge = control.ask(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
        });
        control.nonce = Message::parse(&challenge)
            .unwrap()
            .attribute(AttributeType::NONCE)
            .unwrap()
            .to_vec();
        control
    }

    fn request(&mut self, method: Method, attributes: impl FnOnce(&mut Writer)) -> Vec<u8> {
        self.count += 1;
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, method, &[self.count; 12]);
        attributes(&mut writer);
        if !self.nonce.is_empty() {
            writer
                .attribute(AttributeType::USERNAME, b"alice")
                .attribute(AttributeType::REALM, b"test");
            writer.attribute(AttributeType::NONCE, &self.nonce);
            writer.integrity(
                &Key::long_term(PasswordAlgorithm::MD5, "alice", "test", "wonderland").unwrap(),
            );
        }
        out
    }

    fn ask(&mut self, method: Method, attributes: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let request = self.request(method, attributes);
        self.stream.write_all(&request).unwrap();
        self.read()
    }

    /// Exactly one message: what follows an answer may be data.
    fn read(&mut self) -> Vec<u8> {
        let mut message = vec![0; 20];
        self.stream.read_exact(&mut message).unwrap();
        message.resize(stream::frame(&message).unwrap().unwrap(), 0);
        self.stream.read_exact(&mut message[20..]).unwrap();
        message
    }

    fn allocate(&mut self, ip: IpAddr) -> SocketAddr {
        let answer = self.ask(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
            let family = attribute::Family::of(ip).code();
            writer.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
        });
        address(&answer, AttributeType::XOR_RELAYED_ADDRESS)
    }

    fn permit(&mut self, peer: SocketAddr) {
        let answer = self.ask(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    }

    fn connect(&mut self, peer: SocketAddr) -> Vec<u8> {
        self.ask(Method::CONNECT, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        })
    }
}

fn address(message: &[u8], kind: AttributeType) -> SocketAddr {
    let message = Message::parse(message).unwrap();
    let value = message
        .attribute(kind)
        .unwrap_or_else(|| panic!("no {kind:?} in {message:?}"));
    attribute::read_xor_address(value, &message.transaction()).unwrap()
}

fn connection_id(message: &[u8]) -> u32 {
    let message = Message::parse(message).unwrap();
    attribute::read_number(message.attribute(AttributeType::CONNECTION_ID).unwrap()).unwrap()
}

fn code(message: &[u8]) -> Option<u16> {
    let message = Message::parse(message).unwrap();
    message
        .attribute(AttributeType::ERROR_CODE)
        .and_then(attribute::read_error_code)
        .map(|code| code.0)
}

/// Binds a data connection on a connection of its own, with `early` sent in the same breath.
fn bind(server: SocketAddr, id: u32, early: &[u8]) -> TcpStream {
    let mut control = Control::new(server);
    let mut request = control.request(Method::CONNECTION_BIND, |writer| {
        writer.number(AttributeType::CONNECTION_ID, id);
    });
    request.extend_from_slice(early);
    control.stream.write_all(&request).unwrap();
    let answer = control.read();
    assert_eq!(
        Message::parse(&answer).unwrap().class(),
        Class::Success,
        "{:?}",
        code(&answer)
    );
    control.stream
}

fn expect(mut stream: &TcpStream, octets: &[u8]) {
    let mut got = vec![0; octets.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, octets);
}

fn expect_end(mut stream: &TcpStream) {
    match stream.read(&mut [0; 16]) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come to be");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_connects_to_a_peer_and_data_passes_both_ways_with_half_close() {
    for shards in [1, 4] {
        let server = start(shards);
        for (at, ip) in [(0, V4), (1, V6), (0, V6)] {
            let mut control = Control::new(server.listener_addresses()[at]);
            let relayed = control.allocate(ip);
            let listener = TcpListener::bind(SocketAddr::new(ip, 0)).unwrap();
            let id = connection_id(&control.connect(listener.local_addr().unwrap()));
            let (peer, from) = listener.accept().unwrap();
            let mut peer = patient(peer);
            assert_eq!(from, relayed);
            // What a peer says before the client is there waits.
            peer.write_all(b"welcome").unwrap();
            let mut client = bind(server.listener_addresses()[at], id, b"early");
            expect(&client, b"welcome");
            expect(&peer, b"early");
            client.write_all(b"question").unwrap();
            expect(&peer, b"question");
            client.shutdown(Shutdown::Write).unwrap();
            expect_end(&peer);
            peer.write_all(b"answer").unwrap();
            expect(&client, b"answer");
            drop(peer);
            expect_end(&client);
        }
        let joined = || {
            server
                .statistics()
                .shards
                .iter()
                .map(|s| s.relay.data_connections.get())
                .sum::<u64>()
        };
        until(|| joined() == 0);
    }
}

#[test]
fn a_permitted_peer_connects_to_a_client_and_others_do_not() {
    for shards in [1, 4] {
        let server = start(shards);
        let mut control = Control::new(server.listener_addresses()[0]);
        let relayed = control.allocate(V4);
        // Nobody is permitted yet.
        expect_end(&patient(TcpStream::connect(relayed).unwrap()));
        control.permit(SocketAddr::new(V4, 9));
        let mut peer = patient(TcpStream::connect(relayed).unwrap());
        let attempt = control.read();
        assert_eq!(
            Message::parse(&attempt).unwrap().method(),
            Method::CONNECTION_ATTEMPT
        );
        assert_eq!(
            address(&attempt, AttributeType::XOR_PEER_ADDRESS),
            peer.local_addr().unwrap()
        );
        let mut client = bind(server.listener_addresses()[0], connection_id(&attempt), b"");
        client.write_all(b"hello").unwrap();
        expect(&peer, b"hello");
        peer.write_all(b"there").unwrap();
        expect(&client, b"there");
        // The allocation's end ends its connections, whichever shard they are on.
        drop(control);
        expect_end(&client);
        expect_end(&peer);
        until(|| TcpListener::bind(relayed).is_ok());
    }
}

#[test]
fn a_peer_that_refuses_is_447_and_the_same_peer_twice_446() {
    let server = start(1);
    let mut control = Control::new(server.listener_addresses()[0]);
    control.allocate(V4);
    let gone = TcpListener::bind(SocketAddr::new(V4, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(code(&control.connect(gone)), Some(447));
    let listener = TcpListener::bind(SocketAddr::new(V4, 0)).unwrap();
    let there = listener.local_addr().unwrap();
    let id = connection_id(&control.connect(there));
    assert_eq!(code(&control.connect(there)), Some(446));
    // Once it has closed, the peer may be connected to again.
    let (peer, _) = listener.accept().unwrap();
    let client = bind(server.listener_addresses()[0], id, b"");
    drop(peer);
    expect_end(&client);
    drop(client);
    until(|| code(&control.connect(there)).is_none());
}

#[test]
fn a_slow_end_stops_the_other_and_nothing_is_lost() {
    let server = start(2);
    let mut control = Control::new(server.listener_addresses()[0]);
    control.allocate(V4);
    let listener = TcpListener::bind(SocketAddr::new(V4, 0)).unwrap();
    let id = connection_id(&control.connect(listener.local_addr().unwrap()));
    let peer = patient(listener.accept().unwrap().0);
    let client = bind(server.listener_addresses()[0], id, b"");
    for (from, to) in [(&client, &peer), (&peer, &client)] {
        let octets: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
        // As much as the kernel and the relay hold: then the writer is stopped.
        let mut writer = from.try_clone().unwrap();
        writer.set_nonblocking(true).unwrap();
        let mut written = 0;
        let mut stopped = Instant::now();
        while stopped.elapsed() < Duration::from_millis(200) {
            match writer.write(&octets[written % octets.len()..]) {
                Ok(length) => {
                    written += length;
                    stopped = Instant::now();
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(written < 256 << 20, "nothing stops the writer");
        }
        writer.set_nonblocking(false).unwrap();
        let mut reader = to.try_clone().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let mut read = 0;
        while read < written {
            let length = reader.read(&mut buffer).unwrap();
            assert!(length > 0);
            assert!(
                buffer[..length]
                    .iter()
                    .zip(read..)
                    .all(|(octet, n)| *octet == octets[n % octets.len()])
            );
            read += length;
        }
    }
}
