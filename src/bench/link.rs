//! One client's way to the server: a UDP socket, a TCP connection, TLS over one, or DTLS.

use crate::bench::dtls::{Dtls, Terms};
use crate::bench::plan::Target;
use crate::net::{Batch, Buffers, SendCounts, SendScratch, Transmit, UdpOptions, UdpSocket};
use crate::turn::Transport;
use crate::wire::stream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use socket2::SockRef;
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
    /// DTLS.
    Dtls(Box<Dtls>),
}

/// Where a thread receives: all of its lanes in turn.
pub struct Intake {
    /// Datagrams.
    pub batch: Batch,
    octets: Vec<u8>,
}

/// What connecting many lanes shares.
pub struct Dialer {
    target: Target,
    local: IpAddr,
    tls: Option<Arc<ClientConfig>>,
    dtls: Option<Terms>,
}

impl Intake {
    /// One for batches of so many datagrams.
    pub fn new(datagrams: usize) -> Intake {
        Intake {
            batch: Batch::new(datagrams),
            octets: vec![0; INTAKE],
        }
    }
}

impl Dialer {
    /// A dialer to `server` from the address `local`.
    ///
    /// # Errors
    /// A TLS configuration that cannot be made.
    pub fn new(target: &Target, local: IpAddr) -> io::Result<Dialer> {
        let tls = (target.transport == Transport::Tls)
            .then(tls_config)
            .transpose()?;
        let dtls = (target.transport == Transport::Dtls)
            .then(Terms::new)
            .transpose()?;
        Ok(Dialer {
            target: target.clone(),
            local,
            tls,
            dtls,
        })
    }

    /// Connects lane number `index`. On loopback, every 20,000 datagram lanes leave from an address of their own, so that
    /// ports do not run out.
    ///
    /// # Errors
    /// Those of the socket calls, and of the handshake.
    pub fn dial(&self, index: usize) -> io::Result<Lane> {
        let local = match self.local {
            IpAddr::V4(ip) if ip.is_loopback() && index >= LOOPBACK_LANES => {
                IpAddr::from([127, 1, (index / LOOPBACK_LANES) as u8, 1])
            }
            local => local,
        };
        if let Some(terms) = &self.dtls {
            return Dtls::connect(local, self.target.address, terms, DIAL_TIMEOUT)
                .map(|dtls| Lane::Dtls(Box::new(dtls)));
        }
        if self.target.transport == Transport::Udp {
            let options = UdpOptions {
                receive_buffer_size: Some(RECEIVE_BUFFER),
                ..UdpOptions::default()
            };
            let socket = UdpSocket::bind(SocketAddr::new(local, 0), &options)?;
            // The kernel then keeps the route, which is a tenth of what a packet costs.
            SockRef::from(&socket).connect(&self.target.address.into())?;
            return Ok(Lane::Udp(socket));
        }
        let mut socket = TcpStream::connect_timeout(&self.target.address, DIAL_TIMEOUT)?;
        socket.set_nodelay(true)?;
        let tls = self
            .tls
            .as_ref()
            .map(|config| self.handshake(&mut socket, config))
            .transpose()?;
        socket.set_nonblocking(true)?;
        Ok(Lane::Stream(Box::new(Stream {
            socket,
            tls,
            kept: Vec::new(),
            outgoing: Vec::new(),
            written: 0,
        })))
    }

    fn handshake(
        &self,
        socket: &mut TcpStream,
        config: &Arc<ClientConfig>,
    ) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(self.target.host.clone()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        socket.set_read_timeout(Some(DIAL_TIMEOUT))?;
        while tls.is_handshaking() {
            tls.complete_io(socket)?;
        }
        Ok(tls)
    }
}

impl Lane {
    /// Sends frames, each the payload piece of an [`Transmit`] that lies in `arena`. What a stream cannot take now is
    /// dropped, as UDP would.
    pub fn send(
        &mut self,
        messages: &mut SendScratch,
        frames: &[Transmit],
        arena: &[u8],
    ) -> SendCounts {
        let octets = Buffers {
            received: &[],
            written: arena,
        };
        match self {
            Lane::Udp(socket) => match frames {
                [frame] => alone(socket, octets.get(frame.payload)),
                _ => socket.send(messages, frames, octets),
            },
            Lane::Stream(stream) => stream.send(frames, octets),
            Lane::Dtls(dtls) => dtls.send(frames, octets),
        }
    }

