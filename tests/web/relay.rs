//! Our own relay, in this process, on loopback: what the calls go through.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};

/// A relay that takes credentials minted from `secret`, and what it has relayed.
pub struct Relay {
    supervisor: Supervisor,
}

impl Relay {
    pub fn start(secret: &str) -> Relay {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut realm = Realm::new("calls");
        realm.credentials.add_secret(secret.to_owned());
        let relays = vec![RelayAddress {
            local: loopback,
            external: loopback,
        }];
        let mut plan = Plan::new([SocketAddr::new(loopback, 0)], Policy::new(realm, relays));
        plan.shards = 1;
        Relay {
            supervisor: Supervisor::start(plan).expect("a relay starts"),
        }
    }

    pub fn port(&self) -> u16 {
        self.supervisor.listener_addresses()[0].port()
    }
}
