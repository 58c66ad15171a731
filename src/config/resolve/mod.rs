//! What a configuration means: every text understood, every default filled in, every contradiction found.

pub(crate) mod advertised;
pub(crate) mod limits;
pub(crate) mod realms;
#[cfg(test)]
mod tests;
pub mod tls;
pub(crate) mod web;

use crate::config::error::{Diagnostic, Error, Source};
use crate::config::host_info::{AUTO, HostInfo};
use crate::config::layers::{Layer, Resolver};
use crate::config::public_ip::PublicAddresses;
use crate::config::resolve::realms::CredentialSource;
use crate::config::resolve::tls::TlsSettings;
use crate::config::resolve::web::Web;
use crate::config::schema;
use crate::config::value;
use crate::config::value::AdminAddress;
use crate::net::IoMode;
use crate::relay::{Listener, Plan};
use crate::service::usage::UsageSettings;
use crate::turn::policy::acl::{Acl, OwnAddresses};
use crate::turn::policy::realm::Realm;
use crate::turn::policy::{Alternate, Discovery};
use crate::turn::{Limits, Policy, RelayAddress};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A configuration as it is meant.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the relay runs.
    pub plan: Plan,
    /// The operators' listener.
    pub admin: Option<AdminAddress>,
    /// What operators show to be let in.
    pub admin_token: Option<String>,
    /// How long allocations may live on once the server leaves.
    pub drain_timeout: Duration,
    /// Where the next server takes over from this one.
    pub handover: Option<PathBuf>,
    /// The web listener.
    pub web: Web,
    /// Who gets to know what users used.
    pub usage: UsageSettings,
    /// TLS and what comes with it; its plan is in the relay's.
    pub tls: TlsSettings,
    /// How it logs.
    pub logs: LogSettings,
    /// What clients log in with, in words for `iceServers`.
    pub credentials: CredentialSource,
    /// What holds but should not: a contradiction that a server can run with.
    pub warnings: Vec<Diagnostic>,
    /// What may well be meant, and had better be known.
    pub advice: Vec<Diagnostic>,
}

/// How a server logs, to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How much: a level, or a list of targets with levels.
    pub level: String,
    /// An object a line instead of a sentence.
    pub json: bool,
}

