//! The packet path: which peers a relay may reach, and where a payload goes.
//!
//! ```text
//!   client ──► peer      scope External                          ► out of the relay socket
//!                        a relayed address of this shard         ► to_client: the hairpin
//!                        a relayed address of another shard      ► its hairpin route, or its relay socket
//!                        another address of this server          ► dropped, unless the operator allows it
//!   peer ──► client      channel route, or a valid permission    ► ChannelData or a Data indication
//! ```

use crate::turn::allocation::AllocationId;
use crate::turn::counters::Counters;
use crate::turn::forward::{Forward, Framing};
use crate::turn::ids::five_tuple::Client;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::state::State;
use crate::turn::table::route::PeerScope;
use crate::wire::ErrorCode;
use std::net::{IpAddr, SocketAddr};

/// The payload of a packet, as offsets into it.
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    pub start: usize,
    pub end: usize,
    pub dont_fragment: bool,
}

impl Payload {
    pub fn length(&self) -> usize {
        self.end - self.start
    }
}

/// The scope of a peer for which a permission, a channel or a connection is requested.
///
/// # Errors
/// 403 if the peer is one of the server's listeners, or if the operator's rules refuse its address
/// and it is not a live relayed address.
pub fn peer_scope(
    state: &State,
    realm: &Realm,
    peer: SocketAddr,
    protocol: Protocol,
) -> Result<PeerScope, Reject> {
    let own_addresses = &state.policy.own_addresses;
    if own_addresses.is_listener(peer) {
        return Err(Reject::Code(ErrorCode::FORBIDDEN));
    }
    let own = own_addresses.contains(peer.ip());
    let permitted = match own {
        true => realm.peers.permits_own(peer.ip()),
        false => realm.peers.permits(peer.ip()),
    };
    match (permitted, own) {
        (true, false) => Ok(PeerScope::External),
        (true, true) => Ok(PeerScope::OwnAddress),
        (false, _) if is_live_relayed(state, peer, protocol) => Ok(PeerScope::RelayedOnly),
        (false, _) => Err(Reject::Code(ErrorCode::FORBIDDEN)),
    }
}

/// The scope of a peer that has a permission.
pub fn permitted_scope(state: &State, relayed_only: bool, peer: IpAddr) -> PeerScope {
    match (relayed_only, state.policy.own_addresses.contains(peer)) {
        (true, _) => PeerScope::RelayedOnly,
        (false, true) => PeerScope::OwnAddress,
        (false, false) => PeerScope::External,
    }
}

/// Counts a payload on its way to a peer. Returns false if it exceeds the bandwidth, and then does
/// not count it.
pub fn count_to_peer(
    state: &mut State,
    now: Instant,
    id: AllocationId,
    client: &Client,
    octets: usize,
) -> bool {
    let clock = state.clock;
    let Some(allocation) = state.table.get_mut(id) else {
        return false;
    };
    if !allocation
        .grant
        .allows(now, || clock.unix_time(now), octets)
    {
        return false;
    }
    allocation.traffic.to_peers.add(octets);
    Counters::flow(&state.counters.to_peers, client.five_tuple.transport).add(octets);
    true
}

/// Forwards a payload from a relayed transport address to a peer.
pub fn to_peer(
    state: &mut State,
    now: Instant,
    from: RelayedId,
    to: SocketAddr,
    scope: PeerScope,
    payload: Payload,
) -> Forward {
    let Payload {
        start,
        end,
        dont_fragment,
    } = payload;
    if scope == PeerScope::External {
        return Forward::ToPeer {
            relayed: from,
            to,
            start,
            end,
            dont_fragment,
        };
    }
    if let (Some(target), Some(source)) = (
        find_relayed(state, to, Protocol::Udp),
        state.table.socket(from),
    ) {
        let source = source.external;
        state.counters.hairpinned.add(payload.length());
        return to_client(state, now, target, source, payload);
    }
    let on_other_shard = state
        .shared
        .directory
        .relayed(to)
        .filter(|entry| entry.protocol == Protocol::Udp);
    let to = match on_other_shard {
        Some(entry) => match by_hairpin_route(state, now, from, to, payload) {
            Some(forward) => return forward,
            None => entry.local,
        },
        // Without a relayed address there, the packet would reach this host itself.
        None if scope == PeerScope::RelayedOnly || state.policy.own_addresses.is_listener(to) => {
            return discard(state, Discard::PeerRefused);
        }
        None => to,
    };
    Forward::ToPeer {
        relayed: from,
        to,
        start,
        end,
        dont_fragment,
    }
}

