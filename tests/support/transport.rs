//! The connections of a test's client: UDP, TCP, TLS and DTLS, blocking.

use super::TIMEOUT;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub enum Transport {
    /// The socket stays unconnected, so that a test may send from it to any address.
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Dtls(Box<Dtls>),
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A DTLS client on a connected socket.
pub struct Dtls {
    pub engine: dimpl::Dtls,
    pub socket: UdpSocket,
    /// The last datagram sent, for tests that replay it.
    pub last_sent: Vec<u8>,
    pub received: VecDeque<Vec<u8>>,
}

impl Transport {
    pub fn udp(server: SocketAddr) -> Transport {
        Transport::Udp(UdpSocket::bind((loopback(server), 0)).unwrap())
    }

    pub fn tcp(server: SocketAddr) -> Transport {
        Transport::Tcp(connect(server))
    }

    /// TLS with this server name; any certificate is accepted.
    pub fn tls(server: SocketAddr, name: &str) -> Transport {
        Transport::tls_on(connect(server), name)
    }

    /// TLS on a connection that is already open.
    pub fn tls_on(stream: TcpStream, name: &str) -> Transport {
        Transport::Tls(Box::new(
            tls_handshake(accept_any_certificate(), stream, name).unwrap(),
        ))
    }

    pub fn dtls(server: SocketAddr) -> Transport {
        Transport::Dtls(Box::new(Dtls::handshake(server)))
    }

    pub fn local_address(&self) -> SocketAddr {
        match self {
            Transport::Udp(socket) => socket.local_addr(),
            Transport::Tcp(stream) => stream.local_addr(),
            Transport::Tls(stream) => stream.sock.local_addr(),
            Transport::Dtls(dtls) => dtls.socket.local_addr(),
        }
        .unwrap()
    }

    pub fn is_stream(&self) -> bool {
        matches!(self, Transport::Tcp(_) | Transport::Tls(_))
    }

    pub fn write(&mut self, octets: &[u8], server: SocketAddr) {
        match self {
            Transport::Udp(socket) => {
                assert_eq!(socket.send_to(octets, server).unwrap(), octets.len());
            }
            Transport::Tcp(stream) => stream.write_all(octets).unwrap(),
            Transport::Tls(stream) => {
                stream.write_all(octets).unwrap();
                stream.flush().unwrap();
            }
            Transport::Dtls(dtls) => {
                dtls.engine.send_application_data(octets).unwrap();
                dtls.drain_engine();
            }
        }
    }

    /// A datagram, or some octets of a stream; `None` after the timeout and at the end of a stream.
    pub fn read(&mut self, server: SocketAddr, timeout: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let length = match self {
            Transport::Udp(socket) => {
                socket.set_read_timeout(Some(timeout)).unwrap();
                let (length, from) = socket.recv_from(&mut buffer).ok()?;
                assert_eq!(from, server, "a datagram from another address");
                length
            }
            Transport::Tcp(stream) => read_some(stream, &mut buffer, timeout)?,
            Transport::Tls(stream) => {
                stream.sock.set_read_timeout(Some(timeout)).unwrap();
                stream.read(&mut buffer).ok().filter(|length| *length > 0)?
            }
            Transport::Dtls(dtls) => return dtls.read(timeout),
        };
        buffer.truncate(length);
        Some(buffer)
    }
}

fn read_some(stream: &mut TcpStream, buffer: &mut [u8], timeout: Duration) -> Option<usize> {
    stream.set_read_timeout(Some(timeout)).unwrap();
    stream.read(buffer).ok().filter(|length| *length > 0)
}

impl Dtls {
    fn handshake(server: SocketAddr) -> Dtls {
        let own = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let config = Arc::new(dimpl::Config::default());
        let mut engine = dimpl::Dtls::new_auto(config, own, Instant::now());
        engine.set_active(true);
        let mut dtls = Dtls {
            engine,
            socket: connected_udp(server),
            last_sent: Vec::new(),
            received: VecDeque::new(),
        };
        let deadline = Instant::now() + TIMEOUT;
        while !dtls.step() {
            assert!(Instant::now() < deadline, "no DTLS handshake");
        }
        dtls
    }

    /// Sends the datagrams of the engine; returns true if the handshake has just completed.
    fn drain_engine(&mut self) -> bool {
        let mut scratch = vec![0; 20_000];
        let mut connected = false;
        loop {
            match self.engine.poll_output(&mut scratch) {
                dimpl::Output::Packet(packet) => {
                    self.last_sent = packet.to_vec();
                    let _ = self.socket.send(packet);
                }
                dimpl::Output::ApplicationData(data) => self.received.push_back(data.to_vec()),
                dimpl::Output::Connected => connected = true,
                dimpl::Output::Timeout(_) => return connected,
                _ => {}
            }
        }
    }

    /// Runs due timers and receives at most one datagram; returns true if the handshake has just
    /// completed.
    fn step(&mut self) -> bool {
        self.engine.handle_timeout(Instant::now()).unwrap();
        let before = self.drain_engine();
        let mut buffer = [0; 65_536];
        if let Ok(length) = self.socket.recv(&mut buffer) {
            self.engine.handle_packet(&buffer[..length]).unwrap();
        }
        self.drain_engine() || before
    }

    fn read(&mut self, timeout: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + timeout;
        while self.received.is_empty() && Instant::now() < deadline {
            self.step();
        }
        self.received.pop_front()
    }
}

/// A connection whose reads and writes time out.
pub fn connect(server: SocketAddr) -> TcpStream {
    with_timeouts(TcpStream::connect_timeout(&server, TIMEOUT).unwrap())
}

/// A connection from another address of the loopback network.
pub fn connect_from(ip: IpAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let domain = socket2::Domain::for_address(server);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    socket.connect(&server.into())?;
    Ok(with_timeouts(socket.into()))
}

pub fn with_timeouts(stream: TcpStream) -> TcpStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// A UDP socket connected to the server, whose reads return soon.
pub fn connected_udp(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((loopback(server), 0)).unwrap();
    socket.connect(server).unwrap();
    let poll_interval = Duration::from_millis(100);
    socket.set_read_timeout(Some(poll_interval)).unwrap();
    socket
}

pub fn tls_handshake(
    config: ClientConfig,
    mut stream: TcpStream,
    name: &str,
) -> std::io::Result<TlsStream> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

pub fn accept_any_certificate() -> ClientConfig {
    hairpin::client::transport::tls::unverified().unwrap()
}

/// The loopback address of the same family.
fn loopback(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}