/// Understands a configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn resolve(written: &Layer, host: &HostInfo) -> Result<Settings, Error> {
    let mut reader = Resolver::new(written);
    let encrypted = reader.has(&schema::CERTIFICATE) || reader.has(&schema::ACME_DOMAIN);
    let listeners = listeners(&mut reader, host, encrypted);
    let relay_addresses = relay_addresses(&mut reader, host);
    let relay_ports = reader
        .one(&schema::RELAY_PORTS, value::ports)
        .unwrap_or(49_152..=65_535);
    let limits = limits::limits(&mut reader, Limits::default());
    let (realms, login) = realms::all(&mut reader, written, host, &limits);
    let admin = reader
        .one(&schema::ADMIN, value::admin_address)
        .unwrap_or(Some(AdminAddress::Address(ADMIN)));
    let mut tokens: Vec<String> = reader
        .one(&schema::ADMIN_TOKEN, value::text)
        .into_iter()
        .collect();
    tokens.extend(realms::secrets_of_files(
        &mut reader,
        &schema::ADMIN_TOKEN_FILE,
    ));
    let drain = reader
        .one(&schema::DRAIN_TIMEOUT, value::duration)
        .unwrap_or(DRAIN);
    let handover = reader
        .one(&schema::HANDOVER, value::text)
        .map(PathBuf::from);
    let web = web::settings(&mut reader, &login);
    let secure = tls::settings(&mut reader, web.address.is_some());
    let mut policy = Policy::new(Realm::new(""), relay_addresses);
    policy.realms = realms.into_iter().map(Arc::new).collect();
    policy.limits = limits;
    redirection(&mut reader, &mut policy);
    policy.password_algorithms = reader
        .one(&schema::PASSWORD_ALGORITHMS, value::switch)
        .unwrap_or(true);
    policy.sha1 = reader.one(&schema::SHA1, value::switch).unwrap_or(true);
    policy.mobility = reader.one(&schema::MOBILITY, value::switch).unwrap_or(true);
    policy.tcp_relays = reader
        .one(&schema::TCP_RELAYS, value::switch)
        .unwrap_or(true);
    policy.software = reader.one(&schema::SOFTWARE, software);
    let operators = match admin {
        Some(AdminAddress::Address(address)) => Some(address),
        _ => None,
    };
    policy.own_addresses = OwnAddresses {
        listeners: operators.into_iter().chain(web.address).collect(),
        addresses: Vec::new(),
    };
    let mut listeners = listeners;
    policy.discovery = discovery(&mut reader, &mut listeners);
    let mut plan = Plan::new([], policy);
    plan.listeners = listeners;
    plan.secure = secure.plan.clone();
    plan.connection_limits.handshakes = tls::handshakes(&mut reader);
    plan.relay_ports = relay_ports;
    plan.answer_rate = reader
        .one(&schema::ANSWER_RATE, value::number)
        .unwrap_or(2_000);
    plan.shards = reader.one(&schema::SHARDS, value::shards).unwrap_or(0);
    plan.path = reader
        .one(&schema::SOCKETS, |text| value::choice(text, SOCKETS))
        .unwrap_or_default();
    plan.allocation_log.anonymous = reader
        .one(&schema::LOG_ADDRESSES, |text| {
            value::choice(text, ADDRESSES)
        })
        .unwrap_or(false);
    let usage = usage(&mut reader);
    clashes(&mut reader, &plan, operators, web.address);
    let logs = LogSettings {
        level: reader
            .one(&schema::LOG_LEVEL, value::filter)
            .unwrap_or_else(|| "info".into()),
        json: reader
            .one(&schema::LOG_FORMAT, |text| value::choice(text, FORMATS))
            .unwrap_or(false),
    };
    if !reader.diagnostics.is_empty() {
        return Err(Error::new(reader.diagnostics));
    }
    contradictions(&mut reader, &plan, written);
    let warnings = std::mem::take(&mut reader.diagnostics);
    web::given_away(&mut reader, &web, &plan);
    let (admin_token, advice) = (tokens.into_iter().next(), reader.diagnostics);
    Ok(Settings {
        plan,
        admin,
        admin_token,
        drain_timeout: drain,
        handover,
        web,
        usage,
        tls: secure,
        logs,
        credentials: login,
        warnings,
        advice,
    })
}

impl Settings {
    /// The hosts and ports under which clients reach the listeners, given where those are bound.
    pub fn advertised_addresses(&self, bound: &[SocketAddr], host: &HostInfo) -> Vec<SocketAddr> {
        advertised::advertised_addresses(bound, &self.plan.policy.relay_addresses, host)
    }
}

fn listeners(reader: &mut Resolver, host: &HostInfo, encrypted: bool) -> Vec<Listener> {
    let diagnostics = reader.diagnostics.len();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for (origin, address) in reader.many_at(&schema::LISTEN, value::transport_address) {
        if addresses.contains(&address) && address.port() != 0 {
            reader.wrong_at(
                &origin,
                &schema::LISTEN,
                &format!("{address} is there twice; leave one out"),
            );
        }
        addresses.push(address);
    }
    let (v4, v6): (IpAddr, IpAddr) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    if !reader.has(&schema::LISTEN) {
        let ports: &[u16] = if encrypted {
            &[3478, 5349, 443]
        } else {
            &[3478]
        };
        addresses = [v4, v6]
            .into_iter()
            .flat_map(|all| ports.iter().map(move |port| SocketAddr::new(all, *port)))
            .collect();
    }
    if !host.ipv6 {
        // Everywhere, as far as there is such a place.
        let all = addresses.clone();
        let twin = |address: &SocketAddr| all.contains(&SocketAddr::new(v4, address.port()));
        addresses.retain(|address| address.ip() != v6 || !twin(address));
    }
    if addresses.is_empty() && reader.diagnostics.len() == diagnostics {
        reader.wrong(
            &schema::LISTEN,
            "a server without a listener serves nobody; write at least one IP:PORT",
        );
    }
    addresses.into_iter().map(Listener::new).collect()
}

