//! The UDP socket: batches in, batches out, whichever way the system offers.

use crate::net::udp::buffer::{Batch, Received};
use crate::net::udp::icmp::IcmpError;
#[cfg(target_os = "linux")]
use crate::net::udp::linux;
use crate::net::udp::options::{IoMode, UdpOptions};
use crate::net::udp::portable;
#[cfg(target_os = "linux")]
use crate::net::udp::send_batch::Queue;
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    local: SocketAddr,
    #[cfg(target_os = "linux")]
    batched: Option<linux::State>,
}

/// Scratch of a send, reused for ever; one per thread serves all of its sockets.
#[derive(Default)]
pub struct SendScratch {
    #[cfg(target_os = "linux")]
    queue: Queue,
    joined: Vec<u8>,
}

impl UdpSocket {
    /// Binds to `address` (port 0: the system chooses). IPv6 sockets carry IPv6 only. Packet info is asked for when the
    /// address is a wildcard. What the kernel lacks of the options is done without.
    ///
    /// # Errors
    /// Those of `socket` and `bind`: address in use, not of this host, not permitted, too many open files.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
        let socket = open(address)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        // A size that is refused leaves the system's own, which works.
        if let Some(octets) = options.receive_buffer_size {
            let _ = socket.set_recv_buffer_size(octets);
            #[cfg(target_os = "linux")]
            linux::force_buffer(&socket, octets, libc::SO_RCVBUFFORCE);
        }
        if let Some(octets) = options.send_buffer_size {
            let _ = socket.set_send_buffer_size(octets);
            #[cfg(target_os = "linux")]
            linux::force_buffer(&socket, octets, libc::SO_SNDBUFFORCE);
        }
        #[cfg(target_os = "linux")]
        let batched = (options.io_mode == IoMode::Batched)
            .then(|| linux::State::prepare(&socket, &address, options));
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let local = if address.port() == 0 {
            socket.local_addr()?
        } else {
            address
        };
        Ok(UdpSocket {
            socket,
            local,
            #[cfg(target_os = "linux")]
            batched,
        })
    }

    /// The address it is bound to, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Hears from `peer` alone from here on. On Linux it can still be sent from to anybody.
    ///
    /// # Errors
    /// Where there is no way to `peer`.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.socket.connect(peer)
    }

    /// Receives into the free slots of `batch`, without waiting.
    ///
    /// # Errors
    /// Only what makes the socket useless; errors that concern datagrams it sent set [`Received::errors`].
    pub fn receive(&mut self, batch: &mut Batch) -> io::Result<Received> {
        #[cfg(target_os = "linux")]
        if let Some(state) = &mut self.batched {
            return state.receive(self.socket.as_raw_fd(), batch);
        }
        portable::receive(&self.socket, batch)
    }

    /// Sends all of `outgoing`, in order, without waiting. Nothing in it can fail the whole: see [`SendCounts`].
    pub fn send<'a>(
        &mut self,
        messages: &mut SendScratch,
        outgoing: impl IntoIterator<Item = &'a Transmit>,
        octets: Buffers<'_>,
    ) -> SendCounts {
        #[cfg(target_os = "linux")]
        if let Some(state) = &mut self.batched {
            return messages.queue.send(
                self.socket.as_raw_fd(),
                state,
                outgoing.into_iter(),
                octets,
            );
        }
        portable::send(
            &self.socket,
            &mut messages.joined,
            outgoing.into_iter(),
            octets,
        )
    }

    /// Appends the ICMP errors that came since the last call, at most 64 of them.
    pub fn read_icmp_errors(&mut self, into: &mut Vec<IcmpError>) {
        #[cfg(target_os = "linux")]
        if let Some(state) = &mut self.batched {
            state.errors(self.socket.as_raw_fd(), into);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = into;
    }

    /// Whether a send met an ICMP error, so that [`UdpSocket::errors`] has something to tell.
    pub fn has_icmp_errors(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(state) = &self.batched {
            return state.has_errors();
        }
        false
    }
}

/// A non-blocking UDP socket for addresses like this one, made by one call where the system has that.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    #[cfg(target_os = "linux")]
    return Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP));
    #[cfg(not(target_os = "linux"))]
    {
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
