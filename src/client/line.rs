//! A line to a STUN or TURN server: whole messages over UDP, TCP, TLS or DTLS.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::client::dtls::Association;
use crate::turn::Transport;
use crate::wire::stream::frame;

/// A packet that came in.
pub struct Packet {
    /// Who sent it.
    pub source: SocketAddr,
    /// Which of our addresses (host or relayed) it came to.
    pub destination: SocketAddr,
    /// What it holds.
    pub octets: Vec<u8>,
}

/// A line to one server, shared by who sends and who receives.
pub struct Line {
    server: SocketAddr,
    local: SocketAddr,
    pipe: Pipe,
}

/// How long each step of opening a line took.
#[derive(Clone, Debug, Default)]
pub struct Opening {
    /// The TCP handshake.
    pub tcp: Option<Duration>,
    /// The TLS or DTLS handshake.
    pub tls: Option<Duration>,
    /// The version that it settled on.
    pub version: Option<ProtocolVersion>,
    /// The certificate that DTLS met, in DER; the one of TLS is looked at by its configuration.
    pub certificate: Option<Vec<u8>>,
}

/// Which step of opening a line failed.
#[derive(Debug)]
pub enum Closed {
    /// No packet can leave for that address, or TCP was refused or silent.
    Connect(io::Error),
    /// TCP stood, TLS did not.
    Tls(io::Error),
    /// No DTLS handshake came about.
    Dtls(io::Error),
}

impl Line {
    /// Opens a line; `host` is the name that TLS asks for. What certificate DTLS met is for the caller to judge: no password
    /// ever travels, and what is relayed is as safe as over plain UDP.
    ///
    /// # Errors
    /// [`Closed`]: which step failed and why.
    pub async fn open(
        transport: Transport,
        server: SocketAddr,
        host: &str,
        tls: &Arc<ClientConfig>,
    ) -> Result<(Line, Opening), Closed> {
        let mut opening = Opening::default();
        if matches!(transport, Transport::Udp | Transport::Dtls) {
            let socket = udp_toward(server).await.map_err(Closed::Connect)?;
            let local = socket.local_addr().map_err(Closed::Connect)?;
            if transport == Transport::Udp {
                return Ok((
                    Line {
                        server,
                        local,
                        pipe: Pipe::Datagrams(socket),
                    },
                    opening,
                ));
            }
            let began = Instant::now();
            let (association, shaken) = Association::shake_hands(socket)
                .await
                .map_err(Closed::Dtls)?;
            (opening.tls, opening.version) = (Some(began.elapsed()), shaken.version);
            opening.certificate = Some(shaken.certificate);
            return Ok((
                Line {
                    server,
                    local,
                    pipe: Pipe::Secure(Box::new(association)),
                },
                opening,
            ));
        }
        let began = Instant::now();
        let stream = TcpStream::connect(server).await.map_err(Closed::Connect)?;
        stream.set_nodelay(true).map_err(Closed::Connect)?;
        let local = stream.local_addr().map_err(Closed::Connect)?;
        opening.tcp = Some(began.elapsed());
        if transport == Transport::Tcp {
            return Ok((
                Line {
                    server,
                    local,
                    pipe: Pipe::stream(stream),
                },
                opening,
            ));
        }
        let began = Instant::now();
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| Closed::Tls(io::Error::other(error)))?;
        let stream = TlsConnector::from(tls.clone())
            .connect(name, stream)
            .await
            .map_err(Closed::Tls)?;
        opening.tls = Some(began.elapsed());
        opening.version = stream.get_ref().1.protocol_version();
        Ok((
            Line {
                server,
                local,
                pipe: Pipe::stream(stream),
            },
            opening,
        ))
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Our own address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether the line itself repeats what is lost.
    pub fn is_reliable(&self) -> bool {
        matches!(self.pipe, Pipe::Stream { .. })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// The socket's.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        match &self.pipe {
            Pipe::Datagrams(socket) => socket.send(message).await.map(drop),
            Pipe::Secure(association) => association.send(message),
            Pipe::Stream { writer, .. } => {
                let mut writer = writer.lock().await;
                writer.write_all(message).await?;
                // ChannelData is padded on streams (RFC 8656 §12.5); a STUN message's length is a multiple of four already.
                writer
                    .write_all(
                        [0; 3]
                            .get(..message.len().wrapping_neg() & 3)
                            .unwrap_or_default(),
                    )
                    .await?;
                writer.flush().await
            }
        }
    }

    /// Receives one message, padding included. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The socket's, [`io::ErrorKind::UnexpectedEof`] when the server closes, [`io::ErrorKind::InvalidData`] when a stream carries no STUN.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        match &self.pipe {
            Pipe::Datagrams(socket) => {
                let mut message = vec![0; LONGEST];
                let length = socket.recv(&mut message).await?;
                message.truncate(length);
                Ok(message)
            }
            Pipe::Secure(association) => association.receive().await,
            Pipe::Stream { reader, .. } => reader.lock().await.next().await,
        }
    }
}

impl Closed {
    /// The step's own error.
    pub fn error(&self) -> &io::Error {
        match self {
            Closed::Connect(error) | Closed::Tls(error) | Closed::Dtls(error) => error,
        }
    }
}

enum Pipe {
    Datagrams(UdpSocket),
    Secure(Box<Association>),
    Stream {
        reader: Mutex<Reader>,
        writer: Mutex<WriteHalf<Box<dyn Duplex>>>,
    },
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

struct Reader {
    half: ReadHalf<Box<dyn Duplex>>,
    pending: Vec<u8>,
}

impl Pipe {
    fn stream(stream: impl Duplex + 'static) -> Pipe {
        let (half, writer) = split(Box::new(stream) as Box<dyn Duplex>);
        Pipe::Stream {
            reader: Mutex::new(Reader {
                half,
                pending: Vec::new(),
            }),
            writer: Mutex::new(writer),
        }
    }
}

impl Reader {
    async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let length = frame(&self.pending)
                .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
            if let Some(length) = length.filter(|length| *length <= self.pending.len()) {
                let rest = self.pending.split_off(length);
                return Ok(std::mem::replace(&mut self.pending, rest));
            }
            if self.half.read_buf(&mut self.pending).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A UDP socket that speaks only with `server`, bound to the address that the routes give it.
async fn udp_toward(server: SocketAddr) -> io::Result<UdpSocket> {
    let any = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// The longest datagram there can be.
const LONGEST: usize = 65_536;