/// An external address as it is written.
enum External {
    /// For the relay address that it names, or for the next of its family.
    Address { of: Option<IpAddr>, address: IpAddr },
    /// Somebody else says.
    Auto,
}

fn external(text: &str) -> Result<External, String> {
    match text.split_once('=') {
        Some((of, address)) => Ok(External::Address {
            of: Some(value::ip(of)?),
            address: value::ip(address)?,
        }),
        None if text == AUTO => Ok(External::Auto),
        None => Ok(External::Address {
            of: None,
            address: value::ip(text)?,
        }),
    }
}

fn relay_addresses(reader: &mut Resolver, host: &HostInfo) -> Vec<RelayAddress> {
    let mut locals: Vec<IpAddr> = Vec::new();
    for (origin, local) in reader.many_at(&schema::RELAY_ADDRESS, value::ip) {
        if locals.contains(&local) {
            reader.wrong_at(
                &origin,
                &schema::RELAY_ADDRESS,
                &format!("{local} is there twice; leave one out"),
            );
        }
        locals.push(local);
    }
    if locals.is_empty() {
        locals = host.relay_addresses();
    }
    let mut relays: Vec<RelayAddress> = locals
        .into_iter()
        .map(|local| RelayAddress {
            local,
            external: local,
        })
        .collect();
    let stun = reader.one(&schema::EXTERNAL_STUN, value::host_and_port);
    let mut told: Vec<IpAddr> = Vec::new();
    for (origin, external) in reader.many_at(&schema::EXTERNAL_ADDRESS, external) {
        let External::Address { of, address } = external else {
            ask_others(reader, &origin, &mut relays, host, stun.as_deref());
            continue;
        };
        let matches = |relay: &&mut RelayAddress| match of {
            Some(of) => relay.local == of,
            None => relay.local.is_ipv4() == address.is_ipv4() && !told.contains(&relay.local),
        };
        match relays.iter_mut().find(matches) {
            Some(relay) if relay.local.is_ipv4() == address.is_ipv4() => {
                relay.external = address;
                told.push(relay.local);
            }
            Some(relay) => {
                let message = format!(
                    "{address} is of another family than the relay address {}",
                    relay.local
                );
                reader.wrong_at(&origin, &schema::EXTERNAL_ADDRESS, &message);
            }
            None => {
                let message = format!(
                    "no relay address is left for {address}; name one more with relay_address"
                );
                reader.wrong_at(&origin, &schema::EXTERNAL_ADDRESS, &message);
            }
        }
    }
    relays
}

/// SOFTWARE has at most 127 characters. RFC 8489 §14.14.
fn software(text: &str) -> Result<String, String> {
    if text.chars().count() > 127 {
        return Err("SOFTWARE has at most 127 characters".into());
    }
    value::text(text)
}

/// Tells clients what somebody outside says. Where only one of the families is known the other stays as it is.
fn ask_others(
    reader: &mut Resolver,
    origin: &Source,
    relays: &mut [RelayAddress],
    host: &HostInfo,
    stun: Option<&str>,
) {
    let Some(public) = host.public else { return };
    if public == PublicAddresses::default() {
        let message = match stun {
            Some(server) => format!(
                "the STUN server that external_stun names, {server}, does not answer, so this host's public address is not \
                 known; see whether it runs and whether its answers get through, or write the address"
            ),
            None => {
                "no cloud's metadata service answers, so this host's public address is not known; set external_stun, \
                     or write the address"
                    .to_owned()
            }
        };
        reader.transient_at(origin, &schema::EXTERNAL_ADDRESS, &message);
    }
    for relay in relays.iter_mut() {
        let told = if relay.local.is_ipv4() {
            public.v4
        } else {
            public.v6
        };
        relay.external = told.unwrap_or(relay.external);
    }
}

