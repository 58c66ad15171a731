//! A relay in the test's own process, on loopback.

use super::certificate::self_signed;
use super::client::{Client, PASSWORD, SERVER_NAME, USER};
use hairpin::net::TlsServer;
use hairpin::net::tls::server::TlsOptions;
use hairpin::relay::observe::counters::Counters;
use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::counters::Counter;
use hairpin::turn::policy::acl::Cidr;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
pub const BOTH: [IpAddr; 2] = [V4, V6];

pub struct Relay {
    pub supervisor: Supervisor,
    /// The first listener.
    pub address: SocketAddr,
}

/// A realm with one user, whose clients may reach loopback peers.
pub fn realm() -> Realm {
    let mut realm = Realm::new("test");
    realm.credentials.add_user("test", USER, PASSWORD);
    realm.peers.allow = vec![Cidr::new(V4, 8).unwrap(), Cidr::new(V6, 128).unwrap()];
    realm
}

/// One shard that listens on these addresses and relays from loopback.
pub fn plan(listeners: &[SocketAddr], realm: Realm) -> Plan {
    let relay_addresses = BOTH.map(|ip| RelayAddress {
        local: ip,
        external: ip,
    });
    let mut policy = Policy::new(realm, relay_addresses.to_vec());
    policy.limits.allocations_per_user = u32::MAX;
    policy.limits.new_peers = 0;
    Plan {
        shards: 1,
        pin: false,
        ..Plan::new(listeners.iter().copied(), policy)
    }
}

/// TLS and DTLS with a certificate for [`SERVER_NAME`].
pub fn tls(terms: TlsOptions) -> Arc<TlsServer> {
    Arc::new(TlsServer::new(vec![self_signed(SERVER_NAME).certificate], terms).unwrap())
}

impl Relay {
    /// Starts on a free port of `ip`, without TLS, after `change` has been applied to the plan.
    pub fn start(ip: IpAddr, change: impl FnOnce(&mut Plan)) -> Relay {
        Relay::start_on(&[any_port(ip)], change)
    }

    pub fn start_on(listeners: &[SocketAddr], change: impl FnOnce(&mut Plan)) -> Relay {
        let mut plan = plan(listeners, realm());
        change(&mut plan);
        Relay::run(plan)
    }

    fn run(plan: Plan) -> Relay {
        let supervisor = Supervisor::start(plan).unwrap();
        Relay {
            address: supervisor.listener_addresses()[0],
            supervisor,
        }
    }

    /// Starts with this realm in place of [`realm`].
    pub fn start_with_realm(ip: IpAddr, realm: Realm) -> Relay {
        Relay::run(plan(&[any_port(ip)], realm))
    }

    /// Starts with TLS and DTLS on the same port.
    pub fn start_secure(ip: IpAddr, change: impl FnOnce(&mut Plan)) -> Relay {
        Relay::start(ip, |plan| {
            plan.secure.tls = Some(tls(TlsOptions::default()));
            change(plan);
        })
    }

    pub fn udp(&self) -> Client {
        Client::udp(self.address)
    }
    pub fn tcp(&self) -> Client {
        Client::tcp(self.address)
    }
    pub fn tls(&self) -> Client {
        Client::tls(self.address)
    }
    pub fn dtls(&self) -> Client {
        Client::dtls(self.address)
    }

    /// A counter of the relay, summed over all shards.
    pub fn count(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        let statistics = self.supervisor.statistics();
        let shards = statistics.shards.iter();
        shards.map(|shard| counter(&shard.relay).get()).sum()
    }
}

/// An address of `ip` on which the kernel chooses the port.
pub fn any_port(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}
