//! DTLS toward a server, RFC 7350: one message in each datagram.
//!
//! [`DtlsClient`] is the protocol without a socket. Its owner feeds it datagrams and time, and
//! after every call polls it for datagrams to send and messages received. Its owners are
//! [`DtlsSocket`], which is asynchronous, and the load generator, which polls thousands of sockets.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use dimpl::{Output, ProtocolVersion};
use tokio::net::UdpSocket;
use tokio::time::timeout_at;

/// What all associations of a client share.
pub struct DtlsConfig {
    config: Arc<dimpl::Config>,
    certificate: dimpl::DtlsCertificate,
}

/// One DTLS association in the client's role, without a socket.
pub struct DtlsClient {
    engine: dimpl::Dtls,
    scratch: Vec<u8>,
    peer_certificate: Vec<u8>,
    is_connected: bool,
    is_closed: bool,
    deadline: Instant,
}

impl DtlsConfig {
    /// Makes a configuration with a self-signed client certificate: the library requires one,
    /// although servers do not request it.
    ///
    /// # Errors
    /// No randomness is available.
    pub fn new() -> io::Result<DtlsConfig> {
        let config = dimpl::Config::builder().mtu(MTU).build();
        let certificate = dimpl::certificate::generate_self_signed_certificate();
        Ok(DtlsConfig {
            config: Arc::new(config.map_err(io::Error::other)?),
            certificate: certificate.map_err(io::Error::other)?,
        })
    }
}

impl DtlsClient {
    /// An association whose ClientHello the first [`DtlsClient::handle_timeout`] produces.
    pub fn new(config: &DtlsConfig, now: Instant) -> DtlsClient {
        let mut engine =
            dimpl::Dtls::new_auto(config.config.clone(), config.certificate.clone(), now);
        engine.set_active(true);
        DtlsClient {
            engine,
            scratch: vec![0; MAX_RECORD],
            peer_certificate: Vec::new(),
            is_connected: false,
            is_closed: false,
            deadline: now,
        }
    }

    /// Returns true once the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Returns true once the server has closed the association.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// When [`DtlsClient::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The server's certificate in DER, empty before the handshake. The library does not show the
    /// rest of the chain.
    pub fn peer_certificate(&self) -> &[u8] {
        &self.peer_certificate
    }

    /// The negotiated version.
    pub fn version(&self) -> Option<rustls::ProtocolVersion> {
        match self.engine.protocol_version()? {
            ProtocolVersion::DTLS1_2 => Some(rustls::ProtocolVersion::DTLSv1_2),
            ProtocolVersion::DTLS1_3 => Some(rustls::ProtocolVersion::DTLSv1_3),
            _ => None,
        }
    }

    /// Retransmits what is due.
    ///
    /// # Errors
    /// The handshake was not answered.
    pub fn handle_timeout(&mut self, now: Instant) -> io::Result<()> {
        self.engine.handle_timeout(now).map_err(io::Error::other)
    }

    /// Handles a datagram from the server.
    ///
    /// # Errors
    /// The handshake failed. Once it is complete, a record that does not decrypt is dropped: RFC
    /// 9147 §4.5.2.
    pub fn handle_datagram(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self.engine.handle_packet(datagram) {
            Err(error) if !self.is_connected => Err(io::Error::other(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Encrypts one message.
    ///
    /// # Errors
    /// The association has ended, or the message is longer than a record.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.engine
            .send_application_data(message)
            .map(drop)
            .map_err(io::Error::other)
    }

    /// Passes every datagram to send to `transmit`, and every message received to `receive`.
    pub fn poll(&mut self, mut transmit: impl FnMut(&[u8]), mut receive: impl FnMut(&[u8])) {
        loop {
            match self.engine.poll_output(&mut self.scratch) {
                Output::Packet(datagram) => transmit(datagram),
                Output::ApplicationData(message) => receive(message),
                Output::PeerCert(certificate) => self.peer_certificate = certificate.to_vec(),
                Output::Connected => self.is_connected = true,
                Output::CloseNotify => self.is_closed = true,
                Output::BufferTooSmall { needed } => self.scratch.resize(needed, 0),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return;
                }
                _ => {}
            }
        }
    }
}

/// A DTLS association on a tokio socket.
pub(crate) struct DtlsSocket {
    socket: UdpSocket,
    state: Mutex<State>,
}

struct State {
    client: DtlsClient,
    /// Messages received and not yet taken.
    received: VecDeque<Vec<u8>>,
}

impl DtlsSocket {
    /// Performs the handshake with the server that the socket is connected to. Ends when the
    /// library gives up.
    pub(crate) async fn connect(socket: UdpSocket) -> io::Result<DtlsSocket> {
        let client = DtlsClient::new(&DtlsConfig::new()?, Instant::now());
        // Before the first readiness event `try_send` refuses everything, and the ClientHello would
        // wait for its retransmission.
        socket.writable().await?;
        let dtls = DtlsSocket {
            socket,
            state: Mutex::new(State {
                client,
                received: VecDeque::new(),
            }),
        };
        let mut datagram = vec![0; MAX_DATAGRAM];
        while !dtls.lock().client.is_connected() {
            dtls.step(&mut datagram).await?;
        }
        Ok(dtls)
    }

    pub(crate) fn version(&self) -> Option<rustls::ProtocolVersion> {
        self.lock().client.version()
    }

    /// The server's certificate in DER.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.lock().client.peer_certificate().to_vec()
    }

    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.client.send(message)?;
        state.poll(&self.socket);
        Ok(())
    }

    /// Receives one message. Cancel safe.
    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut datagram = vec![0; MAX_DATAGRAM];
        loop {
            if let Some(message) = self.lock().received.pop_front() {
                return Ok(message);
            }
            self.step(&mut datagram).await?;
        }
    }

    /// Waits for a datagram or for the deadline, and handles it.
    async fn step(&self, datagram: &mut [u8]) -> io::Result<()> {
        let deadline = {
            let mut state = self.lock();
            state.client.handle_timeout(Instant::now())?;
            state.poll(&self.socket);
            state.client.deadline()
        };
        let received = timeout_at(deadline.into(), self.socket.recv(datagram)).await;
        let mut state = self.lock();
        if let Ok(length) = received {
            let datagram = datagram.get(..length?).unwrap_or_default();
            state.client.handle_datagram(datagram)?;
        }
        state.poll(&self.socket);
        match state.client.is_closed() && state.received.is_empty() {
            true => Err(closed()),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll(&mut self, socket: &UdpSocket) {
        let State { client, received } = self;
        client.poll(
            // A datagram that the socket does not take is lost, as on any network. An ICMP error
            // shows at the next receive.
            |datagram| drop(socket.try_send(datagram)),
            |message| received.push_back(message.to_vec()),
        );
    }
}

/// The error of an association that the server closed.
pub(crate) fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the DTLS association",
    )
}

/// Octets of a handshake datagram.
const MTU: usize = 1_200;
/// Octets of the longest UDP datagram.
const MAX_DATAGRAM: usize = 65_536;
/// Octets of the longest record, with its overhead.
const MAX_RECORD: usize = 18 << 10;
