//! CreatePermission: installs or refreshes permissions, either all that are requested or none. RFC
//! 8656 §10.2.

use crate::turn::allocation::AllocationId;
use crate::turn::method::request::{AuthenticatedRequest, check_family};
use crate::turn::policy::reject::Reject;
use crate::turn::state::response::Success;
use crate::turn::state::{State, channel_routes, forwarding};
use crate::turn::table::route::PeerScope;
use crate::wire::AttributeType;
use crate::wire::attribute::read_xor_address;
use std::net::IpAddr;

/// Installs a permission for each XOR-PEER-ADDRESS.
pub fn handle(
    state: &mut State,
    request: &AuthenticatedRequest,
    id: AllocationId,
) -> Result<Success, Reject> {
    let (now, message, realm) = (request.now, request.message, &request.user.realm);
    let protocol = state.table.get(id).ok_or(Reject::MISMATCH)?.protocol;
    let mut requested: Vec<RequestedPermission> = Vec::new();
    let values = message
        .attributes()
        .filter(|(kind, _)| *kind == AttributeType::XOR_PEER_ADDRESS);
    for (_, value) in values {
        let peer = read_xor_address(value, &message.transaction()).ok_or(Reject::BAD_REQUEST)?;
        check_family(state, id, peer)?;
        let scope = forwarding::peer_scope(state, realm, peer, protocol)?;
        requested.push(RequestedPermission {
            address: peer.ip(),
            relayed_only: scope == PeerScope::RelayedOnly,
        });
    }
    if requested.is_empty() {
        return Err(Reject::BAD_REQUEST);
    }
    let limit = state.policy.limits_of(realm).permissions;
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    let addresses = requested.iter().map(|permission| permission.address);
    if !allocation.permissions.has_room_for(now, addresses, limit) {
        return Err(Reject::CAPACITY);
    }
    let is_new = |permission: &&RequestedPermission| {
        allocation
            .permissions
            .find(permission.address, now)
            .is_none()
    };
    let new = requested.iter().filter(is_new).count();
    if !(0..new).all(|_| allocation.new_peer_rate.allows(now)) {
        return Err(Reject::CAPACITY);
    }
    for permission in &requested {
        allocation
            .permissions
            .install(now, permission.address, permission.relayed_only);
    }
    channel_routes::renew(state, now, id, |channel| {
        requested
            .iter()
            .any(|permission| permission.address == channel.peer.ip())
    });
    Ok(Success::Empty)
}

struct RequestedPermission {
    address: IpAddr,
    relayed_only: bool,
}
