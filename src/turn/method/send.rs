//! Send: data to a peer without a channel. RFC 8656 §11.2.

use crate::turn::allocation::Allocation;
use crate::turn::forward::Forward;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::relayed::Protocol;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::unknown_attributes;
use crate::turn::policy::reject::Discard;
use crate::turn::state::{Payload, State};
use crate::wire::attribute::{Family, read_xor_address};
use crate::wire::{AttributeType, Message};
use std::net::SocketAddr;

/// Relays the DATA of a Send indication, or drops it.
pub fn relay(state: &mut State, now: Instant, client: &Client, indication: &Message) -> Forward {
    let Some((peer, payload)) = read(state, &client.five_tuple, indication) else {
        return state.discard(Discard::BadIndication);
    };
    let id = state.table.of_client(&client.five_tuple);
    let of_datagrams = |allocation: &&Allocation| allocation.protocol == Protocol::Udp;
    let Some((id, allocation)) =
        id.and_then(|id| Some((id, state.table.get(id).filter(of_datagrams)?)))
    else {
        return state.not_here(client);
    };
    let Some(half) = allocation.halves.get(Family::of(peer.ip())) else {
        return state.discard(Discard::PeerFamily);
    };
    let relayed = half.relayed;
    let Some(permission) = allocation.permissions.find(peer.ip(), now) else {
        return state.discard(Discard::NoPermission);
    };
    let reach = state.reach_of_permitted(permission.relayed_only, peer.ip());
    if state.is_arriving(id, &client.five_tuple) {
        state.arrive(now, id);
    }
    if state
        .table
        .get_mut(id)
        .is_some_and(|allocation| !allocation.pace.admits_peer(now, peer))
    {
        return state.discard(Discard::PeerRate);
    }
    if !state.note_to_peer(now, id, client, payload.length()) {
        return state.discard(Discard::Bandwidth);
    }
    state.forward_to_peer(now, relayed, peer, reach, payload)
}

/// The peer and the data, if both are there and nothing is that is not understood.
fn read(state: &State, from: &FiveTuple, indication: &Message) -> Option<(SocketAddr, Payload)> {
    let peer = indication.attribute(AttributeType::XOR_PEER_ADDRESS)?;
    let peer = read_xor_address(peer, &indication.transaction()).filter(|peer| peer.port() != 0)?;
    let data = indication.range_of(indication.attribute(AttributeType::DATA)?)?;
    if !unknown_attributes(&state.policy, indication).is_empty() {
        return None;
    }
    let dont_fragment =
        indication.has(AttributeType::DONT_FRAGMENT) && heeds_dont_fragment(from, peer);
    Some((
        peer,
        Payload {
            start: data.start,
            end: data.end,
            dont_fragment,
        },
    ))
}

/// Where DONT-FRAGMENT counts: from a stream (RFC 8656 §15), and from IPv4 to IPv4 (§14). From datagram to datagram with
/// IPv6 at either end it "MUST be ignored" (§13.1–13.3).
fn heeds_dont_fragment(from: &FiveTuple, peer: SocketAddr) -> bool {
    from.transport.is_stream() || (from.client.is_ipv4() && peer.is_ipv4())
}
