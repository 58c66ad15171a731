//! The relay's listeners: their addresses, and the check that no other listener has the same port.

use crate::config::host_info::HostInfo;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::schema::AnyKey;
use crate::relay::{Listener, Plan};
use crate::turn::policy::discovery::Discovery;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The listeners of `listen`, or the default ones.
pub(super) fn listeners(resolver: &mut Resolver, host: &HostInfo) -> Vec<Listener> {
    let errors = resolver.diagnostics.len();
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for listen in resolver.get_sourced(&schema::LISTEN) {
        let address = listen.value;
        // Port 0 stands for any free port, so that it may be there several times.
        if addresses.contains(&address) && address.port() != 0 {
            let message = format!("{address} is listed twice; remove one");
            resolver.error_at(&listen.source, &schema::LISTEN, message);
        }
        addresses.push(address);
    }
    if !resolver.has(&schema::LISTEN) {
        addresses = schema::LISTEN.default();
        if resolver.has(&schema::CERTIFICATE) || resolver.has(&schema::ACME_DOMAIN) {
            let plain = addresses.clone();
            addresses = plain
                .iter()
                .flat_map(|address| {
                    let secure = SECURE_PORTS.map(|port| SocketAddr::new(address.ip(), port));
                    [*address].into_iter().chain(secure)
                })
                .collect();
        }
    }
    if !host.ipv6 {
        let all = addresses.clone();
        let has_ipv4_twin = |address: &SocketAddr| {
            all.contains(&SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        };
        addresses
            .retain(|address| address.ip() != Ipv6Addr::UNSPECIFIED || !has_ipv4_twin(address));
    }
    if addresses.is_empty() && resolver.diagnostics.len() == errors {
        resolver.error(
            &schema::LISTEN,
            "the server needs a listener; write at least one IP:PORT",
        );
    }
    addresses.into_iter().map(Listener::new).collect()
}

/// The four addresses of RFC 5780 for each family that has a second address. Listeners for all four
/// are added.
pub(super) fn discovery(resolver: &mut Resolver, listeners: &mut Vec<Listener>) -> Vec<Discovery> {
    let mut found: Vec<Discovery> = Vec::new();
    for listen in resolver.get_sourced(&schema::ALTERNATE_LISTEN) {
        let alternate = listen.value;
        let same_family = |address: SocketAddr| address.is_ipv4() == alternate.is_ipv4();
        let primary = listeners
            .iter()
            .map(|listener| listener.address)
            .find(|address| same_family(*address));
        let message = match primary {
            None => format!("no listener has the address family of {alternate}"),
            Some(_) if found.iter().any(|other| same_family(other.primary)) => {
                format!("{alternate} is the second address of its family; write one per family")
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
        resolver.error_at(&listen.source, &schema::ALTERNATE_LISTEN, message);
    }
    for address in found.iter().flat_map(Discovery::listeners) {
        if !listeners.iter().any(|listener| listener.address == address) {
            listeners.push(Listener::new(address));
        }
    }
    found
}

/// Refuses listeners that cannot be bound together: relay, web and admin each bind their TCP ports.
pub(super) fn refuse_port_conflicts(
    resolver: &mut Resolver,
    plan: &Plan,
    admin: Option<SocketAddr>,
    web: Option<SocketAddr>,
) {
    let keys: [(&'static dyn AnyKey, _); 2] = [(&schema::WEB, web), (&schema::ADMIN, admin)];
    for (key, address) in keys {
        let Some(address) = address else { continue };
        let conflict = plan
            .listeners
            .iter()
            .map(|listener| listener.address)
            .find(|other| conflict(address, *other));
        if let Some(other) = conflict {
            let message = format!(
                "{} at {address} and the listener {other} use the same TCP port; change one",
                key.info().name
            );
            let location: &dyn AnyKey = if resolver.has(key) {
                key
            } else {
                &schema::LISTEN
            };
            resolver.error(location, message);
        }
    }
    if let (Some(web), Some(admin)) = (web, admin)
        && conflict(web, admin)
    {
        let key: &dyn AnyKey = match resolver.has(&schema::WEB) {
            true => &schema::WEB,
            false => &schema::ADMIN,
        };
        let message =
            format!("web at {web} and admin at {admin} use the same TCP port; change one");
        resolver.error(key, message);
    }
}

/// Returns true if a service's address cannot be bound beside another. A service at `[::]` accepts
/// IPv4 too.
fn conflict(service: SocketAddr, other: SocketAddr) -> bool {
    let same_family = service.is_ipv4() == other.is_ipv4();
    let covers = service.ip().is_unspecified() && (same_family || service.is_ipv6());
    let overlaps = other.ip().is_unspecified() || service.ip() == other.ip();
    let same_address = covers || (same_family && overlaps);
    same_address && service.port() == other.port() && service.port() != 0
}

/// Default ports beside 3478 for a server with a certificate: 5349 is the standard port, 443 passes
/// most firewalls.
const SECURE_PORTS: [u16; 2] = [5349, 443];
