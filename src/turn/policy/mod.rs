//! What the operator decided. A policy is replaced whole, never changed: a reload makes a new one, and what lives
//! keeps what it was granted.

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

/// Everything that the protocol has to know and cannot decide.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The realms, the first of which is offered where nothing chooses another. At least one.
    pub realms: Vec<Arc<Realm>>,
    /// Realms that were taken away while they had allocations, which live on under their rules.
    pub retired: Vec<Arc<Realm>>,
    /// Where relayed transport addresses come from. A family without an address here is not supported (440).
    pub relay_addresses: Vec<RelayAddress>,
    /// This server's own addresses and listeners, which no relay may reach.
    pub own_addresses: OwnAddresses,
    /// How long things last and how many there may be.
    pub limits: Limits,
    /// Whether RFC 8489's password algorithms are offered, and so SHA-256.
    pub password_algorithms: bool,
    /// Whether clients that know nothing newer than SHA-1 integrity and MD5 keys are served.
    pub sha1: bool,
    /// Whether a client may move its allocation to another five-tuple (RFC 8016); 405 otherwise.
    pub mobility: bool,
    /// Whether TCP relays are granted (RFC 6062); 442 otherwise.
    pub tcp_relays: bool,
    /// Whether UDP relays are granted; 403 otherwise (RFC 6062 §5.1).
    pub udp_relays: bool,
    /// What SOFTWARE says, or nothing.
    pub software: Option<String>,
    /// NAT behaviour discovery (RFC 5780): two addresses and two ports, at most one such set for each family.
    pub discovery: Vec<Discovery>,
    /// Where new clients are sent instead (300) while [`Policy::redirect`] or [`Policy::draining`] says so.
    pub alternate: Option<Alternate>,
    /// Whether new allocations are sent to the alternate although this server stays.
    pub redirect: bool,
    /// Whether new allocations are refused because this server is leaving: 300 with an alternate, 508 without.
    pub draining: bool,
    /// Users whom the operator keeps out (403), by the name that quotas count by, and until when in Unix time.
    pub blocked: Vec<(Arc<str>, Duration)>,
}

/// An address that relay sockets bind to, and what clients are told instead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayAddress {
    /// Where sockets bind.
    pub local: IpAddr,
    /// What XOR-RELAYED-ADDRESS says: the same, or the public side of a 1:1 NAT.
    pub external: IpAddr,
}

/// Where a client is sent instead: ALTERNATE-SERVER, and for TLS the name that its certificate bears. RFC 8489 §10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternate {
    /// One address for each family.
    pub servers: Vec<SocketAddr>,
    /// ALTERNATE-DOMAIN.
    pub domain: Option<String>,
}

impl Alternate {
    /// Whether there is a server that a client of this family can be sent to: RFC 8489 §10 wants one.
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
            tcp_relays: true,
            udp_relays: true,
            software: None,
            discovery: Vec::new(),
            alternate: None,
            redirect: false,
            draining: false,
            blocked: Vec::new(),
        }
    }

    /// The set of four listeners that a request was sent to one of.
    pub fn discovery_at(&self, to: SocketAddr) -> Option<&Discovery> {
        self.discovery
            .iter()
            .find(|discovery| discovery.listeners().contains(&to))
    }

    /// The realm of a challenge: the first of these that exists. The realm that claims the request's ORIGIN, the realm with
    /// the name that a TLS server name chose, the realm of the listener at `server`, the first realm.
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
            .or_else(|| realms().find(|realm| realm.listens(server)))
            .or_else(|| self.realms.first())
    }

    /// The realm of an allocation, by its name. One that is not known any more has no users, and nobody's permission for anything
    /// special.
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

    /// Whether a user is kept out at a time of day.
    pub fn blocks(&self, user: &str, unix: Duration) -> bool {
        self.blocked
            .iter()
            .any(|(blocked, until)| **blocked == *user && unix < *until)
    }

    /// The limits of a realm's users: its own, or the server's. How many allocations there may be in all, and how fast all
    /// may be, is always the server's to say.
    pub fn limits_of(&self, realm: &Realm) -> Limits {
        let mut limits = realm.limits.clone().unwrap_or_else(|| self.limits.clone());
        limits.allocations = self.limits.allocations;
        limits.bandwidth.all = self.limits.bandwidth.all;
        limits
    }

    /// What clients are told of a transport address of ours that a socket is bound to.
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

/// The longest that a permission lasts. RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds".
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// The longest that a channel binding lasts. RFC 8656 §12.
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// How long an expired channel's number and peer stay reserved for each other. RFC 8656 §12.
pub const CHANNEL_COOLDOWN: Duration = Duration::from_secs(300);
