//! ICMP errors for datagrams that a socket sent, and the kernel's queue of them.

#[cfg(target_os = "linux")]
use crate::net::udp::sys::{
    cmsg::{ControlBuffer, for_each, read_struct},
    sockaddr::{RawSocketAddr, decode_ipv4},
    sockopt::{set, set_ip},
};
use std::io;
use std::net::{IpAddr, SocketAddr};

/// An ICMP error, or the local equivalent of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Destination of the datagram that caused the error.
    pub destination: SocketAddr,
    /// Protocol that reported the error.
    pub origin: IcmpOrigin,
    /// ICMP type, of the ICMP version of the destination's family.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// Next-hop MTU for "fragmentation needed" (type 3, code 4) and "packet too big" (type 2, code
    /// 0), otherwise 0.
    pub mtu: u32,
    /// Address of the node that sent the error, if known.
    pub reporter: Option<IpAddr>,
}

/// Protocol that reported an [`IcmpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpOrigin {
    /// The kernel of this host: the datagram exceeds a path MTU that the kernel knows already.
    /// Reported with type and code of the ICMP error that taught the kernel the MTU.
    Local,
    /// ICMP for IPv4.
    V4,
    /// ICMP for IPv6.
    V6,
}

/// Returns true if the error of a system call concerns an earlier datagram (an ICMP error, an
/// interface that went down) rather than the socket itself.
pub(crate) fn concerns_a_datagram(error: &io::Error) -> bool {
    // Only Linux maps ICMP "source host isolated" to an error number of its own.
    #[cfg(target_os = "linux")]
    if error.raw_os_error() == Some(libc::ENONET) {
        return true;
    }
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EMSGSIZE
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EACCES
        )
    )
}

/// The error queue of a socket (`IP_RECVERR`).
///
/// The kernel signals an ICMP error twice: it adds an entry to the queue, and it makes the next
/// system call on the socket fail with the matching error number, even a send to another
/// destination. A caller that retries that call must therefore remember that the queue has an
/// entry.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct ErrorQueue {
    enabled: bool,
    /// A system call reported an error whose entry has not been read.
    pending: bool,
    /// Destination of the last datagram that was too large and not to be fragmented. Boxed because
    /// few sockets need it.
    oversized: Option<Box<SocketAddr>>,
}

#[cfg(target_os = "linux")]
impl ErrorQueue {
    pub(crate) fn prepare(fd: libc::c_int, is_ipv6: bool, enabled: bool) -> ErrorQueue {
        if enabled {
            let _ = set_ip(fd, is_ipv6, libc::IP_RECVERR, libc::IPV6_RECVERR, 1);
            // Without this option `epoll` reports an entry as EPOLLERR only, which wakes no waiter
            // for readability.
            let _ = set(fd, libc::SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1);
        }
        ErrorQueue {
            enabled,
            pending: false,
            oversized: None,
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Remembers that the queue has an entry, because a system call failed for an earlier datagram.
    pub(crate) fn mark_pending(&mut self) {
        self.pending = self.enabled;
    }

    /// Remembers that the kernel refused a datagram to `destination` as too large, which adds an
    /// entry.
    pub(crate) fn record_oversized(&mut self, destination: SocketAddr) {
        self.oversized = Some(Box::new(destination));
        self.mark_pending();
    }

    /// Moves up to [`MAX_ENTRIES`] entries to the end of `into`. The queue stays pending if it may
    /// have more.
    pub(crate) fn read(&mut self, fd: libc::c_int, into: &mut Vec<IcmpError>) {
        self.pending = false;
        for _ in 0..MAX_ENTRIES {
            match next_error(fd) {
                Ok(Some(error)) => {
                    let error = self.with_port(error);
                    // A datagram that is refused may be tried twice, and each attempt adds an
                    // entry.
                    if error.origin != IcmpOrigin::Local || into.last() != Some(&error) {
                        into.push(error);
                    }
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
        self.pending = true;
    }

    /// Adds the destination port to a local error, which the kernel reports with the address only.
    fn with_port(&self, mut error: IcmpError) -> IcmpError {
        if let Some(oversized) = self.oversized.as_deref()
            && error.origin == IcmpOrigin::Local
            && error.destination.ip() == oversized.ip()
        {
            error.destination = *oversized;
        }
        error
    }
}

/// Reads one entry of the error queue; `None` if the entry is not an ICMP error.
#[cfg(target_os = "linux")]
fn next_error(fd: libc::c_int) -> io::Result<Option<IcmpError>> {
    let mut destination = RawSocketAddr::empty();
    let mut control = ControlBuffer::<512>::empty();
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a
    // value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = (&raw mut destination).cast();
    header.msg_namelen = RawSocketAddr::SIZE;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<ControlBuffer<512>>() as _;
    // The payload of an entry is the datagram that was sent, which is not needed: there is no
    // buffer for it.
    // SAFETY: address and control buffer have the lengths given in the header and outlive the call.
    let count = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = None;
    // SAFETY: the call succeeded, so the header describes what the kernel wrote into our buffer.
    unsafe {
        for_each(&header, |level, kind, data| {
            let is_error = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            if is_error && let Some(entry) = read_struct::<libc::sock_extended_err>(data) {
                let reporter = data
                    .get(size_of::<libc::sock_extended_err>()..)
                    .and_then(decode_reporter);
                found = Some((entry, reporter));
            }
        });
    }
    Ok(found
        .zip(destination.decode())
        .and_then(|((entry, reporter), destination)| decode_entry(&entry, reporter, destination)))
}

#[cfg(target_os = "linux")]
fn decode_entry(
    entry: &libc::sock_extended_err,
    reporter: Option<IpAddr>,
    destination: SocketAddr,
) -> Option<IcmpError> {
    let too_large = entry.ee_errno == libc::EMSGSIZE as u32;
    let mtu = if too_large { entry.ee_info } else { 0 };
    let (origin, kind, code) = match entry.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => (IcmpOrigin::V4, entry.ee_type, entry.ee_code),
        libc::SO_EE_ORIGIN_ICMP6 => (IcmpOrigin::V6, entry.ee_type, entry.ee_code),
        // The kernel leaves type and code of a local error 0.
        libc::SO_EE_ORIGIN_LOCAL if too_large && destination.is_ipv4() => (IcmpOrigin::Local, 3, 4),
        libc::SO_EE_ORIGIN_LOCAL if too_large => (IcmpOrigin::Local, 2, 0),
        _ => return None,
    };
    Some(IcmpError {
        destination,
        origin,
        kind,
        code,
        mtu,
        reporter,
    })
}

/// Decodes the address of the node that sent an error. The kernel may cut it off before the padding
/// of a full socket address, so it is decoded field by field.
#[cfg(target_os = "linux")]
fn decode_reporter(data: &[u8]) -> Option<IpAddr> {
    let family = data
        .first_chunk::<2>()
        .map(|octets| libc::c_int::from(u16::from_ne_bytes(*octets)))?;
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(decode_ipv4(libc::in_addr {
                s_addr: u32::from_ne_bytes(octets),
            })))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = data.get(8..24)?.try_into().ok()?;
            Some(IpAddr::V6(octets.into()))
        }
        _ => None,
    }
}

/// Entries read at once, so that a flood of ICMP errors cannot occupy the thread.
#[cfg(target_os = "linux")]
const MAX_ENTRIES: usize = 64;
/// From `linux/socket.h`; libc lacks it for some architectures.
#[cfg(target_os = "linux")]
const SO_SELECT_ERR_QUEUE: libc::c_int = 45;
