//! A TURN client on a blocking line of any transport.

use super::relay::{BOTH, Server};
use hairpin::turn::client_state::{Answer, ClientState, Event, Login, Request};
use hairpin::wire::attribute::Family;
use hairpin::wire::stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const PATIENCE: Duration = Duration::from_secs(20);

pub enum Line {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Dtls(Box<Dtls>),
}

pub struct Dtls {
    pub engine: dimpl::Dtls,
    pub socket: UdpSocket,
    /// The datagram that was sent last.
    pub sent: Vec<u8>,
    pub received: std::collections::VecDeque<Vec<u8>>,
}

/// Takes whatever certificate it is shown.
#[derive(Debug)]
pub struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}

pub fn trusting() -> ClientConfig {
    let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap();
    builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting))
        .with_no_client_auth()
}

pub fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The same from an address of loopback's network.
pub fn connect_from(ip: IpAddr, server: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(server),
        socket2::Type::STREAM,
        None,
    )?;
    socket.bind(&SocketAddr::new(ip, 0).into())?;
    socket.connect(&server.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

pub fn bound(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
    socket.connect(server).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    socket
}

/// TLS over a stream, agreed on.
pub fn secured(
    config: ClientConfig,
    mut stream: TcpStream,
    name: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(tls, stream))
}

impl Line {
    pub fn udp(server: &Server) -> Line {
        let socket = bound(server.address);
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Line::Udp(socket)
    }

    pub fn tcp(server: &Server) -> Line {
        Line::Tcp(connect(server.address))
    }

    pub fn tls(server: &Server) -> Line {
        Line::tls_with(server, &[], "relay.example").unwrap()
    }

    pub fn tls_with(server: &Server, alpn: &[&[u8]], name: &str) -> std::io::Result<Line> {
        let mut config = trusting();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        secured(config, connect(server.address), name).map(|tls| Line::Tls(Box::new(tls)))
    }

    pub fn dtls(server: &Server) -> Line {
        Line::dtls_to(server.address)
    }

    pub fn dtls_to(server: SocketAddr) -> Line {
        let own = dimpl::certificate::generate_self_signed_certificate().unwrap();
        let mut engine =
            dimpl::Dtls::new_auto(Arc::new(dimpl::Config::default()), own, Instant::now());
        engine.set_active(true);
        let socket = bound(server);
        let mut dtls = Dtls {
            engine,
            socket,
            sent: Vec::new(),
            received: Default::default(),
        };
        let deadline = Instant::now() + PATIENCE;
        while !dtls.turn(&[]) {
            assert!(Instant::now() < deadline, "no DTLS handshake");
        }
        Line::Dtls(Box::new(dtls))
    }

    pub fn write(&mut self, octets: &[u8]) {
        match self {
            Line::Udp(socket) => assert_eq!(socket.send(octets).unwrap(), octets.len()),
            Line::Tcp(stream) => stream.write_all(octets).unwrap(),
            Line::Tls(stream) => {
                stream.write_all(octets).unwrap();
                stream.flush().unwrap();
            }
            Line::Dtls(dtls) => {
                dtls.engine.send_application_data(octets).unwrap();
                dtls.poll();
            }
        }
    }

    /// A datagram, or some octets of a stream; empty at its end.
    pub fn read(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = match self {
            Line::Udp(socket) => socket.recv(&mut buffer).unwrap(),
            Line::Tcp(stream) => stream.read(&mut buffer).unwrap(),
            Line::Tls(stream) => stream.read(&mut buffer).unwrap(),
            Line::Dtls(dtls) => return dtls.read(),
        };
        buffer.truncate(length);
        buffer
    }

    fn is_stream(&self) -> bool {
        matches!(self, Line::Tcp(_) | Line::Tls(_))
    }
}

impl Dtls {
    /// Sends what the engine wants sent; tells whether the handshake has just been done.
    fn poll(&mut self) -> bool {
        let mut scratch = vec![0; 20_000];
        let mut connected = false;
        loop {
            match self.engine.poll_output(&mut scratch) {
                dimpl::Output::Packet(packet) => {
                    self.sent = packet.to_vec();
                    let _ = self.socket.send(packet);
                }
                dimpl::Output::ApplicationData(data) => self.received.push_back(data.to_vec()),
                dimpl::Output::Connected => connected = true,
                dimpl::Output::Timeout(_) => return connected,
                _ => {}
            }
        }
    }

