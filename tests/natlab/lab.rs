//! The topology.
//!
//! ```text
//!     server     198.18.0.10 (page)  198.18.0.11 (TURN)   2001:db8::10  2001:db8::11
//!        |
//!      core      "the Internet": routed, counted, no way out
//!      /    \
//!  router  router     198.18.1.2, 198.18.2.2: the NATs
//!     |      |
//!   home   home       192.168.1.2, 192.168.2.2  (open: 198.19.N.2, IPv6 only: 2001:db8:N:a::2)
//! ```
//!
//! Or both homes behind the first router: on one switch, or on two LANs that it keeps apart.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::nat::{Nat, Router};
use crate::support::namespace::Namespace;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    A,
    B,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wiring {
    /// Each behind its own router.
    Apart,
    /// Both behind the first router, on one switch.
    Switch,
    /// Both behind the first router, on LANs between which it does not forward.
    Isolated,
}

/// The whole lab, removed when it is dropped.
pub struct Lab {
    /// Runs page and relay.
    pub server: Namespace,
    core: Namespace,
    routers: Vec<Namespace>,
    homes: [Namespace; 2],
    kinds: [Nat; 2],
    wiring: Wiring,
}

/// Packets that the core has carried since [`Lab::reset_counters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Carried {
    /// UDP between the homes' networks.
    pub home_to_home: u64,
    /// UDP to the TURN address, ports of the server itself.
    pub turn_udp: u64,
    /// TCP to the TURN address.
    pub turn_tcp: u64,
    /// UDP from the homes to relayed addresses of the server.
    pub to_relayed: u64,
}

impl Lab {
    /// Builds the lab: routers of these kinds, homes addressed accordingly.
    pub fn new(wiring: Wiring, a: Router, b: Router) -> Lab {
        let core = Namespace::new("core");
        let server = Namespace::new("server");
        cable(&server, "eth0", &core, "srv");
        core.ip("addr add 198.18.0.1/24 dev srv\naddr add 2001:db8::1/64 dev srv nodad\n");
        server.ip(
            "addr add 198.18.0.10/24 dev eth0\naddr add 198.18.0.11/24 dev eth0
            addr add 2001:db8::10/64 dev eth0 nodad\naddr add 2001:db8::11/64 dev eth0 nodad
            route add default via 198.18.0.1\nroute add default via 2001:db8::1\n",
        );
        core.nft(CORE);
        let homes = [Namespace::new("home a"), Namespace::new("home b")];
        let mut lab = Lab {
            server,
            core,
            routers: Vec::new(),
            homes,
            kinds: [Nat::PortRestricted; 2],
            wiring,
        };
        lab.add_router(Side::A);
        match wiring {
            Wiring::Apart => lab.add_router(Side::B),
            Wiring::Switch => lab.share_switch(),
            Wiring::Isolated => lab.share_router(),
        }
        lab.become_kind(Side::A, a);
        if wiring == Wiring::Apart {
            lab.become_kind(Side::B, b);
        }
        lab
    }

    /// The namespace of a home.
    pub fn home(&self, side: Side) -> &Namespace {
        &self.homes[side.index()]
    }

    /// The outer address of the router before a home.
    pub fn wan(&self, side: Side) -> Ipv4Addr {
        match self.wiring {
            Wiring::Apart => Ipv4Addr::new(198, 18, side.number(), 2),
            Wiring::Switch | Wiring::Isolated => Ipv4Addr::new(198, 18, 1, 2),
        }
    }

    /// The address of a home, for sockets bound to it.
    pub fn address(&self, side: Side) -> IpAddr {
        let n = side.number();
        match (self.kinds[side.index()], self.wiring, side) {
            (_, Wiring::Switch, Side::B) => Ipv4Addr::new(192, 168, 1, 3).into(),
            (_, Wiring::Isolated, Side::B) => Ipv4Addr::new(192, 168, 3, 2).into(),
            (Nat::Open, ..) => Ipv4Addr::new(198, 19, n, 2).into(),
            (Nat::Ipv6Only, ..) => Ipv6Addr::new(0x2001, 0xdb8, n.into(), 0xa, 0, 0, 0, 2).into(),
            _ => Ipv4Addr::new(192, 168, n, 2).into(),
        }
    }

    /// Changes the kind of a router: replaces its ruleset in one transaction, flushes its
    /// connection tracking, and gives its home the address for that kind.
    pub fn become_kind(&mut self, side: Side, router: Router) {
        let machine = self
            .routers
            .get(side.index())
            .expect("this home has no router of its own");
        machine.nft(&router.rules(self.wan(side)));
        machine.feed(&["conntrack", "-F"], "");
        if self.kinds[side.index()] == router.nat {
            return;
        }
        self.kinds[side.index()] = router.nat;
        let n = side.number();
        let gateway = match router.nat {
            Nat::Open => format!("198.19.{n}.1"),
            Nat::Ipv6Only => format!("2001:db8:{n}:a::1"),
            _ => format!("192.168.{n}.1"),
        };
        let (address, width) = (
            self.address(side),
            if router.nat == Nat::Ipv6Only { 64 } else { 24 },
        );
        self.homes[side.index()].ip(&format!(
            "addr flush dev eth0 scope global\naddr add {address}/{width} dev eth0 nodad\nroute replace default via {gateway}\n"
        ));
    }

    pub fn reset_counters(&self) {
        self.core
            .feed(&["nft", "reset", "counters", "table", "inet", "core"], "");
    }