/// Forwards a payload to the client of another shard's relayed address, if that shard published a
/// route.
fn by_hairpin_route(
    state: &State,
    now: Instant,
    from: RelayedId,
    to: SocketAddr,
    payload: Payload,
) -> Option<Forward> {
    let source = state.table.socket(from)?.external;
    let target = state
        .shared
        .hairpin_routes
        .forward(now, to, source, payload.length())?;
    state.counters.hairpinned.add(payload.length());
    let transport = target.client.five_tuple.transport;
    Counters::flow(&state.counters.to_clients, transport).add(payload.length());
    Some(Forward::ToClient {
        client: target.client,
        start: payload.start,
        end: payload.end,
        framing: target
            .channel
            .map_or(Framing::Data(source), Framing::Channel),
    })
}

/// Forwards a payload from a peer to the client of a relayed transport address. RFC 8656 §11.3.
pub fn to_client(
    state: &mut State,
    now: Instant,
    relayed: RelayedId,
    peer: SocketAddr,
    payload: Payload,
) -> Forward {
    let Payload { start, end, .. } = payload;
    let route = state
        .routes
        .to_client(relayed, peer)
        .filter(|route| now < route.expires);
    let (id, channel) = match route {
        // The port of a relayed address that ended may belong to any process of this host.
        Some(route)
            if route.scope == PeerScope::RelayedOnly
                && !is_live_relayed(state, peer, Protocol::Udp) =>
        {
            return discard(state, Discard::NoPermission);
        }
        Some(route) => (route.allocation, Some((route.client, route.channel))),
        None => match state.table.socket(relayed) {
            Some(socket) => (socket.allocation, None),
            None => return discard(state, Discard::NoRelayed),
        },
    };
    let permitted = channel.is_some() || has_permission(state, now, id, peer);
    let clock = state.clock;
    let Some(allocation) = state.table.get_mut(id).filter(|_| permitted) else {
        return discard(state, Discard::NoPermission);
    };
    if !allocation
        .grant
        .allows(now, || clock.unix_time(now), payload.length())
    {
        return discard(state, Discard::Bandwidth);
    }
    allocation.traffic.to_client.add(payload.length());
    let (client, framing) = match channel {
        Some((client, number)) => (client, Framing::Channel(number)),
        None => (allocation.client, Framing::Data(peer)),
    };
    Counters::flow(&state.counters.to_clients, client.five_tuple.transport).add(payload.length());
    Forward::ToClient {
        client,
        start,
        end,
        framing,
    }
}

/// Returns true if the allocation has a valid permission for the peer and a client to deliver to.
pub fn has_permission(state: &State, now: Instant, id: AllocationId, peer: SocketAddr) -> bool {
    let Some(allocation) = state
        .table
        .get(id)
        .filter(|allocation| !allocation.is_detached())
    else {
        return false;
    };
    let permission = allocation.permissions.find(peer.ip(), now);
    permission.is_some_and(|permission| {
        !permission.relayed_only || is_live_relayed(state, peer, allocation.protocol)
    })
}

/// Returns true if a transport address is a live relayed address of any shard. The protocol must
/// match, because the same port of another protocol may belong to any process.
fn is_live_relayed(state: &State, address: SocketAddr, protocol: Protocol) -> bool {
    find_relayed(state, address, protocol).is_some()
        || state
            .shared
            .directory
            .relayed(address)
            .is_some_and(|entry| entry.protocol == protocol)
}

/// The live relayed address of this shard that clients know as `external`.
fn find_relayed(state: &State, external: SocketAddr, protocol: Protocol) -> Option<RelayedId> {
    let id = state.table.find_external(external)?;
    state
        .table
        .socket(id)
        .filter(|socket| socket.protocol == protocol)
        .map(|_| id)
}

/// The sender of a datagram as clients know it. Behind a 1:1 NAT a live relayed address of this
/// server sends from its bound address, but permissions name the external one.
pub fn external_peer(state: &State, source: SocketAddr) -> SocketAddr {
    let external = state.policy.external(source);
    if external == source || state.shared.directory.relayed(external).is_none() {
        source
    } else {
        external
    }
}

/// The verdict on data from a client without an allocation on this shard.
pub fn unknown_client(state: &State, client: &Client) -> Forward {
    match state.table.other_shard_of(&client.five_tuple) {
        Some(shard) => Forward::ToShard { shard },
        None => discard(state, Discard::NoAllocation),
    }
}

/// Counts a dropped packet.
pub fn discard(state: &State, discard: Discard) -> Forward {
    state.counters.count_discard(discard);
    Forward::Discarded(discard)
}
