//! Which peers a relay may reach. A relay is inside networks that its clients are not in: addresses
//! with a meaning only there (loopback, private, link-local, …) are refused unless the operator
//! allows them.
//!
//! Explicit rules override the built-in ones. Among explicit rules the longest prefix wins; of two
//! equally long ones the denial wins. An IPv6 address that embeds an IPv4 address is permitted only
//! if the IPv4 address is (CVE-2020-26262, CVE-2026-27624).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The operator's rules about peers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Ranges that are permitted even if the built-in rules refuse them.
    pub allow: Vec<Cidr>,
    /// Ranges that are refused.
    pub deny: Vec<Cidr>,
}

/// The verdict on a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The peer may be reached.
    Permitted,
    /// The peer may not be reached.
    Refused,
}

impl Acl {
    /// The verdict on an address, regardless of whether it is one of the server's own.
    pub fn verdict(&self, address: IpAddr) -> Verdict {
        let verdict = match self.explicit(address) {
            // The kernel connects the unspecified address to this host itself.
            _ if address.is_unspecified() => Verdict::Refused,
            Some(verdict) => verdict,
            None if is_special(address) => Verdict::Refused,
            None => Verdict::Permitted,
        };
        let refused = embeds_matching(address, |ip| self.verdict(ip) == Verdict::Refused);
        if refused { Verdict::Refused } else { verdict }
    }

    /// Returns true if an address may be reached that is not one of the server's own.
    pub fn permits(&self, address: IpAddr) -> bool {
        self.verdict(address) == Verdict::Permitted
    }

    /// Returns true if one of the server's own addresses may be reached: only if an explicit rule
    /// permits it.
    pub fn permits_own(&self, address: IpAddr) -> bool {
        self.permits(address) && self.explicit(address).is_some()
    }

    fn explicit(&self, address: IpAddr) -> Option<Verdict> {
        let longest = |rules: &[Cidr]| {
            rules
                .iter()
                .filter(|r| r.contains(address))
                .map(|r| r.prefix)
                .max()
        };
        match (longest(&self.allow), longest(&self.deny)) {
            (None, None) => None,
            (Some(allow), deny) if deny.is_none_or(|deny| allow > deny) => Some(Verdict::Permitted),
            _ => Some(Verdict::Refused),
        }
    }
}

/// The server's own addresses. A peer on one of them is refused unless it is a live relayed address
/// or an explicit rule permits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// The listeners for clients and operators. A wildcard listener counts on every own address.
    pub listeners: Vec<SocketAddr>,
    /// The known addresses of this host: relay addresses, external addresses, addresses of
    /// interfaces.
    pub addresses: Vec<IpAddr>,
}

impl OwnAddresses {
    /// Returns true if a transport address is, or embeds, one of the listeners.
    pub fn is_listener(&self, address: SocketAddr) -> bool {
        let at = |ip: IpAddr| {
            self.listeners.iter().any(|listener| {
                let here = listener.ip() == ip || (listener.ip().is_unspecified() && self.has(ip));
                listener.port() == address.port() && here
            })
        };
        at(address.ip()) || embeds_matching(address.ip(), at)
    }

    /// Returns true if an address is, or embeds, one of this host.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.has(address) || embeds_matching(address, |ip| self.has(ip))
    }

    /// All of 127.0.0.0/8 reaches this host, even addresses that no interface has.
    fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }
}

/// A range of addresses: an address and a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// A range. Returns `None` if the prefix is longer than the address. Bits behind the prefix are
    /// cleared.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= width).then(|| Cidr {
            address: masked(address, prefix),
            prefix,
        })
    }

    /// Returns true if the range contains the address. An IPv4 range never contains an IPv6
    /// address, nor the reverse.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Parses `ADDRESS/PREFIX`, or a single address.
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| CidrError::Address(address.to_owned()))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(text) => text
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width)
                .ok_or_else(|| CidrError::Prefix {
                    text: text.to_owned(),
                    width,
                })?,
        };
        Ok(Cidr {
            address: masked(address, prefix),
            prefix,
        })
    }
}

/// Why a range could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CidrError {
    /// Not an IP address.
    Address(String),
    /// Not a prefix length of the address's family.
    Prefix {
        /// The text in place of the prefix length.
        text: String,
        /// The longest prefix length.
        width: u8,
    },
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CidrError::Address(text) => write!(
                f,
                "`{text}` is not an IP address; write 10.0.0.0/8 or fd00::/8"
            ),
            CidrError::Prefix { text, width } => {
                write!(f, "`/{text}` is not a prefix length from 0 to {width}")
            }
        }
    }
}

