//! A blocking TURN client that sends exactly the given octets, over any transport, and keeps
//! received messages in order.

use super::TIMEOUT;
use super::codec::*;
use super::transport::Transport;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The client's end of one five-tuple.
pub struct Client {
    pub transport: Transport,
    pub server: SocketAddr,
    /// The client's own address, as the server sees it.
    pub address: SocketAddr,
    /// Used by [`Client::ask`]; set by [`Client::login`].
    pub credentials: Option<Credentials>,
    /// Packets that were received while the client waited for another one.
    inbox: VecDeque<Packet>,
    /// Octets of a stream that are not a whole message yet.
    partial: Vec<u8>,
}

/// A received packet.
#[derive(Clone, Debug)]
pub enum Packet {
    Stun(Incoming),
    Channel(u16, Vec<u8>),
}

impl Client {
    pub fn new(transport: Transport, server: SocketAddr) -> Client {
        Client {
            address: transport.local_address(),
            transport,
            server,
            credentials: None,
            inbox: VecDeque::new(),
            partial: Vec::new(),
        }
    }

    pub fn udp(server: SocketAddr) -> Client {
        Client::new(Transport::udp(server), server)
    }

    /// A client on this socket, which stays unconnected.
    pub fn from_udp(socket: UdpSocket, server: SocketAddr) -> Client {
        Client::new(Transport::Udp(socket), server)
    }

    pub fn tcp(server: SocketAddr) -> Client {
        Client::new(Transport::tcp(server), server)
    }

    pub fn tls(server: SocketAddr) -> Client {
        Client::new(Transport::tls(server, SERVER_NAME), server)
    }

    pub fn dtls(server: SocketAddr) -> Client {
        Client::new(Transport::dtls(server), server)
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        match &mut self.transport {
            Transport::Tcp(stream) => stream,
            Transport::Tls(stream) => &mut stream.sock,
            Transport::Udp(_) | Transport::Dtls(_) => panic!("not a stream"),
        }
    }

    pub fn socket(&self) -> &UdpSocket {
        match &self.transport {
            Transport::Udp(socket) => socket,
            Transport::Dtls(dtls) => &dtls.socket,
            Transport::Tcp(_) | Transport::Tls(_) => panic!("not a datagram socket"),
        }
    }

    pub fn send_raw(&mut self, octets: &[u8]) {
        self.transport.write(octets, self.server);
    }

    /// Sends a message without authentication.
    pub fn send(&mut self, message: &Outgoing) {
        self.send_raw(&message.encode(None));
    }

    /// Sends without authentication and waits for the response.
    pub fn exchange(&mut self, message: &Outgoing) -> Incoming {
        self.send(message);
        self.answer(message.id)
    }

    /// Sends with the credentials and waits for the response.
    pub fn ask(&mut self, message: Outgoing) -> Incoming {
        let octets = message.encode(self.credentials.as_ref());
        self.send_raw(&octets);
        self.answer(message.id)
    }

    /// Sends an encoded request and waits for the response.
    pub fn ask_raw(&mut self, octets: &[u8]) -> Incoming {
        self.send_raw(octets);
        self.answer(octets[8..20].try_into().unwrap())
    }

