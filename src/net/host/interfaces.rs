//! Addresses of this host's network interfaces.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Name of the interface.
    pub interface: String,
    /// IPv4 or IPv6 address.
    pub address: IpAddr,
    /// The interface is a loopback interface.
    pub loopback: bool,
}

/// Returns all addresses of the interfaces that are up.
///
/// # Errors
/// The errors of `getifaddrs`.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success the system stores the head of a list in `first`, which is freed below.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: `next` is a node of the list, which lives until it is freed below.
        let node = unsafe { &*next };
        // SAFETY: the node comes from `getifaddrs`.
        addresses.extend(unsafe { decode(node) });
        next = node.ifa_next;
    }
    // SAFETY: `first` comes from `getifaddrs` and is freed once; `addresses` holds copies only.
    unsafe { libc::freeifaddrs(first) };
    Ok(addresses)
}

/// Returns the address that packets to the Internet are sent from according to the routing table;
/// `None` without a default route. Sends nothing: connecting a UDP socket makes the kernel choose a
/// route and its source address.
pub fn default_source_address(v6: bool) -> Option<IpAddr> {
    let (wildcard, remote): (SocketAddr, SocketAddr) = if v6 {
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (REMOTE_IPV6, 9).into())
    } else {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (REMOTE_IPV4, 9).into())
    };
    let socket = UdpSocket::bind(wildcard).ok()?;
    socket.connect(remote).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified() && !source.is_loopback()).then_some(source)
}

/// Decodes a node of the list; `None` if its interface is down, or its address is not an IP
/// address.
///
/// # Safety
/// The node's name and address must be valid, as in a list that `getifaddrs` returned.
// SAFETY: the caller keeps the promise above.
unsafe fn decode(node: &libc::ifaddrs) -> Option<InterfaceAddress> {
    let flags = node.ifa_flags as libc::c_int;
    // An interface without an address, such as a tunnel, has a node with a null pointer.
    if node.ifa_addr.is_null() || flags & libc::IFF_UP == 0 {
        return None;
    }
    // SAFETY: the address is not null, and its family says which structure it is.
    let address = unsafe {
        match libc::c_int::from((*node.ifa_addr).sa_family) {
            libc::AF_INET => {
                let v4 = node.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned();
                IpAddr::V4(Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes()))
            }
            libc::AF_INET6 => {
                let v6 = node.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned();
                IpAddr::V6(Ipv6Addr::from(v6.sin6_addr.s6_addr))
            }
            _ => return None,
        }
    };
    // SAFETY: the name is a C string that the list owns.
    let interface = unsafe { std::ffi::CStr::from_ptr(node.ifa_name) }
        .to_string_lossy()
        .into_owned();
    Some(InterfaceAddress {
        interface,
        address,
        loopback: flags & libc::IFF_LOOPBACK != 0,
    })
}

/// Documentation addresses (RFC 5737, RFC 3849). No route is more specific than the default route
/// for them.
const REMOTE_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const REMOTE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_a_loopback_address_and_its_default_source_is_one_of_its_addresses() {
        let all = addresses().unwrap();
        assert!(
            all.iter()
                .any(|own| own.loopback && own.address == Ipv4Addr::LOCALHOST),
            "{all:?}"
        );
        for v6 in [false, true] {
            if let Some(source) = default_source_address(v6) {
                assert_eq!(source.is_ipv6(), v6);
                assert!(
                    all.iter().any(|own| own.address == source),
                    "{source} is not among {all:?}"
                );
            }
        }
    }
}
