//! Socket addresses as the kernel represents them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Storage for an IPv4 or IPv6 socket address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union RawSocketAddr {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawSocketAddr {
    /// Octets that the kernel may write.
    pub(crate) const SIZE: libc::socklen_t = size_of::<RawSocketAddr>() as libc::socklen_t;

    pub(crate) fn empty() -> RawSocketAddr {
        // SAFETY: every field consists of integers, for which zero is a value.
        unsafe { std::mem::zeroed() }
    }

    /// Converts `address`; also returns the number of octets in use.
    pub(crate) fn encode(address: &SocketAddr) -> (RawSocketAddr, libc::socklen_t) {
        let mut raw = RawSocketAddr::empty();
        match address {
            SocketAddr::V4(v4) => {
                raw.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: encode_ipv4(*v4.ip()),
                    sin_zero: [0; 8],
                };
                (raw, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                raw.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                (raw, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address that the kernel wrote; `None` if it is of another family.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: all fields begin with the family, and the union is always fully initialized, so
        // any field may be read.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = decode_ipv4(self.v4.sin_addr);
                    let port = u16::from_be(self.v4.sin_port);
                    Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
                }
                // The flow label is left out because it is no part of a client's identity: two
                // addresses that differ in it alone must compare equal.
                libc::AF_INET6 => Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(self.v6.sin6_addr.s6_addr),
                    u16::from_be(self.v6.sin6_port),
                    0,
                    self.v6.sin6_scope_id,
                ))),
                _ => None,
            }
        }
    }
}

/// `s_addr` holds the octets in network order, whatever the order of the machine.
pub(crate) fn encode_ipv4(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

pub(crate) fn decode_ipv4(ip: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(ip.s_addr.to_ne_bytes())
}
