//! The kinds of router between a home and the Internet: their nftables rules, and their expected
//! behavior (RFC 4787, RFC 5128).

use std::fmt;
use std::net::Ipv4Addr;

/// The kind of router between a home and the Internet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Nat {
    /// Public address, routed, no filter.
    Open,
    /// Endpoint-independent mapping and filtering: every host may send to the mapped address.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// Endpoint-independent mapping that keeps the port, address- and port-dependent filtering: the
    /// common home router.
    PortRestricted,
    /// The same, the port translated.
    PortTranslated,
    /// Address- and port-dependent mapping and filtering: a port for every destination.
    Symmetric,
    /// Only TCP to port 443 leaves; everything else vanishes.
    UdpDropped,
    /// Only TCP to port 443 leaves; everything else is answered by ICMP.
    UdpRejected,
    /// No IPv4 in the home; IPv6 routed behind a stateful filter.
    Ipv6Only,
}

/// A kind of router, and whether two homes behind it reach each other by their mapped addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Router {
    pub nat: Nat,
    /// Hairpinning (RFC 4787 §6).
    pub hairpin: bool,
}

/// The destinations that share one mapped port (RFC 4787 §4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// All destinations: endpoint-independent mapping.
    EndpointIndependent,
    /// All ports of one address: address-dependent mapping.
    AddressDependent,
    /// A single address and port: address- and port-dependent mapping.
    AddressAndPortDependent,
}

/// The sources that may send to a mapped port (RFC 4787 §5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filtering {
    /// All: EIF.
    EndpointIndependent,
    /// Of addresses that were sent to: ADF.
    AddressDependent,
    /// Of addresses and ports that were sent to: APDF.
    AddressAndPortDependent,
}

/// The behavior of a router, observed from outside by UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Behaviour {
    /// UDP passes.
    Udp {
        /// Mapping, RFC 4787 §4.1.
        mapping: Mapping,
        /// Filtering, RFC 4787 §5.
        filtering: Filtering,
        /// Whether the address is another than the home's own.
        translated: bool,
        /// Whether the port is the home's own.
        port_kept: bool,
    },
    /// UDP does not pass.
    Blocked {
        /// ICMP says so.
        rejected: bool,
        /// TCP to port 443 passes.
        tcp_443: bool,
    },
}

impl Nat {
    /// Every kind, in the order of the matrix.
    pub const ALL: [Nat; 9] = [
        Nat::Open,
        Nat::FullCone,
        Nat::AddressRestricted,
        Nat::PortRestricted,
        Nat::PortTranslated,
        Nat::Symmetric,
        Nat::UdpDropped,
        Nat::UdpRejected,
        Nat::Ipv6Only,
    ];

    /// The behavior that this kind must show.
    pub fn claims(self) -> Behaviour {
        use Filtering as F;
        use Mapping as M;
        let udp = |mapping, filtering, translated, port_kept| Behaviour::Udp {
            mapping,
            filtering,
            translated,
            port_kept,
        };
        match self {
            Nat::Open => udp(M::EndpointIndependent, F::EndpointIndependent, false, true),
            Nat::FullCone => udp(M::EndpointIndependent, F::EndpointIndependent, true, true),
            Nat::AddressRestricted => udp(M::EndpointIndependent, F::AddressDependent, true, true),
            Nat::PortRestricted => udp(
                M::EndpointIndependent,
                F::AddressAndPortDependent,
                true,
                true,
            ),
            Nat::PortTranslated => udp(
                M::EndpointIndependent,
                F::AddressAndPortDependent,
                true,
                false,
            ),
            Nat::Symmetric => udp(
                M::AddressAndPortDependent,
                F::AddressAndPortDependent,
                true,
                false,
            ),
            Nat::UdpDropped => Behaviour::Blocked {
                rejected: false,
                tcp_443: true,
            },
            Nat::UdpRejected => Behaviour::Blocked {
                rejected: true,
                tcp_443: true,
            },
            Nat::Ipv6Only => udp(
                M::EndpointIndependent,
                F::AddressAndPortDependent,
                false,
                true,
            ),
        }
    }

