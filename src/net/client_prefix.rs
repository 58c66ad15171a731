//! Who counts as one client where there is a share for each.

use std::net::{IpAddr, Ipv6Addr};

/// The network that one client has for itself: an IPv4 address, however it is written, or an IPv6 /64.
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}
