//! Relay addresses, and the external addresses that clients get instead.

use crate::config::error::Source;
use crate::config::host_info::HostInfo;
use crate::config::public_ip::PublicAddresses;
use crate::config::resolver::Resolver;
use crate::config::schema;
use crate::config::value::ExternalAddress;
use crate::turn::RelayAddress;
use std::net::IpAddr;

pub(super) fn relay_addresses(resolver: &mut Resolver, host: &HostInfo) -> Vec<RelayAddress> {
    let mut locals: Vec<IpAddr> = Vec::new();
    for relay in resolver.get_sourced(&schema::RELAY_ADDRESS) {
        let local = relay.value;
        if locals.contains(&local) {
            let message = format!("{local} is listed twice; remove one");
            resolver.error_at(&relay.source, &schema::RELAY_ADDRESS, message);
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
    let stun = resolver.get_optional(&schema::EXTERNAL_STUN);
    let mut mapped: Vec<IpAddr> = Vec::new();
    for external in resolver.get_sourced(&schema::EXTERNAL_ADDRESS) {
        let (relay, address) = match external.value {
            ExternalAddress::Fixed { relay, external } => (relay, external),
            ExternalAddress::Auto => {
                map_public_addresses(
                    resolver,
                    &external.source,
                    &mut relays,
                    host,
                    stun.as_deref(),
                );
                continue;
            }
        };
        let same_family = |local: IpAddr| local.is_ipv4() == address.is_ipv4();
        let matches = |candidate: &&mut RelayAddress| match relay {
            Some(relay) => candidate.local == relay,
            None => same_family(candidate.local) && !mapped.contains(&candidate.local),
        };
        let message = match relays.iter_mut().find(matches) {
            Some(relay) if same_family(relay.local) => {
                relay.external = address;
                mapped.push(relay.local);
                continue;
            }
            Some(relay) => format!(
                "{address} and the relay address {} are of different families",
                relay.local
            ),
            None => {
                format!("no relay address is left for {address}; add one with relay_address")
            }
        };
        resolver.error_at(&external.source, &schema::EXTERNAL_ADDRESS, message);
    }
    relays
}

/// Sets the external addresses that were discovered. A family whose public address is unknown keeps
/// its relay address.
fn map_public_addresses(
    resolver: &mut Resolver,
    source: &Source,
    relays: &mut [RelayAddress],
    host: &HostInfo,
    stun: Option<&str>,
) {
    let Some(public) = host.public else { return };
    if public == PublicAddresses::default() {
        let message = match stun {
            Some(server) => format!(
                "the STUN server {server} of external_stun does not answer, so this host's public address is unknown; \
                 check that it runs and that the firewall passes its answers, or write the address"
            ),
            None => "no cloud's metadata service answers, so this host's public address is unknown; set external_stun, \
                     or write the address"
                .to_owned(),
        };
        resolver.transient_error_at(source, &schema::EXTERNAL_ADDRESS, message);
    }
    for relay in relays {
        let discovered = match relay.local {
            IpAddr::V4(_) => public.v4,
            IpAddr::V6(_) => public.v6,
        };
        relay.external = discovered.unwrap_or(relay.external);
    }
}
