//! The addresses of this host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An address of an interface that is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// The interface is the loopback.
    pub loopback: bool,
}

/// All addresses of the interfaces that are up.
///
/// # Errors
/// Those of `getifaddrs`.
pub fn addresses() -> io::Result<Vec<InterfaceAddress>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: on success the system stores a list in `first`, which is freed below.
    if unsafe { libc::getifaddrs(&mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = first;
    while !at.is_null() {
        // SAFETY: `at` is a node of the list, which lives until it is freed.
        let node = unsafe { &*at };
        // SAFETY: the node's name and address belong to the list.
        found.extend(unsafe { describe(node) });
        at = node.ifa_next;
    }
    // SAFETY: `first` came from `getifaddrs` and is freed once; nothing found refers to it.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// The address that packets toward the world leave from, by the default route of that family; nothing is sent.
pub fn default_source_address(v6: bool) -> Option<IpAddr> {
    let (wildcard, somewhere): (SocketAddr, SocketAddr) = if v6 {
        ((Ipv6Addr::UNSPECIFIED, 0).into(), (SOMEWHERE_V6, 9).into())
    } else {
        ((Ipv4Addr::UNSPECIFIED, 0).into(), (SOMEWHERE_V4, 9).into())
    };
    let socket = UdpSocket::bind(wildcard).ok()?;
    socket.connect(somewhere).ok()?;
    let source = socket.local_addr().ok()?.ip();
    (!source.is_unspecified() && !source.is_loopback()).then_some(source)
}

/// # Safety
/// Name and address of the node are valid, as in a list that `getifaddrs` made.
// SAFETY: the promise is the caller's, as said above.
unsafe fn describe(node: &libc::ifaddrs) -> Option<InterfaceAddress> {
    let flags = node.ifa_flags as libc::c_int;
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
    // SAFETY: the name is a C string of the list.
    let interface = unsafe { std::ffi::CStr::from_ptr(node.ifa_name) }
        .to_string_lossy()
        .into_owned();
    Some(InterfaceAddress {
        interface,
        address,
        loopback: flags & libc::IFF_LOOPBACK != 0,
    })
}

/// Destinations beyond every ordinary prefix, so that the default route decides (RFC 5737, RFC 3849).
const SOMEWHERE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const SOMEWHERE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
