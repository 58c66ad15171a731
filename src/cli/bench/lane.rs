//! One client's way to the server: a UDP socket, a TCP connection, or TLS over one.

use super::plan::{Server, Transport};
use crate::net::{Batch, Messages, Octets, Options, Outgoing, Sent, UdpSocket};
use crate::wire::stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// One client's way to the server, non-blocking.
pub enum Lane {
    /// UDP, in batches.
    Udp(UdpSocket),
    /// TCP or TLS.
    Stream(Box<Stream>),
}

/// What connecting many lanes shares.
pub struct Dialer {
    server: Server,
    local: IpAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Dialer {
    /// A dialer to `server` from the address `local`.
    ///
    /// # Errors
    /// A TLS configuration that cannot be made.
    pub fn new(server: &Server, local: IpAddr) -> io::Result<Dialer> {
        let tls = (server.transport == Transport::Tls).then(tls_config).transpose()?;
        Ok(Dialer { server: server.clone(), local, tls })
    }

    /// Connects lane number `index`. On loopback, every 20,000 of them leave from an address of their own, so that
    /// ports do not run out.
    ///
    /// # Errors
    /// Those of the socket calls, and of the TLS handshake.
    pub fn dial(&self, index: usize) -> io::Result<Lane> {
        if self.server.transport == Transport::Udp {
            let local = match self.local {
                IpAddr::V4(ip) if ip.is_loopback() && index >= LOOPBACK_LANES => {
                    IpAddr::from([127, 1, (index / LOOPBACK_LANES) as u8, 1])
                }
                local => local,
            };
            let options = Options { receive_buffer: Some(RECEIVE_BUFFER), ..Options::default() };
            return UdpSocket::bind(SocketAddr::new(local, 0), &options).map(Lane::Udp);
        }
        let mut socket = TcpStream::connect_timeout(&self.server.address, DIAL_TIMEOUT)?;
        socket.set_nodelay(true)?;
        let tls = self.tls.as_ref().map(|config| self.handshake(&mut socket, config)).transpose()?;
        socket.set_nonblocking(true)?;
        Ok(Lane::Stream(Box::new(Stream { socket, tls, incoming: Vec::new(), outgoing: Vec::new() })))
    }

    fn handshake(&self, socket: &mut TcpStream, config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(self.server.host.clone()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        socket.set_read_timeout(Some(DIAL_TIMEOUT))?;
        while tls.is_handshaking() {
            tls.complete_io(socket)?;
        }
        Ok(tls)
    }
}

impl Lane {
    /// Sends frames, each the payload piece of an [`Outgoing`] that lies in `arena`. What a stream cannot take now is
    /// dropped, as UDP would.
    pub fn send(&mut self, messages: &mut Messages, frames: &[Outgoing], arena: &[u8]) -> Sent {
        let octets = Octets { received: &[], written: arena };
        match self {
            Lane::Udp(socket) => socket.send(messages, frames, octets),
            Lane::Stream(stream) => stream.send(frames, octets),
        }
    }

    /// Receives what is there and gives each packet or frame to `each`; true once nothing is left.
    ///
    /// # Errors
    /// A connection that broke or is not STUN.
    pub fn receive(&mut self, batch: &mut Batch, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        match self {
            Lane::Udp(socket) => {
                batch.clear();
                let received = socket.receive(batch)?;
                batch.datagrams().iter().for_each(|datagram| each(batch.payload(datagram)));
                Ok(received.drained)
            }
            Lane::Stream(stream) => stream.receive(&mut each),
        }
    }

    /// Whether frames must be padded.
    pub fn is_stream(&self) -> bool {
        matches!(self, Lane::Stream(_))
    }
}

impl AsRawFd for Lane {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Lane::Udp(socket) => socket.as_raw_fd(),
            Lane::Stream(stream) => stream.socket.as_raw_fd(),
        }
    }
}

/// A TCP or TLS connection and what waits on either side of it.
pub struct Stream {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Stream {
    fn send(&mut self, frames: &[Outgoing], octets: Octets<'_>) -> Sent {
        let mut sent = Sent::default();
        for frame in frames {
            if self.outgoing.len() > OUTGOING_LIMIT {
                sent.dropped += 1;
                continue;
            }
            self.outgoing.extend_from_slice(octets.get(frame.payload));
            sent.packets += 1;
        }
        // What breaks the connection shows at the next receive.
        let _ = self.flush();
        sent
    }

    /// Writes until nothing is left or the socket is full.
    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            while !self.outgoing.is_empty() {
                match self.socket.write(&self.outgoing) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => drop(self.outgoing.drain(..written)),
                    Err(error) => return unless_blocked(error),
                }
            }
            return Ok(());
        };
        loop {
            while tls.wants_write() {
                if let Err(error) = tls.write_tls(&mut self.socket) {
                    return unless_blocked(error);
                }
            }
            let some = self.outgoing.len().min(TLS_CHUNK);
            if some == 0 {
                return Ok(());
            }
            let taken = tls.writer().write(&self.outgoing[..some])?;
            self.outgoing.drain(..taken);
        }
    }

    fn receive(&mut self, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        self.flush()?;
        let drained = self.read()?;
        let mut at = 0;
        while let Some(length) = stream::frame(&self.incoming[at..]).map_err(io::Error::other)? {
            let Some(frame) = self.incoming.get(at..at + length) else { break };
            each(frame);
            at += length;
        }
        self.incoming.drain(..at);
        Ok(drained)
    }

    /// Appends what one read brings; true once nothing is left.
    fn read(&mut self) -> io::Result<bool> {
        let start = self.incoming.len();
        let Some(tls) = &mut self.tls else {
            self.incoming.resize(start + READ, 0);
            let outcome = self.socket.read(&mut self.incoming[start..]);
            self.incoming.truncate(start + *outcome.as_ref().unwrap_or(&0));
            return match outcome {
                Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
                Ok(read) => Ok(read < READ),
                Err(error) => unless_blocked(error).map(|()| true),
            };
        };
        let drained = match tls.read_tls(&mut self.socket) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(_) => false,
            Err(error) => unless_blocked(error).map(|()| true)?,
        };
        let plain = tls.process_new_packets().map_err(io::Error::other)?.plaintext_bytes_to_read();
        self.incoming.resize(start + plain, 0);
        tls.reader().read_exact(&mut self.incoming[start..])?;
        Ok(drained)
    }
}

fn unless_blocked(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

/// A client that believes any certificate: it measures, and gives nothing away but load.
fn tls_config() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.dangerous();
    Ok(Arc::new(builder.with_custom_certificate_verifier(Arc::new(Anyone(schemes))).with_no_client_auth()))
}

#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ServerCertVerifier for Anyone {
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
        self.0.clone()
    }
}

/// Lanes that one loopback address carries; the system has 28,000 ephemeral ports.
const LOOPBACK_LANES: usize = 20_000;
/// Octets of receive buffer asked for: the loader must not be what drops.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// How long a connection and its handshake may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Octets that may wait for a stream; more is dropped, and counted as not sent.
const OUTGOING_LIMIT: usize = 256 << 10;
/// Octets of one read.
const READ: usize = 64 << 10;
/// Octets given to TLS at once: one record.
const TLS_CHUNK: usize = 16 << 10;