    /// Receives what is there and gives each packet or frame to `each`; true once nothing is left.
    ///
    /// # Errors
    /// A connection that broke or is not STUN.
    pub fn receive(
        &mut self,
        intake: &mut Intake,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        match self {
            Lane::Udp(socket) => {
                let batch = &mut intake.batch;
                batch.clear();
                let received = socket.receive(batch)?;
                batch
                    .datagrams()
                    .iter()
                    .for_each(|datagram| each(batch.payload(datagram)));
                Ok(received.drained)
            }
            Lane::Stream(stream) => stream.receive(&mut intake.octets, &mut each),
            Lane::Dtls(dtls) => dtls.receive(&mut intake.octets, each),
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
            Lane::Dtls(dtls) => dtls.as_raw_fd(),
        }
    }
}

/// Sends one datagram to whom the socket is connected: the shortest way through the kernel.
fn alone(socket: &UdpSocket, octets: &[u8]) -> SendCounts {
    match SockRef::from(socket).send(octets) {
        Ok(_) => SendCounts {
            datagrams: 1,
            ..SendCounts::default()
        },
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => SendCounts {
            buffer_full: 1,
            ..SendCounts::default()
        },
        Err(_) => SendCounts {
            failed: 1,
            ..SendCounts::default()
        },
    }
}

/// A TCP or TLS connection and what waits on either side of it.
pub struct Stream {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    /// The beginning of a frame whose end has not come.
    kept: Vec<u8>,
    outgoing: Vec<u8>,
    /// Buffers of `outgoing` that are on their way.
    written: usize,
}

impl Stream {
    fn send(&mut self, frames: &[Transmit], octets: Buffers<'_>) -> SendCounts {
        let mut sent = SendCounts::default();
        for frame in frames {
            if self.outgoing.len() - self.written > OUTGOING_LIMIT {
                sent.buffer_full += 1;
                continue;
            }
            self.outgoing.extend_from_slice(octets.get(frame.payload));
            sent.datagrams += 1;
        }
        // What breaks the connection shows at the next receive.
        let _ = self.flush();
        sent
    }

    /// Writes until nothing is left or the socket is full.
    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.write();
        if self.written == self.outgoing.len() || self.written > OUTGOING_LIMIT {
            self.outgoing.drain(..self.written);
            self.written = 0;
        }
        outcome
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            while self.written < self.outgoing.len() {
                match self.socket.write(&self.outgoing[self.written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => self.written += written,
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
            let rest = &self.outgoing[self.written..];
            if rest.is_empty() {
                return Ok(());
            }
            self.written += tls.writer().write(&rest[..rest.len().min(TLS_CHUNK)])?;
        }
    }

    fn receive(&mut self, octets: &mut [u8], each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
        self.flush()?;
        let kept = self.kept.len();
        octets[..kept].copy_from_slice(&self.kept);
        let (read, drained) = self.read(&mut octets[kept..])?;
        let mut rest = &octets[..kept + read];
        while let Some(length) = stream::frame(rest).map_err(io::Error::other)? {
            let Some((frame, behind)) = rest.split_at_checked(length) else {
                break;
            };
            each(frame);
            rest = behind;
        }
        self.kept.clear();
        self.kept.extend_from_slice(rest);
        Ok(drained)
    }

    /// Reads what is there, as far as there is room; how much that was, and whether nothing is left.
    fn read(&mut self, into: &mut [u8]) -> io::Result<(usize, bool)> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.read(into) {
                Ok(0) => Err(closed()),
                Ok(read) => Ok((read, read < into.len())),
                Err(error) => unless_blocked(error).map(|()| (0, true)),
            };
        };
        let mut filled = 0;
        loop {
            let drained = match tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(closed()),
                Ok(_) => false,
                Err(error) => unless_blocked(error).map(|()| true)?,
            };
            let plain = tls
                .process_new_packets()
                .map_err(io::Error::other)?
                .plaintext_bytes_to_read();
            let plain = plain.min(into.len() - filled);
            tls.reader().read_exact(&mut into[filled..filled + plain])?;
            filled += plain;
            if drained || into.len() - filled < ROOM {
                return Ok((filled, drained));
            }
        }
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
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
    let schemes = provider
        .signature_verification_algorithms
        .supported_schemes();
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(io::Error::other)?.dangerous();
    Ok(Arc::new(
        builder
            .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
            .with_no_client_auth(),
    ))
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
/// Buffers of receive buffer asked for: the loader must not be what drops.
pub const RECEIVE_BUFFER: usize = 4 << 20;
/// How long a connection and its handshake may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Buffers that may wait for a stream; more is dropped, and counted as not sent.
const OUTGOING_LIMIT: usize = 256 << 10;
/// Buffers received at once, over a frame that began before.
const INTAKE: usize = 256 << 10;
/// Buffers of room that one more turn of TLS may need.
const ROOM: usize = 64 << 10;
/// Buffers given to TLS at once: one record.
const TLS_CHUNK: usize = 16 << 10;
