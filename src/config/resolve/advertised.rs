//! The addresses under which clients reach the listeners: the hosts and ports in the URLs that the
//! server hands out.

use crate::config::host_info::HostInfo;
use crate::turn::RelayAddress;
use std::net::{IpAddr, SocketAddr};

/// The addresses of listeners that are bound to `bound`. A listener at a relay address has that
/// relay's external address; a wildcard has the external addresses of all relays of its family.
pub(super) fn advertised_addresses(
    bound: &[SocketAddr],
    relays: &[RelayAddress],
    host: &HostInfo,
) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for listener in bound {
        for ip in listener_addresses(listener.ip(), relays, host) {
            let address = SocketAddr::new(ip, listener.port());
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    // A wildcard of a family without a route is reached by loopback alone, which is of no use
    // beside other addresses.
    if found.iter().any(|address| !address.ip().is_loopback()) {
        found.retain(|address| !address.ip().is_loopback() || bound.contains(address));
    }
    found
}

fn listener_addresses(listener: IpAddr, relays: &[RelayAddress], host: &HostInfo) -> Vec<IpAddr> {
    if !listener.is_unspecified() {
        let relay = relays.iter().find(|relay| relay.local == listener);
        return vec![relay.map_or(listener, |relay| relay.external)];
    }
    let same_family = |ip: &IpAddr| ip.is_ipv4() == listener.is_ipv4();
    let external: Vec<IpAddr> = relays
        .iter()
        .map(|relay| relay.external)
        .filter(same_family)
        .collect();
    if !external.is_empty() {
        return external;
    }
    let source = match listener {
        IpAddr::V4(_) => host.source_v4,
        IpAddr::V6(_) => host.source_v6,
    };
    let interface = host
        .addresses
        .iter()
        .filter(|ip| same_family(ip) && !is_link_local(**ip))
        .max_by_key(|ip| !ip.is_loopback())
        .copied();
    source.or(interface).into_iter().collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bound: &[&str], relays: &[(&str, &str)], host: &HostInfo) -> Vec<String> {
        let bound: Vec<SocketAddr> = bound.iter().map(|text| text.parse().unwrap()).collect();
        let relay = |(local, external): &(&str, &str)| RelayAddress {
            local: local.parse().unwrap(),
            external: external.parse().unwrap(),
        };
        let relays: Vec<RelayAddress> = relays.iter().map(relay).collect();
        advertised_addresses(&bound, &relays, host)
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }

    #[test]
    fn a_wildcard_has_the_external_addresses() {
        let relays = [("10.0.0.5", "203.0.113.7"), ("2001:db8::5", "2001:db8::5")];
        let found = text(
            &["0.0.0.0:3478", "[::]:3478"],
            &relays,
            &HostInfo::default(),
        );
        assert_eq!(found, ["203.0.113.7:3478", "[2001:db8::5]:3478"]);
    }

    #[test]
    fn an_address_has_itself_or_its_external_address() {
        let relays = [("10.0.0.5", "203.0.113.7")];
        let found = text(
            &["127.0.0.1:1", "10.0.0.5:2"],
            &relays,
            &HostInfo::default(),
        );
        assert_eq!(found, ["127.0.0.1:1", "203.0.113.7:2"]);
    }

    #[test]
    fn a_family_without_relays_has_an_interface_address() {
        let addresses = ["fe80::1", "::1", "127.0.0.1"]
            .map(|ip| ip.parse().unwrap())
            .into();
        let host = HostInfo {
            addresses,
            ..HostInfo::default()
        };
        assert_eq!(
            text(&["[::]:7"], &[("127.0.0.1", "127.0.0.1")], &host),
            ["[::1]:7"]
        );
        let relays = [("203.0.113.7", "203.0.113.7")];
        assert_eq!(
            text(&["0.0.0.0:7", "[::]:7"], &relays, &host),
            ["203.0.113.7:7"]
        );
        assert_eq!(
            text(&["0.0.0.0:7", "[::1]:7"], &relays, &host),
            ["203.0.113.7:7", "[::1]:7"]
        );
    }
}
