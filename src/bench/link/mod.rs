//! A load client's link to the server: a UDP socket, a TCP or TLS connection, or a DTLS
//! association. Non-blocking, polled.

mod dtls;
mod nonblocking;
mod stream;

use crate::bench::link::dtls::DtlsLink;
use crate::bench::link::stream::StreamLink;
use crate::bench::plan::Target;
use crate::client::transport::dtls::DtlsConfig;
use crate::client::transport::tls;
use crate::net::{Batch, Buffers, SendCounts, SendScratch, Transmit, UdpOptions, UdpSocket};
use crate::turn::Transport;
use rustls::ClientConfig;
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A link to the server.
pub enum Link {
    /// UDP, sent and received in batches.
    Udp(UdpSocket),
    /// TCP or TLS.
    Stream(Box<StreamLink>),
    /// DTLS.
    Dtls(Box<DtlsLink>),
}

/// The buffers into which all links of a thread receive.
pub struct ReceiveBuffers {
    /// For datagrams.
    pub batch: Batch,
    octets: Vec<u8>,
}

/// Opens links, and holds what they share.
pub struct Connector {
    target: Target,
    local: IpAddr,
    security: Security,
}

enum Security {
    None,
    Tls(Arc<ClientConfig>),
    Dtls(DtlsConfig),
}

impl ReceiveBuffers {
    /// Buffers for batches of up to `datagrams`.
    pub fn new(datagrams: usize) -> ReceiveBuffers {
        ReceiveBuffers {
            batch: Batch::new(datagrams),
            octets: vec![0; stream::RECEIVE_BUFFER],
        }
    }
}

impl Connector {
    /// A connector to `target` from the local address `local`. Certificates are not verified: a
    /// load generator sends no secret.
    ///
    /// # Errors
    /// TLS or DTLS cannot be configured.
    pub fn new(target: &Target, local: IpAddr) -> io::Result<Connector> {
        let security = match target.transport {
            Transport::Udp | Transport::Tcp => Security::None,
            Transport::Tls => Security::Tls(Arc::new(tls::unverified()?)),
            Transport::Dtls => Security::Dtls(DtlsConfig::new()?),
        };
        Ok(Connector {
            target: target.clone(),
            local,
            security,
        })
    }

    /// Connects link number `index`, and waits for its handshakes.
    ///
    /// # Errors
    /// Errors of the socket calls and of the handshakes.
    pub fn connect(&self, index: usize) -> io::Result<Link> {
        let server = self.target.address;
        let local = self.local_ip(index);
        match &self.security {
            Security::Dtls(config) => DtlsLink::connect(local, server, config, CONNECT_TIMEOUT)
                .map(|link| Link::Dtls(Box::new(link))),
            Security::Tls(config) => {
                StreamLink::connect_tls(server, &self.target.host, config, CONNECT_TIMEOUT)
                    .map(|link| Link::Stream(Box::new(link)))
            }
            Security::None if self.target.transport.is_stream() => {
                StreamLink::connect(server, CONNECT_TIMEOUT)
                    .map(|link| Link::Stream(Box::new(link)))
            }
            Security::None => {
                let socket = UdpSocket::bind(SocketAddr::new(local, 0), &udp_options())?;
                // A connected socket keeps its route, which saves a tenth of a packet's cost.
                SockRef::from(&socket).connect(&server.into())?;
                Ok(Link::Udp(socket))
            }
        }
    }

    /// The local address of a datagram link. On loopback every 20,000 links get another address,
    /// because one address has only 28,000 ephemeral ports.
    fn local_ip(&self, index: usize) -> IpAddr {
        match self.local {
            IpAddr::V4(ip) if ip.is_loopback() && index >= LINKS_PER_LOOPBACK_ADDRESS => {
                IpAddr::from([127, 1, (index / LINKS_PER_LOOPBACK_ADDRESS) as u8, 1])
            }
            local => local,
        }
    }
}

impl Link {
    /// Sends frames: the payload range of each [`Transmit`], within `arena`. What a stream cannot
    /// take now is dropped, as UDP would.
    pub fn send(
        &mut self,
        scratch: &mut SendScratch,
        frames: &[Transmit],
        arena: &[u8],
    ) -> SendCounts {
        let buffers = Buffers {
            received: &[],
            written: arena,
        };
        match self {
            Link::Udp(socket) => match frames {
                [frame] => send_one(socket, buffers.get(frame.payload)),
                _ => socket.send(scratch, frames, buffers),
            },
            Link::Stream(stream) => stream.send(frames, buffers),
            Link::Dtls(dtls) => dtls.send(frames, buffers),
        }
    }

    /// Receives at most one batch, and passes each message to `each`. Returns true once nothing is
    /// left to receive.
    ///
    /// # Errors
    /// The connection broke, or carries something other than STUN.
    pub fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        match self {
            Link::Udp(socket) => {
                let batch = &mut buffers.batch;
                batch.clear();
                let received = socket.receive(batch)?;
                for datagram in batch.datagrams() {
                    each(batch.payload(datagram));
                }
                Ok(received.drained)
            }
            Link::Stream(stream) => stream.receive(&mut buffers.octets, &mut each),
            Link::Dtls(dtls) => dtls.receive(&mut buffers.octets, each),
        }
    }

    /// Returns true for TCP and TLS, on which ChannelData is padded.
    pub fn is_stream(&self) -> bool {
        matches!(self, Link::Stream(_))
    }
}

impl AsRawFd for Link {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Link::Udp(socket) => socket.as_raw_fd(),
            Link::Stream(stream) => stream.as_raw_fd(),
            Link::Dtls(dtls) => dtls.as_raw_fd(),
        }
    }
}

/// Socket options of clients and peers: a large receive buffer, so that loss is the server's.
pub fn udp_options() -> UdpOptions {
    UdpOptions {
        receive_buffer_size: Some(RECEIVE_BUFFER_SIZE),
        ..UdpOptions::default()
    }
}

/// Sends one datagram on a connected socket: send(2) is the shortest path through the kernel.
fn send_one(socket: &UdpSocket, octets: &[u8]) -> SendCounts {
    let mut counts = SendCounts::default();
    match SockRef::from(socket).send(octets) {
        Ok(_) => counts.datagrams = 1,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => counts.buffer_full = 1,
        Err(_) => counts.failed = 1,
    }
    counts
}

const LINKS_PER_LOOPBACK_ADDRESS: usize = 20_000;
const RECEIVE_BUFFER_SIZE: usize = 4 << 20;
/// Time limit of a connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
