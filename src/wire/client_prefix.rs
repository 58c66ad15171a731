//! The address prefix that identifies one client, for limits per client.

use std::net::{IpAddr, Ipv6Addr};

/// Returns the prefix that one client controls: an IPv4 address (also if it is IPv4-mapped), or an
/// IPv6 /64. A client can use any address of its /64, so a limit per IPv6 address would be no
/// limit.
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_an_ipv4_address_or_an_ipv6_slash_64() {
        for (address, prefix) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(client_prefix(address).to_string(), prefix);
        }
    }
}