impl std::error::Error for CidrError {}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// Returns true for the address of an automatic tunnel (6to4, Teredo), which an attacker can use to
/// send a relay's packets in circles. Such clients are refused. RFC 8656 §21.4.
pub fn is_tunneled(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..]))
}

/// Returns true for an address of the IANA special-purpose registries, which a relay does not reach
/// by default.
fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => SPECIAL_V4.iter().any(|&(base, prefix)| {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            ip.to_bits() & mask == Ipv4Addr::from(base).to_bits()
        }),
        IpAddr::V6(ip) => SPECIAL_V6.iter().any(|&(base, prefix)| {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            ip.to_bits() & mask == Ipv6Addr::from(base).to_bits()
        }),
    }
}

/// Returns true if an address embeds an IPv4 address for which `matches` returns true.
fn embeds_matching(address: IpAddr, mut matches: impl FnMut(IpAddr) -> bool) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => embedded(ip)
            .into_iter()
            .flatten()
            .any(|ip| matches(IpAddr::V4(ip))),
    }
}

/// The IPv4 addresses that an IPv6 address embeds: mapped, compatible (`::1` is none), translated,
/// NAT64, 6to4, ISATAP, or Teredo, which embeds two.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = address.to_bits();
    let at = |shift: u32| Some(Ipv4Addr::from_bits((bits >> shift) as u32));
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [at(0), None],
        [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        | [0, 0, 0, 0, 0, 0, 0x100..=0xffff, _] => [at(0), None],
        [0x2002, ..] => [at(80), None],
        [0x2001, 0, ..] => [at(64), Some(Ipv4Addr::from_bits(!(bits as u32)))],
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => [at(0), None],
        _ => [None, None],
    }
}

const SPECIAL_V4: &[([u8; 4], u32)] = &[
    ([0, 0, 0, 0], 8),        // "this network", unspecified
    ([10, 0, 0, 0], 8),       // private
    ([100, 64, 0, 0], 10),    // shared: carrier-grade NAT
    ([127, 0, 0, 0], 8),      // loopback
    ([169, 254, 0, 0], 16),   // link-local; clouds' metadata at .169.254
    ([172, 16, 0, 0], 12),    // private
    ([192, 0, 0, 0], 24),     // protocol assignments
    ([192, 0, 2, 0], 24),     // documentation
    ([192, 31, 196, 0], 24),  // AS112
    ([192, 52, 193, 0], 24),  // automatic multicast tunneling
    ([192, 88, 99, 0], 24),   // 6to4 relay anycast
    ([192, 168, 0, 0], 16),   // private
    ([192, 175, 48, 0], 24),  // AS112
    ([198, 18, 0, 0], 15),    // benchmarking
    ([198, 51, 100, 0], 24),  // documentation
    ([203, 0, 113, 0], 24),   // documentation
    ([224, 0, 0, 0], 4),      // multicast
    ([240, 0, 0, 0], 4),      // reserved, and broadcast
    ([168, 63, 129, 16], 32), // a cloud's metadata on a public address
];

