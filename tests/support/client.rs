//! A TURN client for tests: blocking, one socket, says exactly what a test tells it to say and keeps what comes back in order.

use super::codec::*;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// One end of a five-tuple.
pub struct Client {
    wire: Wire,
    /// Where the server listens.
    pub server: SocketAddr,
    /// Our own address, as the server sees it.
    pub address: SocketAddr,
    /// Used by [`Client::ask`]; set by [`Client::login`].
    pub credentials: Option<Credentials>,
    inbox: VecDeque<Packet>,
}

/// What comes in.
#[derive(Clone, Debug)]
pub enum Packet {
    Stun(Incoming),
    Channel(u16, Vec<u8>),
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Client {
    pub fn udp(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind((loopback(&server), 0)).unwrap();
        Client::from_udp(socket, server)
    }

    /// A client that uses this socket, which stays unconnected.
    pub fn from_udp(socket: UdpSocket, server: SocketAddr) -> Client {
        let address = socket.local_addr().unwrap();
        Client {
            wire: Wire::Udp(socket),
            server,
            address,
            credentials: None,
            inbox: VecDeque::new(),
        }
    }

    pub fn tcp(server: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
        stream.set_nodelay(true).unwrap();
        let address = stream.local_addr().unwrap();
        Client {
            wire: Wire::Tcp(stream, vec![]),
            server,
            address,
            credentials: None,
            inbox: VecDeque::new(),
        }
    }

    pub fn is_tcp(&self) -> bool {
        matches!(self.wire, Wire::Tcp(..))
    }
    pub fn stream(&mut self) -> &mut TcpStream {
        match &mut self.wire {
            Wire::Tcp(stream, _) => stream,
            Wire::Udp(_) => panic!("not a stream"),
        }
    }
    pub fn socket(&self) -> &UdpSocket {
        match &self.wire {
            Wire::Udp(socket) => socket,
            Wire::Tcp(..) => panic!("not a datagram socket"),
        }
    }

    /// Sends octets as they are.
    pub fn send_raw(&mut self, octets: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => drop(socket.send_to(octets, self.server).unwrap()),
            Wire::Tcp(stream, _) => stream.write_all(octets).unwrap(),
        }
    }

    /// Sends a message without authentication.
    pub fn send(&mut self, message: &Outgoing) {
        self.send_raw(&message.encode(None));
    }

    /// Sends without authentication and waits for the answer.
    pub fn exchange(&mut self, message: &Outgoing) -> Incoming {
        self.send(message);
        self.answer(message.id)
    }

    /// Sends with our credentials and waits for the answer.
    pub fn ask(&mut self, message: Outgoing) -> Incoming {
        let octets = message.encode(self.credentials.as_ref());
        self.send_raw(&octets);
        self.answer(message.id)
    }

    /// Sends octets that hold a request and waits for the answer.
    pub fn ask_raw(&mut self, octets: &[u8]) -> Incoming {
        self.send_raw(octets);
        self.answer(octets[8..20].try_into().unwrap())
    }

    /// The next response to this transaction; what comes before it stays in the inbox.
    pub fn answer(&mut self, id: Id) -> Incoming {
        loop {
            match self.read(PATIENCE) {
                Some(Packet::Stun(message)) if message.id == id && message.class >= SUCCESS => {
                    return message;
                }
                Some(other) => self.inbox.push_back(other),
                None => panic!(
                    "no answer from {} to {id:02x?}; inbox {:?}",
                    self.server, self.inbox
                ),
            }
        }
    }

    /// The next packet.
    pub fn receive(&mut self) -> Packet {
        self.receive_within(PATIENCE)
            .unwrap_or_else(|| panic!("nothing came from {}", self.server))
    }

    /// The next packet, if one comes in time.
    pub fn receive_within(&mut self, patience: Duration) -> Option<Packet> {
        self.inbox.pop_front().or_else(|| self.read(patience))
    }

