//! ChannelBind: binds a channel number to a peer and permits the peer. RFC 8656 §12.2.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::relayed::Protocol;
use crate::turn::method::request::{AuthenticatedRequest, check_family};
use crate::turn::policy::reject::Reject;
use crate::turn::state::response::Success;
use crate::turn::state::{State, channel_routes, forwarding};
use crate::turn::table::route::PeerScope;
use crate::wire::attribute::read_channel_number;
use crate::wire::{AttributeType, Message, channel_data};
use std::ops::RangeInclusive;

/// Binds or refreshes a channel.
pub fn handle(
    state: &mut State,
    request: &AuthenticatedRequest,
    id: AllocationId,
) -> Result<Success, Reject> {
    let now = request.now;
    let number = request
        .message
        .attribute(AttributeType::CHANNEL_NUMBER)
        .ok_or(Reject::BAD_REQUEST)?;
    let number = read_channel_number(number).ok_or(Reject::BAD_REQUEST)?;
    let peer = request.peer_address()?;
    if !valid_numbers(request.message).contains(&number) || peer.port() == 0 {
        return Err(Reject::BAD_REQUEST);
    }
    channel_routes::remove_expired(state, now, id);
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    if allocation.protocol == Protocol::Tcp || !allocation.channels.can_bind(number, peer) {
        return Err(Reject::BAD_REQUEST);
    }
    check_family(state, id, peer)?;
    let realm = &request.user.realm;
    let scope = forwarding::peer_scope(state, realm, peer, Protocol::Udp)?;
    let limits = state.policy.limits_of(realm);
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    let is_new = !allocation.channels.contains(number);
    if (is_new && allocation.channels.count() >= limits.channels)
        || !allocation
            .permissions
            .has_room_for(now, [peer.ip()].into_iter(), limits.permissions)
    {
        return Err(Reject::CAPACITY);
    }
    if is_new && !allocation.new_peer_rate.allows_peer(now, peer) {
        return Err(Reject::CAPACITY);
    }
    allocation.channels.bind(now, number, peer);
    allocation
        .permissions
        .install(now, peer.ip(), scope == PeerScope::RelayedOnly);
    channel_routes::renew(state, now, id, |channel| channel.peer.ip() == peer.ip());
    Ok(Success::Empty)
}

/// The numbers that a channel may have. RFC 5766 allowed 0x4000 to 0x7FFF, and coturn's client
/// library draws from all of them at random. A client that ignores the password algorithms of RFC
/// 8489 and adds FINGERPRINT, as that library does, may use the old range.
fn valid_numbers(request: &Message) -> RangeInclusive<u16> {
    let is_rfc_5766 = request.has_fingerprint() && !request.has(AttributeType::PASSWORD_ALGORITHM);
    match is_rfc_5766 {
        true => channel_data::NUMBERS_OF_RFC_5766,
        false => channel_data::NUMBERS,
    }
}
