//! Where clients reach this server: what stands in the URLs that are handed out.

use crate::config::host_info::HostInfo;
use crate::turn::RelayAddress;
use std::net::{IpAddr, SocketAddr};

/// Addresses and ports that lead to the listeners bound at `bound`: the external address of a listener's own address where
/// it has one, and for a wildcard those of every relay address of its family.
pub fn advertised_addresses(
    bound: &[SocketAddr],
    relays: &[RelayAddress],
    host: &HostInfo,
) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for listener in bound {
        for ip in addresses(listener.ip(), relays, host) {
            let address = SocketAddr::new(ip, listener.port());
            if !found.contains(&address) {
                found.push(address);
            }
        }
    }
    // Where a family leads nowhere, a wildcard is reached by loopback alone: no use to whoever is told other addresses too.
    if found.iter().any(|address| !address.ip().is_loopback()) {
        found.retain(|address| !address.ip().is_loopback() || bound.contains(address));
    }
    found
}

fn addresses(listener: IpAddr, relays: &[RelayAddress], host: &HostInfo) -> Vec<IpAddr> {
    if !listener.is_unspecified() {
        let external = relays
            .iter()
            .find(|relay| relay.local == listener)
            .map(|relay| relay.external);
        return vec![external.unwrap_or(listener)];
    }
    let same_family = |ip: &IpAddr| ip.is_ipv4() == listener.is_ipv4();
    let told: Vec<IpAddr> = relays
        .iter()
        .map(|relay| relay.external)
        .filter(same_family)
        .collect();
    if !told.is_empty() {
        return told;
    }
    let source = if listener.is_ipv4() {
        host.source_v4
    } else {
        host.source_v6
    };
    let usable = |ip: &&IpAddr| same_family(ip) && !is_link_local(**ip);
    let own = host
        .addresses
        .iter()
        .filter(usable)
        .max_by_key(|ip| !ip.is_loopback())
        .copied();
    source.or(own).into_iter().collect()
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
    fn a_wildcard_is_reached_by_the_external_addresses() {
        let relays = [("10.0.0.5", "203.0.113.7"), ("2001:db8::5", "2001:db8::5")];
        let found = text(
            &["0.0.0.0:3478", "[::]:3478"],
            &relays,
            &HostInfo::default(),
        );
        assert_eq!(found, ["203.0.113.7:3478", "[2001:db8::5]:3478"]);
    }

    #[test]
    fn an_address_is_reached_by_itself_or_what_stands_for_it() {
        let relays = [("10.0.0.5", "203.0.113.7")];
        let found = text(
            &["127.0.0.1:1", "10.0.0.5:2"],
            &relays,
            &HostInfo::default(),
        );
        assert_eq!(found, ["127.0.0.1:1", "203.0.113.7:2"]);
    }

    #[test]
    fn a_family_without_relays_is_reached_all_the_same() {
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
