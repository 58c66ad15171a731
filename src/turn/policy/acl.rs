//! Which peers a relay may reach. A relay sits inside networks that its clients do not; every address that means
//! something only there is refused unless the operator says otherwise.
//!
//! Explicit rules beat the built-in ones; among explicit rules the longest prefix wins, and of two as long, the denial.
//! An IPv6 address that carries an IPv4 one is as reachable as the IPv4 address inside it (CVE-2020-26262,
//! CVE-2026-27624), never more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The operator's rules about peers, and this server's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Ranges that are permitted whatever the built-in rules say.
    pub allow: Vec<Cidr>,
    /// Ranges that are refused.
    pub deny: Vec<Cidr>,
}

/// What the rules say of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may be reached.
    Permitted,
    /// It may not.
    Refused,
}

impl Acl {
    /// Judges an address, whoever's it is.
    pub fn judge(&self, address: IpAddr) -> Verdict {
        let verdict = match self.explicit(address) {
            // To the system that is another name of this host.
            _ if address.is_unspecified() => Verdict::Refused,
            Some(verdict) => verdict,
            None if is_special(address) => Verdict::Refused,
            None => Verdict::Permitted,
        };
        let refused = carries(address, |ip| self.judge(ip) == Verdict::Refused);
        if refused { Verdict::Refused } else { verdict }
    }

    /// Whether an address may be reached; one of the server's own only where an explicit rule says so.
    pub fn permits(&self, address: IpAddr, own: bool) -> bool {
        self.judge(address) == Verdict::Permitted && (!own || self.explicit(address).is_some())
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

/// This server's own addresses, which a relay must not reach either, but for live relayed addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Where the server listens, for clients or for operators; a wildcard's port counts on every own address.
    pub listeners: Vec<SocketAddr>,
    /// Every address of this host that is known: relay addresses, external addresses, interfaces.
    pub addresses: Vec<IpAddr>,
}

impl OwnAddresses {
    /// Whether the transport address is one of the server's own listeners.
    pub fn is_listener(&self, address: SocketAddr) -> bool {
        let at = |ip: IpAddr| {
            self.listeners.iter().any(|listener| {
                let here = listener.ip() == ip || (listener.ip().is_unspecified() && self.has(ip));
                listener.port() == address.port() && here
            })
        };
        at(address.ip()) || carries(address.ip(), at)
    }

    /// Whether the address is this host's, or carries one that is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.has(address) || carries(address, |ip| self.has(ip))
    }

    /// All of 127.0.0.0/8 leads to this host, whatever an interface bears.
    fn has(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.contains(&address)
    }
}

/// A range of addresses: an address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// A range, or `None` when the prefix is longer than the address. Bits behind the prefix are cleared.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        let width = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= width).then(|| Cidr {
            address: masked(address, prefix),
            prefix,
        })
    }

    /// Whether the range contains the address. Families never match each other.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && masked(address, self.prefix) == self.address
    }
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `ADDRESS/PREFIX`, or a single address.
    fn from_str(text: &str) -> Result<Cidr, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| {
            format!("`{address}` is not an IP address; write 10.0.0.0/8 or fd00::/8")
        })?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            Some(text) => text
                .parse()
                .map_err(|_| format!("`/{text}` is not a prefix length from 0 to {width}"))?,
        };
        Cidr::new(address, prefix)
            .ok_or_else(|| format!("`{address}/{prefix}` is longer than {width} bits"))
    }
}

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

/// Whether an address is one end of an automatic tunnel, 6to4 or Teredo, through which a relay's answers could be made
/// to come back: such a client is not served. RFC 8656 §21.4.
pub fn is_tunneled(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if matches!(ip.segments(), [0x2002, ..] | [0x2001, 0, ..]))
}

/// Whether an address lies in a range that no relay should reach by default: the IANA special-purpose registries.
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

/// Whether one of the IPv4 addresses that an address carries is such a one.
fn carries(address: IpAddr, mut such: impl FnMut(IpAddr) -> bool) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => embedded(ip)
            .into_iter()
            .flatten()
            .any(|ip| such(IpAddr::V4(ip))),
    }
}

/// The IPv4 addresses that an IPv6 address carries: mapped, compatible (`::1` is not one),
/// translated, NAT64, 6to4, ISATAP, or Teredo, which carries two.
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

    fn judge(acl: &Acl, address: &str) -> Verdict {
        acl.judge(address.parse().unwrap())
    }

    #[test]
    fn special_addresses_are_refused_however_they_are_written() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert_eq!(judge(&Acl::default(), inner), Verdict::Refused, "{inner}");
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
                assert_eq!(judge(&Acl::default(), &outer), Verdict::Refused, "{outer}");
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
            assert_eq!(judge(&Acl::default(), v6), Verdict::Refused, "{v6}");
        }
        let all = Acl {
            allow: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            deny: vec![],
        };
        for unspecified in ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"] {
            assert_eq!(
                judge(&all, unspecified),
                Verdict::Refused,
                "{unspecified}, whatever is permitted"
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
                judge(&Acl::default(), address),
                Verdict::Permitted,
                "{address}"
            );
        }
    }

    #[test]
    fn the_longest_explicit_rule_wins_and_a_tie_is_a_denial() {
        let rules = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
        let acl = Acl {
            allow: rules(&["10.0.0.0/8", "8.8.8.8"]),
            deny: rules(&["10.1.0.0/16", "0.0.0.0/0"]),
        };
        assert_eq!(judge(&acl, "10.2.0.1"), Verdict::Permitted);
        assert_eq!(judge(&acl, "10.1.0.1"), Verdict::Refused);
        assert_eq!(judge(&acl, "8.8.8.8"), Verdict::Permitted);
        assert_eq!(judge(&acl, "8.8.4.4"), Verdict::Refused);
        let tie = Acl {
            allow: rules(&["10.0.0.0/8"]),
            deny: rules(&["10.0.0.0/8"]),
        };
        assert_eq!(judge(&tie, "10.0.0.1"), Verdict::Refused);
    }

    #[test]
    fn permitting_all_of_ipv6_does_not_permit_the_ipv4_inside() {
        let acl = Acl {
            allow: vec!["::/0".parse().unwrap()],
            deny: vec![],
        };
        assert_eq!(judge(&acl, "64:ff9b::7f00:1"), Verdict::Refused);
        assert_eq!(judge(&acl, "::ffff:127.0.0.1"), Verdict::Refused);
        assert_eq!(judge(&acl, "fd00::1"), Verdict::Permitted);
        assert_eq!(judge(&acl, "::1"), Verdict::Permitted);
    }

    #[test]
    fn ranges_are_read_with_their_mistakes_named() {
        assert_eq!(
            "10.1.2.3/8".parse::<Cidr>().unwrap().to_string(),
            "10.0.0.0/8"
        );
        assert!("10.0.0.0/33".parse::<Cidr>().unwrap_err().contains("32"));
        assert!(
            "ten"
                .parse::<Cidr>()
                .unwrap_err()
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
    fn an_own_address_is_one_however_it_is_written() {
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
