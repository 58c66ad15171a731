//! ChannelBind: a number stands for a peer, and the peer is permitted. RFC 8656 §12.2.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::relayed::Protocol;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{peer_address, same_family};
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::Reject;
use crate::turn::respond::Reply;
use crate::turn::state::State;
use crate::turn::table::route::PeerScope;
use crate::wire::attribute::read_channel_number;
use crate::wire::{AttributeType, Message, channel_data};
use std::ops::RangeInclusive;

/// Binds or refreshes a channel.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    id: AllocationId,
    realm: &Realm,
) -> Result<Reply, Reject> {
    let number = request
        .attribute(AttributeType::CHANNEL_NUMBER)
        .ok_or(Reject::BAD_REQUEST)?;
    let number = read_channel_number(number).ok_or(Reject::BAD_REQUEST)?;
    let peer = peer_address(request)?;
    if !numbers(request).contains(&number) || peer.port() == 0 {
        return Err(Reject::BAD_REQUEST);
    }
    state.purge_channels(now, id);
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    if allocation.protocol == Protocol::Tcp || !allocation.channels.may_bind(number, peer) {
        return Err(Reject::BAD_REQUEST);
    }
    same_family(state, id, peer)?;
    let reach = state.reach(realm, peer, Protocol::Udp)?;
    let limits = state.policy.limits_of(realm);
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    let full = !allocation.channels.has(number) && allocation.channels.count() >= limits.channels;
    if full
        || !allocation
            .permissions
            .has_room_for(now, [peer.ip()].into_iter(), limits.permissions)
    {
        return Err(Reject::CAPACITY);
    }
    if !allocation.channels.has(number) && !allocation.pace.admits_peer(now, peer) {
        return Err(Reject::CAPACITY);
    }
    allocation.channels.bind(now, number, peer);
    allocation
        .permissions
        .install(now, peer.ip(), reach == PeerScope::RelayedOnly);
    state.renew_routes(now, id, |channel| channel.peer.ip() == peer.ip());
    Ok(Reply::Done)
}

/// The numbers that a channel may have. Clients of RFC 5766, which allowed more, draw them at random (coturn's library,
/// and so its tools): one that ignores what RFC 8489 offers it and seals its requests with FINGERPRINT keeps that range.
fn numbers(request: &Message) -> RangeInclusive<u16> {
    let old = request.has_fingerprint() && !request.has(AttributeType::PASSWORD_ALGORITHM);
    if old {
        channel_data::NUMBERS_OF_RFC_5766
    } else {
        channel_data::NUMBERS
    }
}