    pub fn carried(&self) -> Carried {
        let listing = self.core.feed(
            &["nft", "-j", "list", "counters", "table", "inet", "core"],
            "",
        );
        let listing: Value = serde_json::from_str(&listing).expect("nft speaks JSON");
        let packets = |name: &str| {
            let all = listing["nftables"].as_array().expect("a list");
            let found = all.iter().find(|entry| entry["counter"]["name"] == name);
            found
                .and_then(|entry| entry["counter"]["packets"].as_u64())
                .expect("a counter")
        };
        Carried {
            home_to_home: packets("home_to_home"),
            turn_udp: packets("turn_udp"),
            turn_tcp: packets("turn_tcp"),
            to_relayed: packets("to_relayed"),
        }
    }

    /// Drops all packets between the homes' networks from now on.
    pub fn cut(&self) {
        self.core
            .nft("add rule inet core trouble iifname \"w*\" oifname \"w*\" drop\n");
    }

    /// Drops this percentage of all packets in the core from now on.
    pub fn lose(&self, percent: u8) {
        self.core.nft(&format!(
            "add rule inet core trouble numgen random mod 100 < {percent} drop\n"
        ));
    }

    /// Ends [`Lab::cut`] and [`Lab::lose`].
    pub fn heal(&self) {
        self.core.nft("flush chain inet core trouble\n");
    }

    /// Sets the largest packet between core and routers.
    pub fn set_mtu(&self, octets: u16) {
        for (router, link) in self.routers.iter().zip(["wa", "wb"]) {
            router.ip(&format!("link set wan mtu {octets}\n"));
            self.core.ip(&format!("link set {link} mtu {octets}\n"));
        }
    }

    /// A router with its link to the core and to its home.
    fn add_router(&mut self, side: Side) {
        let n = side.number();
        let router = Namespace::new(if side == Side::A {
            "router a"
        } else {
            "router b"
        });
        let link = if side == Side::A { "wa" } else { "wb" };
        cable(&router, "wan", &self.core, link);
        cable(self.home(side), "eth0", &router, "lan");
        self.core.ip(&format!(
            "addr add 198.18.{n}.1/24 dev {link}\naddr add 2001:db8:{n}::1/64 dev {link} nodad
             route add 198.19.{n}.0/24 via 198.18.{n}.2\nroute add 2001:db8:{n}:a::/64 via 2001:db8:{n}::2\n"
        ));
        router.ip(&format!(
            "addr add 198.18.{n}.2/24 dev wan\naddr add 2001:db8:{n}::2/64 dev wan nodad
             route add default via 198.18.{n}.1\nroute add default via 2001:db8:{n}::1
             addr add 192.168.{n}.1/24 dev lan\naddr add 198.19.{n}.1/24 dev lan\naddr add 2001:db8:{n}:a::1/64 dev lan nodad\n"
        ));
        self.home(side).ip(&format!(
            "addr add 192.168.{n}.2/24 dev eth0\nroute add default via 192.168.{n}.1\n"
        ));
        self.routers.push(router);
    }

    /// The second home on the first router's switch.
    fn share_switch(&mut self) {
        let router = &self.routers[0];
        router.ip("link set lan down\nlink set lan name port0\nlink add lan type bridge\nlink set port0 master lan
            addr flush dev port0\naddr add 192.168.1.1/24 dev lan\nlink set port0 up\nlink set lan up\n");
        cable(self.home(Side::B), "eth0", router, "port1");
        router.ip("link set port1 master lan\n");
        // IP hooks on the bridge would break the DNAT of hairpinning.
        router.enter(|| {
            for family in ["iptables", "ip6tables", "arptables"] {
                let _absent_without_the_module =
                    std::fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}"), "0");
            }
        });
        self.home(Side::B)
            .ip("addr add 192.168.1.3/24 dev eth0\nroute add default via 192.168.1.1\n");
    }

    /// The second home on a LAN of its own at the first router.
    fn share_router(&mut self) {
        let router = &self.routers[0];
        cable(self.home(Side::B), "eth0", router, "lan2");
        router.ip("addr add 192.168.3.1/24 dev lan2\n");
        self.home(Side::B)
            .ip("addr add 192.168.3.2/24 dev eth0\nroute add default via 192.168.3.1\n");
    }
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    fn index(self) -> usize {
        self as usize
    }

    fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Carried {
            home_to_home,
            turn_udp,
            turn_tcp,
            to_relayed,
        } = self;
        write!(
            f,
            "home-home {home_to_home}, to TURN udp {turn_udp} tcp {turn_tcp}, to relayed {to_relayed}"
        )
    }
}

/// Connects two namespaces, with both ends up.
fn cable(one: &Namespace, plug: &str, other: &Namespace, socket: &str) {
    one.ip(&format!(
        "link add {plug} type veth peer name {socket} netns {}\nlink set {plug} up\n",
        other.path()
    ));
    other.ip(&format!("link set {socket} up\n"));
}

/// The core counts, and drops packets on request. It has no connection tracking.
const CORE: &str = "table inet core {
  counter home_to_home { }
  counter turn_udp { }
  counter turn_tcp { }
  counter to_relayed { }
  chain count { type filter hook forward priority -10; policy accept;
    iifname \"w*\" oifname \"w*\" meta l4proto udp counter name home_to_home
    ip daddr 198.18.0.11 udp dport != 40000-65535 counter name turn_udp
    ip6 daddr 2001:db8::11 udp dport != 40000-65535 counter name turn_udp
    ip daddr 198.18.0.11 meta l4proto tcp counter name turn_tcp
    ip6 daddr 2001:db8::11 meta l4proto tcp counter name turn_tcp
    ip daddr 198.18.0.11 udp dport 40000-65535 counter name to_relayed
    ip6 daddr 2001:db8::11 udp dport 40000-65535 counter name to_relayed
  }
  chain trouble { type filter hook forward priority 0; policy accept; }
}
";
