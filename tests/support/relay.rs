//! A relay in this process that shows a certificate.

use hairpin::net::tls::server::TlsOptions;
use hairpin::net::{Certificate, TlsServer};
use hairpin::relay::observe::counters::Counters;
use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::counters::Counter;
use hairpin::turn::policy::acl::Cidr;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};
use rcgen::{CertificateParams, KeyPair};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

pub const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
pub const BOTH: [IpAddr; 2] = [V4, V6];

pub struct Server {
    pub supervisor: Supervisor,
    pub address: SocketAddr,
    pub tls: Arc<TlsServer>,
}

impl Server {
    pub fn start(ip: IpAddr, change: impl FnOnce(&mut Plan)) -> Server {
        Server::with_terms(ip, TlsOptions::default(), change)
    }

    pub fn with_terms(ip: IpAddr, terms: TlsOptions, change: impl FnOnce(&mut Plan)) -> Server {
        let mut realm = Realm::new("test");
        realm.credentials.add_user("test", "alice", "wonderland");
        realm.peers.allow = vec![Cidr::new(V4, 8).unwrap(), Cidr::new(V6, 128).unwrap()];
        let relays = BOTH.map(|ip| RelayAddress {
            local: ip,
            external: ip,
        });
        let mut plan = Plan::new(
            [SocketAddr::new(ip, 0)],
            Policy::new(realm, relays.to_vec()),
        );
        plan.shards = 1;
        let tls = Arc::new(TlsServer::new(vec![certificate("relay.example").0], terms).unwrap());
        plan.secure.tls = Some(tls.clone());
        change(&mut plan);
        let supervisor = Supervisor::start(plan).unwrap();
        let address = supervisor.listener_addresses()[0];
        Server {
            supervisor,
            address,
            tls,
        }
    }

    /// A counter of the relay, summed over all shards.
    pub fn count(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        let statistics = self.supervisor.statistics();
        statistics
            .shards
            .iter()
            .map(|shard| counter(&shard.relay).get())
            .sum()
    }
}

/// A certificate for a name: itself, and as PEM with its key.
pub fn certificate(name: &str) -> (Arc<Certificate>, String, String) {
    let key = KeyPair::generate().unwrap();
    let chain = CertificateParams::new([name.to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap()
        .pem();
    let key = key.serialize_pem();
    (
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()),
        chain,
        key,
    )
}