    /// Returns true if two homes behind routers of these kinds can exchange UDP without a relay.
    pub fn direct(self, other: Nat) -> bool {
        if (self == Nat::Ipv6Only) != (other == Nat::Ipv6Only) {
            return false;
        }
        let (
            Behaviour::Udp {
                mapping: mine,
                filtering: my_filter,
                ..
            },
            Behaviour::Udp {
                mapping: theirs,
                filtering: their_filter,
                ..
            },
        ) = (self.claims(), other.claims())
        else {
            return false;
        };
        // A router that maps a port for each destination sends from an unknown port, so the filter
        // of the other must not check ports.
        let foretold = mine == Mapping::EndpointIndependent
            || their_filter != Filtering::AddressAndPortDependent;
        let foretold_back = theirs == Mapping::EndpointIndependent
            || my_filter != Filtering::AddressAndPortDependent;
        let one_known =
            mine == Mapping::EndpointIndependent || theirs == Mapping::EndpointIndependent;
        foretold && foretold_back && one_known
    }

    /// Returns true if IPv4 packets get a new source address.
    fn translates(self) -> bool {
        !matches!(self, Nat::Open | Nat::Ipv6Only)
    }
}

impl Router {
    /// A router of this kind that does not hairpin.
    pub fn plain(nat: Nat) -> Router {
        Router {
            nat,
            hairpin: false,
        }
    }

    /// A router of this kind that hairpins; only cones can.
    pub fn hairpinning(nat: Nat) -> Router {
        assert!(
            matches!(
                nat,
                Nat::FullCone | Nat::AddressRestricted | Nat::PortRestricted
            ),
            "{nat} has no hairpin rules"
        );
        Router { nat, hairpin: true }
    }

    /// The complete ruleset, which replaces the previous one, for a router with the outer address
    /// `wan`.
    pub fn rules(self, wan: Ipv4Addr) -> String {
        let mut rules = String::from("flush ruleset\n");
        rules.push_str(&self.filter(wan));
        if self.nat.translates() {
            rules.push_str(&self.translation(wan));
        }
        rules
    }

