//! Routes follow from channels, permissions and relayed addresses. Every change of one of these
//! ends here, so that the packet path needs a single lookup.

use crate::turn::allocation::channel::Channel;
use crate::turn::allocation::{Allocation, AllocationId, HairpinKey};
use crate::turn::effect::{ChannelPath, Effect};
use crate::turn::ids::five_tuple::{FiveTuple, Transport};
use crate::turn::ids::time::Instant;
use crate::turn::shared::hairpin_routes::HairpinTarget;
use crate::turn::state::State;
use crate::turn::state::forwarding::permitted_scope;
use crate::turn::table::route::{ClientRoute, PeerRoute};
use crate::wire::attribute::Family;
use std::net::SocketAddr;

/// Renews the routes of an allocation's channels for which `which` returns true. A route expires
/// with the first of channel, permission and relayed address. Routes of expired channels are not
/// renewed.
pub fn renew(state: &mut State, now: Instant, id: AllocationId, which: impl Fn(&Channel) -> bool) {
    let Some(allocation) = state.table.get(id) else {
        return;
    };
    let client = allocation.client;
    for channel in allocation.channels.iter().filter(|channel| which(channel)) {
        let address = allocation.relayed.get(Family::of(channel.peer.ip()));
        let permission = allocation.permissions.find(channel.peer.ip(), now);
        let (Some(address), Some(permission), true) = (address, permission, now < channel.expires)
        else {
            continue;
        };
        let Some(socket) = state.table.socket(address.id) else {
            continue;
        };
        let expires = channel.expires.min(permission.expires).min(address.expires);
        let scope = permitted_scope(state, permission.relayed_only, channel.peer.ip());
        let to_peer = PeerRoute {
            allocation: id,
            relayed: address.id,
            peer: channel.peer,
            scope,
            arriving: false,
            expires,
        };
        if let Some(arriving) = allocation.arriving() {
            state.routes.insert_to_peer(
                &arriving.five_tuple,
                channel.number,
                PeerRoute {
                    arriving: true,
                    ..to_peer
                },
            );
        }
        state.routes.insert(
            to_peer,
            ClientRoute {
                allocation: id,
                client,
                channel: channel.number,
                scope,
                expires,
            },
        );
        state.output.push(Effect::Route {
            path: Box::new(channel_path(client.five_tuple, channel, socket.local)),
            expires,
        });
    }
    renew_hairpin_routes(state, now, id);
}

/// Removes the routes of all channels of an allocation that start at the five-tuple `client`.
pub fn remove_all(state: &mut State, id: AllocationId, client: FiveTuple) {
    let Some(allocation) = state.table.get(id) else {
        return;
    };
    for channel in allocation.channels.iter() {
        let local = allocation
            .relayed
            .get(Family::of(channel.peer.ip()))
            .and_then(|address| state.table.socket(address.id))
            .map(|socket| socket.local);
        let removed = state.routes.remove(&client, channel.number, id);
        if let Some(local) = local.filter(|_| removed) {
            state.output.push(Effect::Unroute {
                path: Box::new(channel_path(client, channel, local)),
            });
        }
    }
}

/// Removes the channels of an allocation whose reservation is over, and their routes.
pub fn remove_expired(state: &mut State, now: Instant, id: AllocationId) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let expired = allocation.channels.remove_expired(now);
    if expired.is_empty() {
        return;
    }
    let (client, arriving) = (allocation.client, allocation.arriving());
    for channel in &expired {
        state.routes.remove(&client.five_tuple, channel.number, id);
        if let Some(arriving) = &arriving {
            state
                .routes
                .remove_to_peer(&arriving.five_tuple, channel.number, id);
        }
    }
}

/// Removes the channels of an allocation to peers of one family, and their routes. Must be called
/// while the relayed address of the family is still in the table.
pub fn remove_family(state: &mut State, id: AllocationId, family: Family) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let removed = allocation
        .channels
        .remove_if(|channel| Family::of(channel.peer.ip()) == family);
    let (client, arriving) = (allocation.client, allocation.arriving());
    let local = allocation
        .relayed
        .get(family)
        .map(|address| address.id)
        .and_then(|relayed| state.table.socket(relayed))
        .map(|socket| socket.local);
    for channel in &removed {
        if let Some(arriving) = &arriving {
            state
                .routes
                .remove_to_peer(&arriving.five_tuple, channel.number, id);
        }
        let removed = state.routes.remove(&client.five_tuple, channel.number, id);
        if let Some(local) = local.filter(|_| removed) {
            state.output.push(Effect::Unroute {
                path: Box::new(channel_path(client.five_tuple, channel, local)),
            });
        }
    }
}

/// Publishes the hairpin routes of an allocation for other shards, and removes published routes
/// that are no longer valid. The traffic counted in a removed route is added to the allocation's.
pub fn renew_hairpin_routes(state: &mut State, now: Instant, id: AllocationId) {
    let Some(allocation) = state.table.get(id) else {
        return;
    };
    let eligible = state.shared.multiple_shards
        && allocation.client.five_tuple.transport == Transport::Udp
        && allocation.grant.meter().is_none();
    let wanted = match eligible {
        true => hairpin_routes(state, now, allocation),
        false => Vec::new(),
    };
    if wanted.is_empty() && allocation.hairpin_routes.is_empty() {
        return;
    }
    let published = &state.shared.hairpin_routes;
    let mut traffic = Vec::new();
    let withdrawn = allocation
        .hairpin_routes
        .iter()
        .filter(|old| !wanted.iter().any(|(key, _)| key == *old));
    traffic.extend(withdrawn.map(|key| published.remove(*key)));
    traffic.extend(
        wanted
            .iter()
            .map(|(key, target)| published.insert(*key, *target)),
    );
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    allocation.hairpin_routes = wanted.iter().map(|(key, _)| *key).collect();
    for volume in traffic {
        allocation.traffic.to_client += volume;
    }
}

/// The hairpin routes that an allocation should have: one for each permission and each channel
/// whose peer is on one of the server's own addresses.
fn hairpin_routes(
    state: &State,
    now: Instant,
    allocation: &Allocation,
) -> Vec<(HairpinKey, HairpinTarget)> {
    let is_own = |peer: &SocketAddr| state.policy.own_addresses.contains(peer.ip());
    let route = |peer: SocketAddr, channel: Option<&Channel>| {
        let address = allocation.relayed.get(Family::of(peer.ip()))?;
        let relayed = state.table.socket(address.id)?.external;
        let permission = allocation.permissions.find(peer.ip(), now)?;
        let expires = address.expires.min(permission.expires);
        let target = HairpinTarget {
            client: allocation.client,
            channel: channel.map(|channel| channel.number),
            expires: channel.map_or(expires, |channel| expires.min(channel.expires)),
        };
        Some((HairpinKey { relayed, peer }, target))
    };
    let by_permission = allocation
        .permissions
        .iter()
        .map(|permission| SocketAddr::new(permission.address, 0))
        .filter(is_own)
        .filter_map(|peer| route(peer, None));
    let by_channel = allocation
        .channels
        .iter()
        .filter(|channel| is_own(&channel.peer) && now < channel.expires)
        .filter_map(|channel| route(channel.peer, Some(channel)));
    by_permission.chain(by_channel).collect()
}

fn channel_path(client: FiveTuple, channel: &Channel, local: SocketAddr) -> ChannelPath {
    ChannelPath {
        client,
        channel: channel.number,
        local,
        peer: channel.peer,
    }
}
