//! A connection to one server that carries whole messages over any transport.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use tokio::net::{TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

use crate::client::transport::dtls::DtlsSocket;
use crate::client::transport::stream::MessageStream;
use crate::turn::Transport;

/// A connection to one server. Sending and receiving take `&self`, so that one task can send while
/// another receives.
pub struct Connection {
    server: SocketAddr,
    local: SocketAddr,
    socket: Socket,
}

enum Socket {
    Udp(UdpSocket),
    Dtls(Box<DtlsSocket>),
    Stream(Box<MessageStream>),
}

/// What the handshakes of a connection took and agreed on.
#[derive(Clone, Debug, Default)]
pub struct Handshake {
    /// Duration of the TCP handshake.
    pub tcp: Option<Duration>,
    /// Duration of the TLS or DTLS handshake.
    pub tls: Option<Duration>,
    /// The negotiated version of TLS or DTLS.
    pub version: Option<ProtocolVersion>,
    /// The server's certificate in DER, only for DTLS. With TLS the verifier of the configuration
    /// sees it.
    pub certificate: Option<Vec<u8>>,
}

/// The step at which connecting failed.
#[derive(Debug)]
pub enum ConnectError {
    /// No route to the address, or TCP was refused or not answered.
    Socket(io::Error),
    /// TCP connected, the TLS handshake failed.
    Tls(io::Error),
    /// The DTLS handshake failed.
    Dtls(io::Error),
}

impl Connection {
    /// Connects to `server`; `host` is the name that TLS sends and verifies. A DTLS certificate is
    /// not verified here but returned in the [`Handshake`]: TURN sends no password, so that an
    /// unverified server learns no secret.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open(
        transport: Transport,
        server: SocketAddr,
        host: &str,
        tls: &Arc<ClientConfig>,
    ) -> Result<(Connection, Handshake), ConnectError> {
        let mut handshake = Handshake::default();
        let (local, socket) = match transport {
            Transport::Udp => {
                let (local, socket) = connect_udp(server).await.map_err(ConnectError::Socket)?;
                (local, Socket::Udp(socket))
            }
            Transport::Dtls => {
                let (local, socket) = connect_udp(server).await.map_err(ConnectError::Socket)?;
                let started = Instant::now();
                let dtls = DtlsSocket::connect(socket)
                    .await
                    .map_err(ConnectError::Dtls)?;
                handshake.tls = Some(started.elapsed());
                handshake.version = dtls.version();
                handshake.certificate = Some(dtls.certificate());
                (local, Socket::Dtls(Box::new(dtls)))
            }
            Transport::Tcp => {
                let (local, stream) = connect_tcp(server, &mut handshake).await?;
                (local, Socket::Stream(Box::new(MessageStream::new(stream))))
            }
            Transport::Tls => {
                let (local, stream) = connect_tcp(server, &mut handshake).await?;
                let started = Instant::now();
                let name = ServerName::try_from(host.to_owned())
                    .map_err(|error| ConnectError::Tls(io::Error::other(error)))?;
                let stream = TlsConnector::from(tls.clone())
                    .connect(name, stream)
                    .await
                    .map_err(ConnectError::Tls)?;
                handshake.tls = Some(started.elapsed());
                handshake.version = stream.get_ref().1.protocol_version();
                (local, Socket::Stream(Box::new(MessageStream::new(stream))))
            }
        };
        let connection = Connection {
            server,
            local,
            socket,
        };
        Ok((connection, handshake))
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The local address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Returns true if the transport retransmits what is lost.
    pub fn is_reliable(&self) -> bool {
        matches!(self.socket, Socket::Stream(_))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// Errors of the socket.
    pub async fn send(&self, message: &[u8]) -> io::Result<()> {
        match &self.socket {
            Socket::Udp(socket) => socket.send(message).await.map(drop),
            Socket::Dtls(socket) => socket.send(message),
            Socket::Stream(stream) => stream.send(message).await,
        }
    }

    /// Receives one message, with the padding that it has on a stream. Cancel safe.
    ///
    /// # Errors
    /// Errors of the socket; [`io::ErrorKind::UnexpectedEof`] if the server closed the connection;
    /// [`io::ErrorKind::InvalidData`] if a stream carries something other than STUN.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        match &self.socket {
            Socket::Udp(socket) => {
                let mut message = vec![0; MAX_DATAGRAM];
                let length = socket.recv(&mut message).await?;
                message.truncate(length);
                Ok(message)
            }
            Socket::Dtls(socket) => socket.receive().await,
            Socket::Stream(stream) => stream.receive().await,
        }
    }
}

impl ConnectError {
    /// The error of the step.
    pub fn io_error(&self) -> &io::Error {
        match self {
            ConnectError::Socket(error) | ConnectError::Tls(error) | ConnectError::Dtls(error) => {
                error
            }
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.io_error().fmt(f)
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.io_error())
    }
}

/// A connected UDP socket, and the local address that the routing table gave it.
async fn connect_udp(server: SocketAddr) -> io::Result<(SocketAddr, UdpSocket)> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok((socket.local_addr()?, socket))
}

async fn connect_tcp(
    server: SocketAddr,
    handshake: &mut Handshake,
) -> Result<(SocketAddr, TcpStream), ConnectError> {
    let started = Instant::now();
    let connect = async {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok((stream.local_addr()?, stream))
    };
    let connected = connect.await.map_err(ConnectError::Socket)?;
    handshake.tcp = Some(started.elapsed());
    Ok(connected)
}

/// Octets of the longest UDP datagram.
const MAX_DATAGRAM: usize = 65_536;
