//! The operator's decisions. A policy is never changed: a reload makes a new one and replaces the
//! old one as a whole. Existing allocations keep what they were granted.

pub mod access_token;
pub mod acl;
pub mod credentials;
pub mod discovery;
pub mod limits;
pub mod opaque;
pub mod realm;
pub mod reject;

use crate::turn::policy::acl::OwnAddresses;
use crate::turn::policy::discovery::Discovery;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::realm::Realm;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The operator's decisions, as far as they concern the protocol.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The realms, at least one. The first is the default.
    pub realms: Vec<Arc<Realm>>,
    /// Realms that a reload removed while they had allocations; their rules still apply to these.
    pub retired: Vec<Arc<Realm>>,
    /// The addresses that relay sockets bind to. Allocations of a family without one get 440.
    pub relay_addresses: Vec<RelayAddress>,
    /// The server's own addresses and listeners, which relays must not reach.
    pub own_addresses: OwnAddresses,
    /// Lifetimes, quotas and rates.
    pub limits: Limits,
    /// Offer the password algorithms of RFC 8489, and so SHA-256.
    pub password_algorithms: bool,
    /// Serve clients that support only SHA-1 integrity and MD5 keys.
    pub sha1: bool,
    /// Let clients move allocations to another five-tuple (RFC 8016); 405 otherwise.
    pub mobility: bool,
    /// Grant TCP relays (RFC 6062); 442 otherwise.
    pub tcp_relays: bool,
    /// Grant UDP relays; 403 otherwise (RFC 6062 §5.1).
    pub udp_relays: bool,
    /// The value of SOFTWARE in responses; no SOFTWARE if `None`.
    pub software: Option<String>,
    /// The listeners of NAT behavior discovery (RFC 5780), at most one set per family.
    pub discovery: Vec<Discovery>,
    /// The server that new clients are redirected to (300) while [`Policy::redirect`] or
    /// [`Policy::draining`] is set.
    pub alternate: Option<Alternate>,
    /// Redirect new allocations to the alternate server.
    pub redirect: bool,
    /// Refuse new allocations because the server drains: 300 with an alternate server, 508 without.
    pub draining: bool,
    /// The accounts of blocked users (403), see [`credentials::account`], and the Unix time at
    /// which each block ends.
    pub blocked: Vec<(Arc<str>, Duration)>,
}

/// An address that relay sockets bind to, and the address that clients see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// The address to bind.
    pub local: IpAddr,
    /// The address in XOR-RELAYED-ADDRESS: the same, or the public address of a 1:1 NAT.
    pub external: IpAddr,
}

/// The server that clients are redirected to. RFC 8489 §10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// ALTERNATE-SERVER: one address per family.
    pub servers: Vec<SocketAddr>,
    /// ALTERNATE-DOMAIN: the name in the certificate of that server.
    pub domain: Option<String>,
}

impl Alternate {
    /// Returns true if the alternate server has an address of the client's family, as RFC 8489 §10
    /// demands.
    pub fn serves(&self, client: SocketAddr) -> bool {
        self.servers
            .iter()
            .any(|server| server.is_ipv4() == client.is_ipv4())
    }
}

impl Policy {
    /// A policy with one realm and the defaults for everything else.
    pub fn new(realm: Realm, relay_addresses: Vec<RelayAddress>) -> Policy {
        Policy {
            realms: vec![Arc::new(realm)],
            retired: Vec::new(),
            relay_addresses,
            own_addresses: OwnAddresses::default(),
            limits: Limits::default(),
            password_algorithms: true,
            sha1: true,
            mobility: true,
            tcp_relays: false,
            udp_relays: true,
            software: None,
            discovery: Vec::new(),
            alternate: None,
            redirect: false,
            draining: false,
            blocked: Vec::new(),
        }
    }

    /// The set of listeners that contains `to`.
    pub fn discovery_at(&self, to: SocketAddr) -> Option<&Discovery> {
        self.discovery
            .iter()
            .find(|discovery| discovery.listeners().contains(&to))
    }

    /// The realm of a challenge: the first of these that exists. The realm that claims the
    /// request's ORIGIN, the realm with the name that a TLS server name chose, the realm of the
    /// listener at `server`, the first realm.
    pub fn realm_for(
        &self,
        server: SocketAddr,
        named: Option<&str>,
        origin: Option<&str>,
    ) -> Option<&Arc<Realm>> {
        let by_origin = |realm: &&Arc<Realm>| {
            origin.is_some_and(|origin| realm.origins.iter().any(|o| o == origin))
        };
        let by_name = |realm: &&Arc<Realm>| named == Some(&*realm.name);
        let realms = || self.realms.iter();
        realms()
            .find(by_origin)
            .or_else(|| realms().find(by_name))
            .or_else(|| realms().find(|realm| realm.has_listener(server)))
            .or_else(|| self.realms.first())
    }

    /// The realm of an allocation, by its name. An unknown realm has no users and the default
    /// rules.
    pub fn realm_named(&self, name: &str) -> Arc<Realm> {
        let known = self
            .realms
            .iter()
            .chain(&self.retired)
            .find(|realm| *realm.name == *name);
        known.cloned().unwrap_or_else(|| Arc::new(Realm::new(name)))
    }

    /// The realm that a TLS server name chooses.
    pub fn realm_of_server_name(&self, server_name: &str) -> Option<&Arc<Realm>> {
        let is_chosen = |realm: &&Arc<Realm>| {
            let mut names = realm.server_names.iter();
            names.any(|name| name.eq_ignore_ascii_case(server_name))
        };
        self.realms.iter().find(is_chosen)
    }

    /// Returns true if an account is blocked at this Unix time.
    pub fn blocks(&self, account: &str, unix_time: Duration) -> bool {
        self.blocked
            .iter()
            .any(|(blocked, until)| **blocked == *account && unix_time < *until)
    }

    /// The limits of a realm: its own, or the server's. The total of allocations and the total
    /// bandwidth are always the server's.
    pub fn limits_of(&self, realm: &Realm) -> Limits {
        let mut limits = realm.limits.clone().unwrap_or_else(|| self.limits.clone());
        limits.allocations = self.limits.allocations;
        limits.bandwidth.all = self.limits.bandwidth.all;
        limits
    }

    /// The transport address that clients see instead of the bound one.
    pub fn external(&self, local: SocketAddr) -> SocketAddr {
        let address = self
            .relay_addresses
            .iter()
            .find(|relay| relay.local == local.ip());
        SocketAddr::new(
            address.map_or(local.ip(), |relay| relay.external),
            local.port(),
        )
    }
}

/// RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds".
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// The lifetime of a channel binding. RFC 8656 §12.
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// The time for which number and peer of an expired channel stay reserved for each other. RFC 8656
/// §12.
pub const CHANNEL_COOLDOWN: Duration = Duration::from_secs(300);