const SPECIAL_V6: &[([u16; 8], u32)] = &[
    ([0, 0, 0, 0, 0, 0, 0, 0], 96), // unspecified, loopback, IPv4-compatible
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), // IPv4-mapped
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), // IPv4-translated
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), // NAT64 of local use
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64), // discard
    ([0x100, 0, 0, 1, 0, 0, 0, 0], 64), // dummy prefix
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo (RFC 8656 §21.4: must not be accepted), ORCHID
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    ([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), // AS112
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), // 6to4 (RFC 8656 §21.4: likewise)
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), // segment routing
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),  // unique local: private
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), // link-local
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), // site-local
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),  // multicast
];

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(acl: &Acl, address: &str) -> Verdict {
        acl.verdict(address.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_refused_in_every_embedding() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert_eq!(verdict(&Acl::default(), inner), Verdict::Refused, "{inner}");
            let o = inner.parse::<Ipv4Addr>().unwrap().octets();
            let n = o.map(|octet| 255 - octet);
            for outer in [
                format!("::ffff:{inner}"),
                format!("::{inner}"),
                format!("::ffff:0:{inner}"),
                format!("64:ff9b::{inner}"),
                format!("2002:{:02x}{:02x}:{:02x}{:02x}::1", o[0], o[1], o[2], o[3]),
                format!(
                    "2001:0:0808:0808::{:02x}{:02x}:{:02x}{:02x}",
                    n[0], n[1], n[2], n[3]
                ),
                format!(
                    "2001:0:{:02x}{:02x}:{:02x}{:02x}::f7f7:f7f7",
                    o[0], o[1], o[2], o[3]
                ),
                format!("2a00::5efe:{inner}"),
            ] {
                assert_eq!(
                    verdict(&Acl::default(), &outer),
                    Verdict::Refused,
                    "{outer}"
                );
            }
        }
        for v6 in [
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001:20::1",
            "2001:1ff::1",
            "64:ff9b:1::808:808",
            "2002:808:808::1",
            "2620:4f:8000::1",
        ] {
            assert_eq!(verdict(&Acl::default(), v6), Verdict::Refused, "{v6}");
        }
        let all = Acl {
            allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            deny: vec![],
        };
        for unspecified in ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"] {
            assert_eq!(
                verdict(&all, unspecified),
                Verdict::Refused,
                "{unspecified} is refused even if everything is permitted"
            );
        }
    }

    #[test]
    fn ordinary_peers_are_permitted() {
        for address in [
            "8.8.8.8",
            "192.0.1.1",
            "172.32.0.1",
            "2001:200::1",
            "2a00::1",
            "64:ff9b::808:808",
        ] {
            assert_eq!(
                verdict(&Acl::default(), address),
                Verdict::Permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn the_longest_prefix_wins_and_a_tie_is_a_denial() {
        let rules = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        let acl = Acl {
            allow: rules(&["10.0.0.0/8", "8.8.8.8"]),
            deny: rules(&["10.1.0.0/16", "0.0.0.0/0"]),
        };
        assert_eq!(verdict(&acl, "10.2.0.1"), Verdict::Permitted);
        assert_eq!(verdict(&acl, "10.1.0.1"), Verdict::Refused);
        assert_eq!(verdict(&acl, "8.8.8.8"), Verdict::Permitted);
        assert_eq!(verdict(&acl, "8.8.4.4"), Verdict::Refused);
        let tie = Acl {
            allow: rules(&["10.0.0.0/8"]),
            deny: rules(&["10.0.0.0/8"]),
        };
        assert_eq!(verdict(&tie, "10.0.0.1"), Verdict::Refused);
    }

    #[test]
    fn permitting_all_of_ipv6_does_not_permit_embedded_ipv4() {
        let acl = Acl {
            allow: vec!["::/0".parse().unwrap()],
            deny: vec![],
        };
        assert_eq!(verdict(&acl, "64:ff9b::7f00:1"), Verdict::Refused);
        assert_eq!(verdict(&acl, "::ffff:127.0.0.1"), Verdict::Refused);
        assert_eq!(verdict(&acl, "fd00::1"), Verdict::Permitted);
        assert_eq!(verdict(&acl, "::1"), Verdict::Permitted);
    }

    #[test]
    fn errors_of_ranges_name_the_mistake() {
        assert_eq!(
            "10.1.2.3/8".parse::<Cidr>().unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert!(
            "10.0.0.0/33"
                .parse::<Cidr>()
                .unwrap_err()
                .to_string()
                .contains("32")
        );
        assert!(
            "ten"
                .parse::<Cidr>()
                .unwrap_err()
                .to_string()
                .contains("not an IP address")
        );
    }

    #[test]
    fn a_wildcard_listener_counts_on_every_own_address() {
        let own = OwnAddresses {
            listeners: vec!["0.0.0.0:3478".parse().unwrap()],
            addresses: vec!["203.0.113.5".parse().unwrap()],
        };
        assert!(own.is_listener("203.0.113.5:3478".parse().unwrap()));
        assert!(own.is_listener("127.0.0.2:3478".parse().unwrap()));
        assert!(!own.is_listener("203.0.113.5:3479".parse().unwrap()));
        assert!(!own.is_listener("203.0.113.6:3478".parse().unwrap()));
    }

    #[test]
    fn an_own_address_is_recognized_in_every_embedding() {
        let own = OwnAddresses {
            listeners: vec!["0.0.0.0:3478".parse().unwrap()],
            addresses: vec!["203.0.113.5".parse().unwrap()],
        };
        for ip in [
            "203.0.113.5",
            "64:ff9b::203.0.113.5",
            "2a00::5efe:203.0.113.5",
            "127.0.0.2",
            "::1",
            "64:ff9b::7f00:1",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(
                own.contains(ip) && own.is_listener(SocketAddr::new(ip, 3478)),
                "{ip}"
            );
            assert!(!own.is_listener(SocketAddr::new(ip, 3479)));
        }
        let other: IpAddr = "64:ff9b::203.0.113.6".parse().unwrap();
        assert!(!own.contains(other) && !own.is_listener(SocketAddr::new(other, 3478)));
    }
}
