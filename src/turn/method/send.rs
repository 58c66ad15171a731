//! Send: data to a peer without a channel. RFC 8656 §11.2.

use crate::turn::allocation::Allocation;
use crate::turn::forward::Forward;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::relayed::Protocol;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::unknown_attributes;
use crate::turn::policy::reject::Discard;
use crate::turn::state::forwarding::Payload;
use crate::turn::state::{State, forwarding, mobility};
use crate::wire::attribute::{Family, read_xor_address};
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;

/// Forwards the DATA of a Send indication, or drops it.
pub fn handle(state: &mut State, now: Instant, client: &Client, indication: &Message) -> Forward {
    let Some((peer, payload)) = read(state, &client.five_tuple, indication) else {
        return forwarding::discard(state, Discard::BadIndication);
    };
    let id = state.table.find_client(&client.five_tuple);
    let relays_udp = |allocation: &&Allocation| allocation.protocol == Protocol::Udp;
    let Some((id, allocation)) =
        id.and_then(|id| Some((id, state.table.get(id).filter(relays_udp)?)))
    else {
        return forwarding::unknown_client(state, client);
    };
    let Some(address) = allocation.relayed.get(Family::of(peer.ip())) else {
        return forwarding::discard(state, Discard::PeerFamily);
    };
    let relayed = address.id;
    let Some(permission) = allocation.permissions.find(peer.ip(), now) else {
        return forwarding::discard(state, Discard::NoPermission);
    };
    let scope = forwarding::permitted_scope(state, permission.relayed_only, peer.ip());
    if mobility::is_arriving(state, id, &client.five_tuple) {
        mobility::complete_move(state, now, id);
    }
    if state
        .table
        .get_mut(id)
        .is_some_and(|allocation| !allocation.new_peer_rate.allows_peer(now, peer))
    {
        return forwarding::discard(state, Discard::PeerRate);
    }
    if !forwarding::count_to_peer(state, now, id, client, payload.length()) {
        return forwarding::discard(state, Discard::Bandwidth);
    }
    forwarding::to_peer(state, now, relayed, peer, scope, payload)
}

/// The peer and the payload, if both are there and the server understands all attributes.
fn read(state: &State, from: &FiveTuple, indication: &Message) -> Option<(SocketAddr, Payload)> {
    let peer = indication.attribute(AttributeType::XOR_PEER_ADDRESS)?;
    let peer = read_xor_address(peer, &indication.transaction()).filter(|peer| peer.port() != 0)?;
    let data = indication.range_of(indication.attribute(AttributeType::DATA)?)?;
    if !unknown_attributes(&state.policy, indication).is_empty() {
        return None;
    }
    let dont_fragment =
        indication.has(AttributeType::DONT_FRAGMENT) && honors_dont_fragment(from, peer);
    Some((
        peer,
        Payload {
            start: data.start,
            end: data.end,
            dont_fragment,
        },
    ))
}

/// DONT-FRAGMENT counts from a stream (RFC 8656 §15) and from IPv4 to IPv4 (§14). From datagram to
/// datagram with IPv6 at either end it "MUST be ignored" (§13.1 to §13.3).
fn honors_dont_fragment(from: &FiveTuple, peer: SocketAddr) -> bool {
    from.transport.is_stream() || (from.client.is_ipv4() && peer.is_ipv4())
}