    /// Everything the server sent before its answer to a Binding request that goes out now. The server handles one five-tuple in
    /// order, so what is not here was never answered.
    pub fn fence(&mut self) -> Vec<Packet> {
        let answer = self.exchange(&Outgoing::request(BINDING));
        assert!(answer.is_success());
        self.inbox.drain(..).collect()
    }

    /// The next packet must be a Data indication: its peer and payload.
    pub fn data(&mut self) -> (SocketAddr, Vec<u8>) {
        match self.receive() {
            Packet::Stun(m) if m.class == INDICATION && m.method == DATA_METHOD && m.has(DATA) => (
                m.address(XOR_PEER_ADDRESS).unwrap(),
                m.get(DATA).unwrap().to_vec(),
            ),
            other => panic!("expected a Data indication, got {other:?}"),
        }
    }

    /// The next packet must be ChannelData: its number and payload.
    pub fn channel_data(&mut self) -> (u16, Vec<u8>) {
        match self.receive() {
            Packet::Channel(number, payload) => (number, payload),
            other => panic!("expected ChannelData, got {other:?}"),
        }
    }

    /// Takes the challenge that an anonymous Allocate gets, and answers it the RFC 5389 way from now on.
    pub fn login(&mut self, username: &str, password: &str) {
        self.keep_port();
        let challenge = self.exchange(&Outgoing::allocate());
        assert_eq!(challenge.error(), Some(401), "{challenge:?}");
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        self.credentials = Some(Credentials::legacy(username, password, realm, nonce));
    }

    /// Takes the challenge and answers it with everything RFC 8489 has: USERHASH where allowed, SHA-256 key and integrity.
    pub fn login_modern(&mut self, username: &str, password: &str) {
        self.keep_port();
        let challenge = self.exchange(&Outgoing::allocate());
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        self.credentials = Some(Credentials {
            algorithms: challenge.get(PASSWORD_ALGORITHMS).map(<[u8]>::to_vec),
            algorithm: Some(SHA256),
            sha1: false,
            sha256: Some(32),
            ..Credentials::legacy(username, password, realm, nonce)
        });
    }

    /// Logs in as the fixture's first user and allocates: the relayed address.
    pub fn allocate(&mut self) -> SocketAddr {
        self.allocate_with(Outgoing::allocate())
    }

    pub fn allocate_with(&mut self, request: Outgoing) -> SocketAddr {
        if self.credentials.is_none() {
            self.login(USER, PASSWORD);
        }
        let answer = self.ask(request);
        assert!(answer.is_success(), "{answer:?}");
        answer.address(XOR_RELAYED_ADDRESS).unwrap()
    }

    /// An IPv6 relay.
    pub fn allocate_v6(&mut self) -> SocketAddr {
        self.allocate_with(Outgoing::allocate().with(Attribute::family(2)))
    }

