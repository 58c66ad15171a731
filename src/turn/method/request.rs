//! What several methods read of a request, and the rules that come with it.

use crate::turn::allocation::AllocationId;
use crate::turn::auth::authenticate::AuthenticatedUser;
use crate::turn::policy::Policy;
use crate::turn::policy::reject::Reject;
use crate::turn::state::State;
use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::{AttributeType, ErrorCode, Message};
use std::net::SocketAddr;

/// Only whoever made an allocation may use it. RFC 8656 §5.
pub fn owned(state: &State, id: AllocationId, caller: &AuthenticatedUser) -> Result<(), Reject> {
    let owner = state
        .table
        .get(id)
        .map(|allocation| &allocation.owner)
        .ok_or(Reject::MISMATCH)?;
    if owner.identity().is(&caller.identity()) {
        Ok(())
    } else {
        Err(Reject::Code(ErrorCode::WRONG_CREDENTIALS))
    }
}

/// Refuses comprehension-required attributes that are not understood. RFC 8489 §6.3.1.
pub fn understood(policy: &Policy, request: &Message) -> Result<(), Reject> {
    let unknown = unknown_attributes(policy, request);
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Reject::Unknown(unknown))
    }
}

/// The comprehension-required attributes of a message that are not understood, each once: named in an answer, they take half
/// of what they took in the request at most.
pub fn unknown_attributes(policy: &Policy, message: &Message) -> Vec<AttributeType> {
    let mut unknown: Vec<AttributeType> = Vec::new();
    for (kind, _) in message
        .attributes()
        .filter(|(kind, _)| kind.is_comprehension_required())
    {
        if !is_understood(policy, kind) {
            unknown.push(kind);
        }
    }
    if unknown.len() > 1 {
        unknown.sort_unstable();
        unknown.dedup();
    }
    unknown
}

fn is_understood(policy: &Policy, kind: AttributeType) -> bool {
    match kind {
        AttributeType::PRIORITY | AttributeType::USE_CANDIDATE => false,
        AttributeType::CONNECTION_ID => policy.tcp_relays,
        AttributeType::CHANGE_REQUEST | AttributeType::PADDING | AttributeType::RESPONSE_PORT => {
            !policy.discovery.is_empty()
        }
        AttributeType::PASSWORD_ALGORITHM => policy.password_algorithms,
        _ => kind.name().is_some(),
    }
}

/// The one XOR-PEER-ADDRESS of a request. RFC 8656 §12.2.
pub fn peer_address(request: &Message) -> Result<SocketAddr, Reject> {
    let value = request
        .attribute(AttributeType::XOR_PEER_ADDRESS)
        .ok_or(Reject::BAD_REQUEST)?;
    attribute::read_xor_address(value, &request.transaction()).ok_or(Reject::BAD_REQUEST)
}

/// Refuses a peer of a family that the allocation has no relayed address for. RFC 8656 §10.2, §12.2.
pub fn same_family(state: &State, id: AllocationId, peer: SocketAddr) -> Result<(), Reject> {
    let family = Family::of(peer.ip());
    let half = state
        .table
        .get(id)
        .and_then(|allocation| allocation.halves.get(family));
    half.map(|_| ())
        .ok_or(Reject::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH))
}

/// LIFETIME as a request asks for it, in seconds.
pub fn requested_lifetime(request: &Message) -> Result<Option<u32>, Reject> {
    let Some(value) = request.attribute(AttributeType::LIFETIME) else {
        return Ok(None);
    };
    attribute::read_number(value)
        .map(Some)
        .ok_or(Reject::BAD_REQUEST)
}