fn usage(reader: &mut Resolver) -> UsageSettings {
    let interval = reader
        .one(&schema::USAGE_INTERVAL, value::duration)
        .unwrap_or(INTERVAL);
    if interval < Duration::from_secs(1) {
        reader.wrong(
            &schema::USAGE_INTERVAL,
            "so many lines are of no use; write 1s or more",
        );
    }
    UsageSettings {
        file: reader
            .one(&schema::USAGE_FILE, value::text)
            .map(PathBuf::from),
        webhook: reader.one(&schema::USAGE_WEBHOOK, value::url),
        spool: reader
            .one(&schema::USAGE_SPOOL, value::text)
            .map_or_else(|| SPOOL.into(), PathBuf::from),
        spool_bytes: reader
            .one(&schema::USAGE_SPOOL_SIZE, value::octets)
            .unwrap_or(64 << 20),
        interval,
    }
}

/// Where new clients are sent instead of being served here.
fn redirection(reader: &mut Resolver, policy: &mut Policy) {
    let servers = reader.many(&schema::ALTERNATE_SERVER, value::transport_address);
    let domain = reader.one(&schema::ALTERNATE_DOMAIN, value::text);
    policy.redirect = reader
        .one(&schema::REDIRECT, value::switch)
        .unwrap_or(false);
    if servers.is_empty() {
        if domain.is_some() {
            reader.wrong(
                &schema::ALTERNATE_DOMAIN,
                "a name alone leads nowhere; set alternate_server too",
            );
        }
        if policy.redirect {
            reader.wrong(
                &schema::REDIRECT,
                "there is nowhere to send clients; set alternate_server too",
            );
        }
        return;
    }
    policy.alternate = Some(Alternate { servers, domain });
}

/// The four addresses of RFC 5780, for each family that has a second address; all four listen.
fn discovery(reader: &mut Resolver, listeners: &mut Vec<Listener>) -> Vec<Discovery> {
    let key = &schema::ALTERNATE_LISTEN;
    let mut found: Vec<Discovery> = Vec::new();
    for (origin, alternate) in reader.many_at(key, value::transport_address) {
        let family = |address: SocketAddr| address.is_ipv4() == alternate.is_ipv4();
        let primary = listeners
            .iter()
            .map(|listener| listener.address)
            .find(|address| family(*address));
        let message = match primary {
            None => format!("no listener has the family of {alternate}"),
            Some(_) if found.iter().any(|known| family(known.primary)) => {
                "one of each family is enough".into()
            }
            Some(primary) if primary.ip().is_unspecified() || alternate.ip().is_unspecified() => {
                format!("{primary} and {alternate} must both name an address of this host")
            }
            Some(primary)
                if primary.ip() == alternate.ip() || primary.port() == alternate.port() =>
            {
                format!("{alternate} must differ from {primary} in address and port")
            }
            Some(primary) => {
                found.push(Discovery { primary, alternate });
                continue;
            }
        };
        reader.wrong_at(&origin, key, &message);
    }
    for address in found.iter().flat_map(Discovery::listeners) {
        if !listeners.iter().any(|listener| listener.address == address) {
            listeners.push(Listener::new(address));
        }
    }
    found
}