    /// Must succeed.
    pub fn permit(&mut self, peer: SocketAddr) {
        let answer = self.ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer)));
        assert!(answer.is_success(), "{answer:?}");
    }

    pub fn try_permit(&mut self, peer: SocketAddr) -> Incoming {
        self.ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer)))
    }

    /// Must succeed.
    pub fn bind(&mut self, channel: u16, peer: SocketAddr) {
        let answer = self.try_bind(channel, peer);
        assert!(answer.is_success(), "{answer:?}");
    }

    pub fn try_bind(&mut self, channel: u16, peer: SocketAddr) -> Incoming {
        self.ask(
            Outgoing::request(CHANNEL_BIND)
                .with(Attribute::channel(channel))
                .with(Attribute::peer(peer)),
        )
    }

    pub fn refresh(&mut self, lifetime: u32) -> Incoming {
        self.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(lifetime)))
    }

    /// A Send indication.
    pub fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.send(
            &Outgoing::indication(SEND)
                .with(Attribute::peer(peer))
                .with(Attribute::data(payload)),
        );
    }

    /// ChannelData, padded where the transport demands it.
    pub fn send_channel(&mut self, channel: u16, payload: &[u8]) {
        let pad = self.is_tcp();
        self.send_raw(&channel_data(channel, payload, pad));
    }

    /// The connection as bare octets from here on, and what has come in already.
    pub fn into_stream(self) -> (TcpStream, Vec<u8>) {
        match self.wire {
            Wire::Tcp(stream, early) => {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                (stream, early)
            }
            Wire::Udp(_) => panic!("not a stream"),
        }
    }

    /// Whether the server has closed this connection, waiting for it to do so.
    pub fn is_closed_within(&mut self, patience: Duration) -> bool {
        let stream = self.stream();
        stream.set_read_timeout(Some(patience)).unwrap();
        let mut sink = [0; 2048];
        loop {
            match stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return false;
                }
                Err(_) => return true,
            }
        }
    }

    /// Keeps our port from later clients of this process, who would inherit the five-tuple and what is allocated on it.
    fn keep_port(&self) {
        if let (Wire::Udp(socket), None) = (&self.wire, &self.credentials) {
            std::mem::forget(socket.try_clone());
        }
    }

    fn read(&mut self, patience: Duration) -> Option<Packet> {
        let end = Instant::now() + patience;
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut buffer = [0; 65_536];
                socket.set_read_timeout(Some(patience)).unwrap();
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                assert_eq!(from, self.server, "an answer from somewhere else");
                Some(Packet::parse(&buffer[..length]))
            }
            Wire::Tcp(stream, buffer) => loop {
                if let Some(size) = frame(buffer) {
                    let rest = buffer.split_off(size);
                    return Some(Packet::parse(&std::mem::replace(buffer, rest)));
                }
                let left = end
                    .saturating_duration_since(Instant::now())
                    .max(Duration::from_millis(1));
                stream.set_read_timeout(Some(left)).unwrap();
                let mut chunk = [0; 16_384];
                match stream.read(&mut chunk) {
                    Ok(0) | Err(_) => return None,
                    Ok(length) => buffer.extend(&chunk[..length]),
                }
            },
        }
    }
}

impl Packet {
    fn parse(octets: &[u8]) -> Packet {
        if let Some(message) = Incoming::parse(octets) {
            return Packet::Stun(message);
        }
        assert!(
            octets.len() >= 4 && (0x40..0x50).contains(&octets[0]),
            "neither STUN nor ChannelData: {octets:02x?}"
        );
        let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        assert!(octets.len() - 4 - length < 4, "{octets:02x?}");
        Packet::Channel(
            u16::from_be_bytes([octets[0], octets[1]]),
            octets[4..4 + length].to_vec(),
        )
    }
}

/// The size of the first whole frame in a stream.
fn frame(buffer: &[u8]) -> Option<usize> {
    let head = buffer.get(..4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let size = if head[0] < 0x40 {
        20 + length
    } else {
        4 + length.next_multiple_of(4)
    };
    (buffer.len() >= size).then_some(size)
}

/// A peer: a plain UDP socket on loopback.
pub struct Peer {
    pub socket: UdpSocket,
    pub address: SocketAddr,
}

impl Peer {
    pub fn v4() -> Peer {
        Peer::at(Ipv4Addr::LOCALHOST.into())
    }
    pub fn v6() -> Peer {
        Peer::at(Ipv6Addr::LOCALHOST.into())
    }
    pub fn at(ip: IpAddr) -> Peer {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let address = socket.local_addr().unwrap();
        Peer { socket, address }
    }
    /// The next datagram: who sent it, and what.
    pub fn receive(&self) -> (SocketAddr, Vec<u8>) {
        let mut buffer = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        (from, buffer[..length].to_vec())
    }
    pub fn send(&self, to: SocketAddr, payload: &[u8]) {
        self.socket.send_to(payload, to).unwrap();
    }
}

fn loopback(like: &SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The fixture's first user.
pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