    /// Receives once, and does what is due.
    fn turn(&mut self, _: &[u8]) -> bool {
        self.engine.handle_timeout(Instant::now()).unwrap();
        let before = self.poll();
        let mut buffer = [0; 65_536];
        if let Ok(length) = self.socket.recv(&mut buffer) {
            self.engine.handle_packet(&buffer[..length]).unwrap();
        }
        self.poll() || before
    }

    fn read(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(data) = self.received.pop_front() {
                return data;
            }
            assert!(Instant::now() < deadline, "nothing came");
            self.turn(&[]);
        }
    }
}

/// A TURN client.
pub struct Caller {
    pub line: Line,
    client: ClientState,
    kept: Vec<u8>,
}

impl Caller {
    pub fn new(line: Line) -> Caller {
        let login = Login {
            username: "alice".into(),
            password: "wonderland".into(),
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        Caller {
            line,
            client: ClientState::new(Some(login), seed),
            kept: Vec::new(),
        }
    }

    fn message(&mut self) -> Vec<u8> {
        if !self.line.is_stream() {
            return self.line.read();
        }
        loop {
            if let Some(length) = stream::frame(&self.kept)
                .unwrap()
                .filter(|length| *length <= self.kept.len())
            {
                return self.kept.drain(..length).collect();
            }
            let read = self.line.read();
            assert!(!read.is_empty(), "the server closed the connection");
            self.kept.extend(read);
        }
    }

    /// Asks; the answer, or the error code of the refusal.
    pub fn ask(&mut self, request: Request) -> Result<Answer, u16> {
        let mut out = Vec::new();
        self.client.request(request, &mut out);
        self.line.write(&out);
        match self.event() {
            Got::Answer(answer) => Ok(answer),
            Got::Refused(code) => Err(code),
            Got::Data(..) => panic!("data before the answer"),
        }
    }

    fn event(&mut self) -> Got {
        loop {
            let octets = self.message();
            let mut out = Vec::new();
            let got = match self.client.receive(&octets, &mut out) {
                Event::Granted { answer, .. } => Some(Got::Answer(answer)),
                Event::Data { peer, payload } => Some(Got::Data(peer, payload.to_vec())),
                Event::Refused { refusal, .. } => Some(Got::Refused(refusal.code.0)),
                Event::Retried { .. } => None,
                other => panic!("{other:?}"),
            };
            if !out.is_empty() {
                self.line.write(&out);
            }
            if let Some(got) = got {
                return got;
            }
        }
    }

    pub fn granted(&mut self, request: Request) -> Answer {
        self.ask(request).unwrap()
    }

    pub fn allocate(&mut self) -> SocketAddr {
        let request = Request::Allocate {
            family: Some(Family::of(BOTH[0])),
            lifetime: None,
        };
        self.granted(request).relayed.unwrap()
    }

    pub fn permit(&mut self, peer: SocketAddr) {
        self.granted(Request::CreatePermission { peers: vec![peer] });
    }

    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut out = Vec::new();
        self.client.send(peer, payload, &mut out);
        self.line.write(&out);
    }

    pub fn data(&mut self) -> (SocketAddr, Vec<u8>) {
        match self.event() {
            Got::Data(peer, payload) => (peer, payload),
            Got::Answer(answer) => panic!("{answer:?}"),
            Got::Refused(code) => panic!("refused: {code}"),
        }
    }

    /// Allocates, and sends packets of growing size to a peer and back.
    pub fn echo(&mut self, rounds: usize) {
        let relayed = self.allocate();
        let peer = UdpSocket::bind((BOTH[0], 0)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let there = peer.local_addr().unwrap();
        self.permit(there);
        for round in 0..rounds {
            self.bounce(&peer, relayed, 1 + round * 300);
        }
    }

    /// Sends `length` octets to the peer, and has them sent back.
    pub fn bounce(&mut self, peer: &UdpSocket, relayed: SocketAddr, length: usize) {
        let sent: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
        let there = peer.local_addr().unwrap();
        self.send(there, &sent);
        let mut buffer = vec![0; 65_536];
        let (received, from) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..received], from), (&sent[..], relayed));
        peer.send_to(&sent, relayed).unwrap();
        assert_eq!(self.data(), (there, sent));
    }
}

enum Got {
    Answer(Answer),
    Refused(u16),
    Data(SocketAddr, Vec<u8>),
}

impl Caller {
    /// Asks for something, to see whether the server still answers on this line.
    pub fn echo_again(&mut self) {
        assert_eq!(
            self.granted(Request::Refresh { lifetime: 600 }).lifetime,
            Some(600)
        );
    }
}
