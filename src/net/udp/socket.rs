//! The UDP socket.

use crate::net::udp::buffer::{Batch, Received};
use crate::net::udp::icmp::IcmpError;
use crate::net::udp::options::UdpOptions;
use crate::net::udp::portable;
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
#[cfg(target_os = "linux")]
use crate::net::udp::{
    icmp::ErrorQueue,
    options::IoMode,
    receive::Receiver,
    send_batch::{SendBatch, Sender},
    sys::sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A bound, non-blocking UDP socket that receives and sends in batches.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    local: SocketAddr,
    /// `None` in [`IoMode::Portable`].
    #[cfg(target_os = "linux")]
    batched: Option<Batched>,
}

/// State of a socket that receives and sends in batches.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Batched {
    receiver: Receiver,
    sender: Sender,
    errors: ErrorQueue,
}

/// Memory that a send uses. One value serves all sockets of a thread, so that a send allocates
/// nothing.
#[derive(Default)]
pub struct SendScratch {
    #[cfg(target_os = "linux")]
    batch: SendBatch,
    joined: Vec<u8>,
}

impl UdpSocket {
    /// Binds a socket to `address`; the system chooses the port if it is 0. An IPv6 socket never
    /// receives or sends IPv4 packets. A socket bound to a wildcard address reports the local
    /// address of received datagrams.
    ///
    /// # Errors
    /// The errors of `socket` and `bind`: address in use, not an address of this host, not
    /// permitted, too many open files.
    pub fn bind(address: SocketAddr, options: &UdpOptions) -> io::Result<UdpSocket> {
        let socket = open(address)?;
        // A dual-stack socket would report IPv4 clients with mapped addresses, take the port away
        // from an IPv4 listener, and need both versions of every IP option.
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if options.reuse_port {
            socket.set_reuse_port(true)?;
        }
        set_buffer_sizes(&socket, options);
        // Options are set before `bind` so that they apply to the first packet.
        #[cfg(target_os = "linux")]
        let batched = (options.io_mode == IoMode::Batched).then(|| {
            let (fd, is_ipv6) = (socket.as_raw_fd(), address.is_ipv6());
            Batched {
                receiver: Receiver::prepare(fd, &address, options),
                sender: Sender::prepare(fd, is_ipv6, options),
                errors: ErrorQueue::prepare(fd, is_ipv6, options.receive_icmp_errors),
            }
        });
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

    /// The address that the socket is bound to, with the port that the system chose.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Receives from `peer` only from now on. On Linux the socket may still send to any
    /// destination.
    ///
    /// # Errors
    /// If there is no route to `peer`.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.socket.connect(peer)
    }

    /// Receives into the free slots of `batch` without waiting.
    ///
    /// # Errors
    /// Only an error that makes the socket useless. Errors that concern sent datagrams set
    /// [`Received::errors`].
    pub fn receive(&mut self, batch: &mut Batch) -> io::Result<Received> {
        #[cfg(target_os = "linux")]
        if let Some(batched) = &mut self.batched {
            let fd = self.socket.as_raw_fd();
            return batched.receiver.receive(fd, &mut batched.errors, batch);
        }
        portable::receive(&self.socket, batch)
    }

    /// Sends all of `transmits` in order and without waiting. See [`SendCounts`] for datagrams that
    /// could not be sent.
    pub fn send<'a>(
        &mut self,
        scratch: &mut SendScratch,
        transmits: impl IntoIterator<Item = &'a Transmit>,
        buffers: Buffers<'_>,
    ) -> SendCounts {
        let transmits = transmits.into_iter();
        #[cfg(target_os = "linux")]
        if let Some(batched) = &mut self.batched {
            let fd = self.socket.as_raw_fd();
            let (sender, errors) = (&mut batched.sender, &mut batched.errors);
            return scratch.batch.send(fd, sender, errors, transmits, buffers);
        }
        portable::send(&self.socket, &mut scratch.joined, transmits, buffers)
    }

    /// Appends up to 64 ICMP errors that have arrived since the last call.
    pub fn read_icmp_errors(&mut self, into: &mut Vec<IcmpError>) {
        #[cfg(target_os = "linux")]
        if let Some(batched) = &mut self.batched {
            batched.errors.read(self.socket.as_raw_fd(), into);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = into;
    }

    /// Returns true if [`UdpSocket::read_icmp_errors`] has errors to return, as far as sends and
    /// receives have noticed.
    pub fn has_icmp_errors(&self) -> bool {
        #[cfg(target_os = "linux")]
        if let Some(batched) = &self.batched {
            return batched.errors.is_pending();
        }
        false
    }
}

/// Opens a non-blocking UDP socket of the family of `address`. A relay opens one per allocation, so
/// it is worth that Linux needs one system call for this.
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

/// Sets the buffer sizes. A size that the system refuses leaves the system's default, which works.
fn set_buffer_sizes(socket: &Socket, options: &UdpOptions) {
    if let Some(octets) = options.receive_buffer_size {
        let _ = socket.set_recv_buffer_size(octets);
        #[cfg(target_os = "linux")]
        sockopt::force_buffer_size(socket.as_raw_fd(), libc::SO_RCVBUFFORCE, octets);
    }
    if let Some(octets) = options.send_buffer_size {
        let _ = socket.set_send_buffer_size(octets);
        #[cfg(target_os = "linux")]
        sockopt::force_buffer_size(socket.as_raw_fd(), libc::SO_SNDBUFFORCE, octets);
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
