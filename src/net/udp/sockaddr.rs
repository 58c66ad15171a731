//! Socket addresses in the kernel's shape.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an IPv4 or IPv6 socket address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) union Name {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    /// Octets that the kernel may write.
    pub(crate) const SIZE: libc::socklen_t = size_of::<Name>() as libc::socklen_t;

    /// An empty name, for the kernel to fill.
    pub(crate) fn empty() -> Name {
        // SAFETY: every field is plain integers, for which zero is a value.
        unsafe { std::mem::zeroed() }
    }

    /// `address` as the kernel wants it, and how many octets of it count.
    pub(crate) fn encode(address: &SocketAddr) -> (Name, libc::socklen_t) {
        let mut name = Name::empty();
        match address {
            SocketAddr::V4(v4) => {
                name.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: v4_to_kernel(*v4.ip()),
                    sin_zero: [0; 8],
                };
                (name, size_of::<libc::sockaddr_in>() as libc::socklen_t)
            }
            SocketAddr::V6(v6) => {
                name.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                (name, size_of::<libc::sockaddr_in6>() as libc::socklen_t)
            }
        }
    }

    /// The address that the kernel wrote, or `None` for another family.
    pub(crate) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: all fields begin with the family and the union is always fully initialised, so any may be read.
        unsafe {
            match libc::c_int::from(self.family) {
                libc::AF_INET => {
                    let ip = v4_from_kernel(self.v4.sin_addr);
                    Some(SocketAddr::V4(SocketAddrV4::new(
                        ip,
                        u16::from_be(self.v4.sin_port),
                    )))
                }
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

/// An IPv4 address as the kernel holds it: the octets in network order.
pub(crate) fn v4_to_kernel(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

/// The other way.
pub(crate) fn v4_from_kernel(ip: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(ip.s_addr.to_ne_bytes())
}
