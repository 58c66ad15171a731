//! A link over DTLS: the client's association on a polled socket.

use crate::bench::link::nonblocking::ignore_would_block;
use crate::client::transport::dtls::{DtlsClient, DtlsConfig, closed};
use crate::net::{Buffers, SendCounts, Transmit};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

/// A DTLS association with the server.
pub struct DtlsLink {
    socket: UdpSocket,
    client: DtlsClient,
}

impl DtlsLink {
    /// Connects to `server` and performs the handshake, within `timeout`.
    pub(super) fn connect(
        local: IpAddr,
        server: SocketAddr,
        config: &DtlsConfig,
        timeout: Duration,
    ) -> io::Result<DtlsLink> {
        let socket = UdpSocket::bind((local, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(HANDSHAKE_POLL_INTERVAL))?;
        let started = Instant::now();
        let mut link = DtlsLink {
            socket,
            client: DtlsClient::new(config, started),
        };
        let mut datagram = [0; MAX_DATAGRAM];
        loop {
            link.client.handle_timeout(Instant::now())?;
            link.poll(|_| {});
            if link.client.is_connected() {
                break;
            }
            match link.socket.recv(&mut datagram) {
                Ok(length) => link.client.handle_datagram(&datagram[..length])?,
                Err(error) => ignore_would_block(error)?,
            }
            link.poll(|_| {});
            if link.client.is_connected() {
                break;
            }
            if started.elapsed() > timeout {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the DTLS handshake was not answered",
                ));
            }
        }
        link.socket.set_nonblocking(true)?;
        Ok(link)
    }

    /// Sends each frame in its own record and datagram.
    pub(super) fn send(&mut self, frames: &[Transmit], buffers: Buffers<'_>) -> SendCounts {
        let mut counts = SendCounts::default();
        for frame in frames {
            match self.client.send(buffers.get(frame.payload)) {
                Ok(()) => counts.datagrams += 1,
                Err(_) => counts.failed += 1,
            }
            self.poll(|_| {});
        }
        counts
    }

    /// Receives at most [`BATCH`] datagrams and passes each message to `each`. Returns true once
    /// nothing is left.
    pub(super) fn receive(
        &mut self,
        datagram: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.client.handle_timeout(Instant::now())?;
        for _ in 0..BATCH {
            match self.socket.recv(datagram) {
                Ok(length) => self.client.handle_datagram(&datagram[..length])?,
                Err(error) => return ignore_would_block(error).map(|()| true),
            }
            self.poll(&mut each);
            if self.client.is_closed() {
                return Err(closed());
            }
        }
        Ok(false)
    }

    fn poll(&mut self, receive: impl FnMut(&[u8])) {
        let DtlsLink { socket, client } = self;
        // A datagram that the socket does not take is lost, as on any network.
        client.poll(|datagram| drop(socket.send(datagram)), receive);
    }
}

impl AsRawFd for DtlsLink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

const MAX_DATAGRAM: usize = 65_535;
/// How often retransmission timers are checked during the handshake.
const HANDSHAKE_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Datagrams of one receive.
const BATCH: usize = 64;