    /// The next response to this transaction; packets before it stay in the inbox.
    pub fn answer(&mut self, id: Id) -> Incoming {
        loop {
            match self.read(TIMEOUT) {
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
        self.receive_within(TIMEOUT)
            .unwrap_or_else(|| panic!("no packet from {}", self.server))
    }

    /// The next packet, if one arrives in time.
    pub fn receive_within(&mut self, timeout: Duration) -> Option<Packet> {
        self.inbox.pop_front().or_else(|| self.read(timeout))
    }

    /// Sends a Binding request and returns the packets that arrived before its response. The server
    /// handles one five-tuple in order, so a message without a response among them was not
    /// answered.
    pub fn fence(&mut self) -> Vec<Packet> {
        let answer = self.exchange(&Outgoing::request(BINDING));
        assert!(answer.is_success());
        self.inbox.drain(..).collect()
    }

    /// The peer and payload of the next packet, which must be a Data indication.
    pub fn data(&mut self) -> (SocketAddr, Vec<u8>) {
        match self.receive() {
            Packet::Stun(m) if m.class == INDICATION && m.method == DATA_METHOD && m.has(DATA) => (
                m.address(XOR_PEER_ADDRESS).unwrap(),
                m.get(DATA).unwrap().to_vec(),
            ),
            other => panic!("expected a Data indication, got {other:?}"),
        }
    }

    /// The number and payload of the next packet, which must be ChannelData.
    pub fn channel_data(&mut self) -> (u16, Vec<u8>) {
        match self.receive() {
            Packet::Channel(number, payload) => (number, payload),
            other => panic!("expected ChannelData, got {other:?}"),
        }
    }

    /// Gets a challenge and authenticates as in RFC 5389 from now on.
    pub fn login(&mut self, username: &str, password: &str) {
        self.keep_port();
        let challenge = self.exchange(&Outgoing::allocate());
        assert_eq!(challenge.error(), Some(401), "{challenge:?}");
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        self.credentials = Some(Credentials::legacy(username, password, realm, nonce));
    }

    /// Logs in, unless that was done before.
    pub fn login_as_first_user(&mut self) {
        if self.credentials.is_none() {
            self.login(USER, PASSWORD);
        }
    }

    /// Gets a challenge and authenticates with SHA-256 key and integrity as in RFC 8489 from now
    /// on.
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

    /// Logs in as the first user and allocates; returns the relayed address.
    pub fn allocate(&mut self) -> SocketAddr {
        self.allocate_with(Outgoing::allocate())
    }

    pub fn allocate_with(&mut self, request: Outgoing) -> SocketAddr {
        self.login_as_first_user();
        let answer = self.ask(request);
        assert!(answer.is_success(), "{answer:?}");
        answer.address(XOR_RELAYED_ADDRESS).unwrap()
    }

    pub fn allocate_v6(&mut self) -> SocketAddr {
        self.allocate_with(Outgoing::allocate().with(Attribute::family(2)))
    }

    /// Installs a permission, which must succeed.
    pub fn permit(&mut self, peer: SocketAddr) {
        let answer = self.ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer)));
        assert!(answer.is_success(), "{answer:?}");
    }

    pub fn try_permit(&mut self, peer: SocketAddr) -> Incoming {
        self.ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer)))
    }

    /// Binds a channel, which must succeed.
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

    /// Sends a Send indication.
    pub fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.send(
            &Outgoing::indication(SEND)
                .with(Attribute::peer(peer))
                .with(Attribute::data(payload)),
        );
    }

    /// Sends ChannelData, padded if the transport requires it.
    pub fn send_channel(&mut self, channel: u16, payload: &[u8]) {
        let pad = self.transport.is_stream();
        self.send_raw(&channel_data(channel, payload, pad));
    }

    /// Allocates, and exchanges packets of growing size with a peer.
    pub fn allocate_and_exchange(&mut self, count: usize) {
        let relayed = self.allocate();
        let peer = Peer::v4();
        self.permit(peer.address);
        for round in 0..count {
            self.exchange_with(&peer, relayed, 1 + round * 300);
        }
    }

    /// Sends `length` octets to the peer, which sends them back.
    pub fn exchange_with(&mut self, peer: &Peer, relayed: SocketAddr, length: usize) {
        let sent = payload(length);
        self.send_to(peer.address, &sent);
        assert_eq!(peer.receive(), (relayed, sent.clone()));
        peer.send(relayed, &sent);
        assert_eq!(self.data(), (peer.address, sent));
    }

    /// Refreshes the allocation, which must still exist.
    pub fn assert_allocated(&mut self) {
        assert_eq!(self.refresh(600).number(LIFETIME), Some(600));
    }

    /// The bare connection, and the octets that the client has read from it beyond the last
    /// message.
    pub fn into_stream(self) -> (TcpStream, Vec<u8>) {
        match self.transport {
            Transport::Tcp(stream) => {
                stream.set_read_timeout(Some(TIMEOUT)).unwrap();
                (stream, self.partial)
            }
            _ => panic!("not a TCP connection"),
        }
    }

    /// Waits until the server closes the connection; returns false after the timeout.
    pub fn is_closed_within(&mut self, timeout: Duration) -> bool {
        let stream = self.stream();
        stream.set_read_timeout(Some(timeout)).unwrap();
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

    /// Keeps the socket open, because a later client with the same port would inherit the
    /// five-tuple and its allocation.
    fn keep_port(&self) {
        if let (Transport::Udp(socket), None) = (&self.transport, &self.credentials) {
            std::mem::forget(socket.try_clone());
        }
    }

    fn read(&mut self, timeout: Duration) -> Option<Packet> {
        let deadline = Instant::now() + timeout;
        loop {
            let frame_length = match self.transport.is_stream() {
                true => frame_length(&self.partial),
                false => None,
            };
            if let Some(length) = frame_length {
                let rest = self.partial.split_off(length);
                return Some(Packet::parse(&std::mem::replace(&mut self.partial, rest)));
            }
            // A socket's timeout may not be zero.
            let left = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1));
            let octets = self.transport.read(self.server, left)?;
            if !self.transport.is_stream() {
                return Some(Packet::parse(&octets));
            }
            self.partial.extend(octets);
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

/// The length of the first message in a stream, if all of it is there.
fn frame_length(buffer: &[u8]) -> Option<usize> {
    let head = buffer.get(..4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let size = if head[0] < 0x40 {
        20 + length
    } else {
        4 + length.next_multiple_of(4)
    };
    (buffer.len() >= size).then_some(size)
}

/// Octets in a pattern that shows a loss or a swap.
pub fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
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
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        let address = socket.local_addr().unwrap();
        Peer { socket, address }
    }
    /// The source and payload of the next datagram.
    pub fn receive(&self) -> (SocketAddr, Vec<u8>) {
        let mut buffer = [0; 65_536];
        let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
        (from, buffer[..length].to_vec())
    }
    pub fn send(&self, to: SocketAddr, payload: &[u8]) {
        self.socket.send_to(payload, to).unwrap();
    }
}

/// The name that servers with TLS show a certificate for.
pub const SERVER_NAME: &str = "relay.example";
/// The first user of every server under test.
pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