/// What a server can run with, but what its operator cannot have meant.
fn contradictions(reader: &mut Resolver, plan: &Plan, written: &Layer) {
    let ports = u32::from(*plan.relay_ports.end()) - u32::from(*plan.relay_ports.start()) + 1;
    let relays = &plan.policy.relay_addresses;
    let room = [true, false].map(|v4| {
        ports.saturating_mul(relays.iter().filter(|r| r.local.is_ipv4() == v4).count() as u32)
    });
    let (room, limits) = (room.into_iter().max().unwrap_or(0), &plan.policy.limits);
    for (key, wanted) in [
        (&schema::MAX_ALLOCATIONS, limits.allocations),
        (&schema::REALM_ALLOCATIONS, limits.allocations_per_realm),
        (&schema::USER_ALLOCATIONS, limits.allocations_per_user),
        (&schema::ADDRESS_ALLOCATIONS, limits.allocations_per_address),
    ] {
        if wanted != u32::MAX && wanted > room {
            let message = format!(
                "{wanted} allocations do not fit into {room} relayed ports; widen relay_ports or add a relay_address"
            );
            reader.wrong(key, &message);
        }
    }
    let private = Acl::default();
    for (origin, external) in reader.many_at(&schema::EXTERNAL_ADDRESS, external) {
        let External::Address { address, .. } = external else {
            continue;
        };
        if !private.permits(address, false) {
            let message =
                format!("{address} is not a public address, so clients elsewhere cannot reach it");
            reader.wrong_at(&origin, &schema::EXTERNAL_ADDRESS, &message);
        }
    }
    realms::short_secrets(reader, written);
    same_port(reader, plan, written);
}

/// Two listeners that cannot both be opened: relay, web and operators' take TCP connections, each for itself.
fn clashes(reader: &mut Resolver, plan: &Plan, admin: Option<SocketAddr>, web: Option<SocketAddr>) {
    let services = [(&schema::WEB, web), (&schema::ADMIN, admin)];
    for (key, address) in services
        .into_iter()
        .filter_map(|(key, address)| Some((key, address?)))
    {
        let clashing = plan
            .listeners
            .iter()
            .map(|listener| listener.address)
            .find(|other| clash(address, *other));
        if let Some(other) = clashing {
            let message = format!(
                "{} at {address} and the listener {other} want the same TCP port; move one",
                key.name
            );
            reader.wrong(
                if reader.has(key) {
                    key
                } else {
                    &schema::LISTEN
                },
                &message,
            );
        }
    }
    if let (Some(web), Some(admin)) = (web, admin)
        && clash(web, admin)
    {
        let key = if reader.has(&schema::WEB) {
            &schema::WEB
        } else {
            &schema::ADMIN
        };
        reader.wrong(
            key,
            &format!("web at {web} and admin at {admin} want the same TCP port; move one"),
        );
    }
}

/// Whether a service's address leaves no room for another: `[::]` is everywhere there, for IPv4 too.
fn clash(service: SocketAddr, other: SocketAddr) -> bool {
    let family = service.is_ipv4() == other.is_ipv4();
    let everywhere = service.ip().is_unspecified() && (family || service.is_ipv6());
    let same =
        everywhere || (family && (other.ip().is_unspecified() || service.ip() == other.ip()));
    same && service.port() == other.port() && service.port() != 0
}

fn same_port(reader: &mut Resolver, plan: &Plan, written: &Layer) {
    for listener in &plan.listeners {
        let relay = |relay: &RelayAddress| {
            listener.address.ip().is_unspecified() || relay.local == listener.address.ip()
        };
        if plan.relay_ports.contains(&listener.address.port())
            && plan.policy.relay_addresses.iter().any(relay)
        {
            let key = if written.has(&schema::RELAY_PORTS) {
                &schema::RELAY_PORTS
            } else {
                &schema::LISTEN
            };
            let message = format!(
                "the listener {} lies in the range of relayed ports",
                listener.address
            );
            reader.wrong(key, &message);
        }
    }
}

/// The default of `admin`.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9641);
/// The default of `drain_timeout`.
const DRAIN: Duration = Duration::from_secs(5);
/// The default of `usage_interval`.
const INTERVAL: Duration = Duration::from_secs(300);
/// The default of `usage_spool`.
const SPOOL: &str = "/var/lib/hairpin/usage";
const ADDRESSES: &[(&str, bool)] = &[("full", false), ("network", true)];
const SOCKETS: &[(&str, IoMode)] = &[("batched", IoMode::Batched), ("plain", IoMode::Portable)];
const FORMATS: &[(&str, bool)] = &[("human", false), ("json", true)];
