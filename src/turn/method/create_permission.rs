//! CreatePermission: install or refresh permissions, all that are asked for or none. RFC 8656 §10.2.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::same_family;
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::Reject;
use crate::turn::respond::Reply;
use crate::turn::state::State;
use crate::turn::table::route::PeerScope;
use crate::wire::attribute::read_xor_address;
use crate::wire::{AttributeType, Message};
use std::net::IpAddr;

/// Installs a permission for each XOR-PEER-ADDRESS.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    id: AllocationId,
    realm: &Realm,
) -> Result<Reply, Reject> {
    let protocol = state.table.get(id).ok_or(Reject::MISMATCH)?.protocol;
    let mut wanted: Vec<(IpAddr, bool)> = Vec::new();
    let values = request
        .attributes()
        .filter(|(kind, _)| *kind == AttributeType::XOR_PEER_ADDRESS);
    for (_, value) in values {
        let peer = read_xor_address(value, &request.transaction()).ok_or(Reject::BAD_REQUEST)?;
        same_family(state, id, peer)?;
        let reach = state.reach(realm, peer, protocol)?;
        wanted.push((peer.ip(), reach == PeerScope::RelayedOnly));
    }
    if wanted.is_empty() {
        return Err(Reject::BAD_REQUEST);
    }
    let most = state.policy.limits_of(realm).permissions;
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    if !allocation
        .permissions
        .has_room_for(now, wanted.iter().map(|(address, _)| *address), most)
    {
        return Err(Reject::CAPACITY);
    }
    let fresh = wanted
        .iter()
        .filter(|(address, _)| allocation.permissions.find(*address, now).is_none())
        .count();
    if !(0..fresh).all(|_| allocation.pace.admits(now)) {
        return Err(Reject::CAPACITY);
    }
    for &(address, relayed_only) in &wanted {
        allocation.permissions.install(now, address, relayed_only);
    }
    state.renew_routes(now, id, |channel| {
        wanted
            .iter()
            .any(|(address, _)| *address == channel.peer.ip())
    });
    Ok(Reply::Done)
}