    /// A stateful home router. Unsolicited packets from outside must be *dropped* on input:
    /// answered by ICMP they would leave a conntrack entry that clashes with the later outgoing
    /// one, the port would be remapped, and the router would look symmetric.
    fn filter(self, wan: Ipv4Addr) -> String {
        let forward = match self.nat {
            Nat::Open => "accept",
            Nat::UdpDropped => {
                "iifname \"lan*\" oifname \"wan\" tcp dport 443 accept; iifname \"lan*\" oifname \"wan\" drop"
            }
            Nat::UdpRejected => {
                "iifname \"lan*\" oifname \"wan\" tcp dport 443 accept; iifname \"lan*\" oifname \"wan\" reject"
            }
            Nat::Ipv6Only => {
                "iifname \"lan*\" oifname \"wan\" accept; meta l4proto ipv6-icmp accept"
            }
            _ => "iifname \"lan*\" oifname \"wan\" accept",
        };
        format!(
            "table inet fw {{
               chain input {{ type filter hook input priority 0; policy accept;
                 ct state established,related accept
                 meta l4proto {{ icmp, ipv6-icmp }} accept
                 iifname \"wan\" drop
                 ip daddr {wan} udp dport 1024-65535 drop
               }}
               chain forward {{ type filter hook forward priority 0; policy drop;
                 ct state established,related accept
                 ct status dnat accept
                 {forward}
               }}
             }}\n"
        )
    }

    fn translation(self, wan: Ipv4Addr) -> String {
        let outward = match self.nat {
            Nat::PortTranslated => {
                format!(
                    "oifname \"wan\" meta l4proto udp snat to {wan}:10000-19999\noifname \"wan\" masquerade"
                )
            }
            Nat::Symmetric => "oifname \"wan\" masquerade fully-random".into(),
            _ => "oifname \"wan\" masquerade".into(),
        };
        // Conntrack admits only addresses and ports that the home has sent to. A wider filter, or
        // hairpinning, is a set of admitted sources that outgoing packets fill.
        let learnt = match self.nat {
            Nat::FullCone => Some(("inet_service", "udp sport", "udp dport")),
            Nat::AddressRestricted => Some((
                "inet_service . ipv4_addr",
                "udp sport . ip daddr",
                "udp dport . ip saddr",
            )),
            Nat::PortRestricted if self.hairpin => Some((
                "inet_service . ipv4_addr . inet_service",
                "udp sport . ip daddr . udp dport",
                "udp dport . ip saddr . udp sport",
            )),
            _ => None,
        };
        let Some((key, outgoing, incoming)) = learnt else {
            return format!(
                "table ip nat {{ chain post {{ type nat hook postrouting priority srcnat;\n{outward}\n}}\n}}\n"
            );
        };
        let (hairpin_in, hairpin_out) = if self.hairpin {
            // Between two homes our own outer address stands for the sender's.
            let own = incoming.replace("ip saddr", "ip daddr");
            (
                format!("iifname \"lan*\" ip daddr {wan} meta l4proto udp dnat to {own} map @m"),
                format!(
                    "iifname \"lan*\" oifname \"lan*\" ct status dnat meta l4proto udp snat to {wan}"
                ),
            )
        } else {
            (String::new(), String::new())
        };
        format!(
            "table ip nat {{
               map m {{ type {key} : ipv4_addr; flags dynamic,timeout; timeout 2m; size 65535; }}
               chain learn {{ type filter hook prerouting priority mangle; policy accept;
                 iifname \"lan*\" ip daddr != {{ 192.168.0.0/16 }} meta l4proto udp update @m {{ {outgoing} : ip saddr }}
               }}
               chain pre {{ type nat hook prerouting priority dstnat; policy accept;
                 iifname \"wan\" ip daddr {wan} meta l4proto udp dnat to {incoming} map @m
                 {hairpin_in}
               }}
               chain post {{ type nat hook postrouting priority srcnat; policy accept;
                 {outward}
                 {hairpin_out}
               }}
             }}\n"
        )
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Nat::Open => "open",
            Nat::FullCone => "full cone",
            Nat::AddressRestricted => "address-restricted",
            Nat::PortRestricted => "port-restricted",
            Nat::PortTranslated => "port-translated",
            Nat::Symmetric => "symmetric",
            Nat::UdpDropped => "UDP dropped",
            Nat::UdpRejected => "UDP rejected",
            Nat::Ipv6Only => "IPv6 only",
        })
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Behaviour::Udp {
                mapping,
                filtering,
                translated,
                port_kept,
            } => {
                let mapping = match mapping {
                    Mapping::EndpointIndependent => "EIM",
                    Mapping::AddressDependent => "ADM",
                    Mapping::AddressAndPortDependent => "APDM",
                };
                let filtering = match filtering {
                    Filtering::EndpointIndependent => "EIF",
                    Filtering::AddressDependent => "ADF",
                    Filtering::AddressAndPortDependent => "APDF",
                };
                let address = if translated {
                    "translated"
                } else {
                    "own address"
                };
                let port = if port_kept {
                    "port kept"
                } else {
                    "port changed"
                };
                write!(f, "{mapping}, {filtering}, {address}, {port}")
            }
            Behaviour::Blocked { rejected, tcp_443 } => {
                let how = if rejected { "rejected" } else { "dropped" };
                write!(
                    f,
                    "UDP {how}, TCP 443 {}",
                    if tcp_443 { "open" } else { "closed" }
                )
            }
        }
    }
}
