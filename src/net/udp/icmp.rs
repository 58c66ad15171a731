//! What routers and hosts said about datagrams that a socket sent.

use std::io;
use std::net::{IpAddr, SocketAddr};

/// One ICMP error, or the local equivalent of one, and the destination that it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Where the datagram was going.
    pub destination: SocketAddr,
    /// Who reported it.
    pub origin: IcmpOrigin,
    /// ICMP type, of the version that the destination's family uses.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// The rest of the ICMP header as far as it means something: the next hop's MTU for "fragmentation needed" (3/4) and
    /// "packet too big" (2/0), else 0.
    pub mtu: u32,
    /// The address of the node that sent the error, where known.
    pub reporter: Option<IpAddr>,
}

/// Who reported an [`IcmpError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpOrigin {
    /// This host: the datagram exceeds a path MTU that is known already. Told as the ICMP error that said so first.
    Local,
    /// ICMP for IPv4.
    V4,
    /// ICMP for IPv6.
    V6,
}

/// Whether an error of a socket call tells of an earlier datagram (an ICMP error, an interface that went) and not of
/// the socket itself.
pub(crate) fn concerns_a_datagram(error: &io::Error) -> bool {
    // Linux has a word of its own for ICMP "source host isolated".
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
