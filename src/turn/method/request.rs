//! Requests, and the rules that several methods share.

use crate::turn::allocation::AllocationId;
use crate::turn::auth::authenticate::AuthenticatedUser;
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::Instant;
use crate::turn::policy::Policy;
use crate::turn::policy::reject::Reject;
use crate::turn::state::State;
use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::{AttributeType, ErrorCode, Message};
use std::net::SocketAddr;

/// A request whose sender is authenticated and whose attributes are understood.
pub struct AuthenticatedRequest<'a> {
    pub now: Instant,
    pub message: &'a Message<'a>,
    pub path: &'a ReturnPath,
    pub user: &'a AuthenticatedUser,
    /// The allocation of the client's five-tuple.
    pub existing: Option<AllocationId>,
}

impl AuthenticatedRequest<'_> {
    /// The allocation of the client's five-tuple: 437 if there is none, 441 if another user made
    /// it. RFC 8656 §5.
    pub fn own_allocation(&self, state: &State) -> Result<AllocationId, Reject> {
        let id = self.existing.ok_or(Reject::MISMATCH)?;
        self.check_owner(state, id)?;
        Ok(id)
    }

    /// Refuses a user that did not make the allocation. RFC 8656 §5.
    pub fn check_owner(&self, state: &State, id: AllocationId) -> Result<(), Reject> {
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        match allocation
            .owner
            .identity()
            .is_same_user(&self.user.identity())
        {
            true => Ok(()),
            false => Err(Reject::Code(ErrorCode::WRONG_CREDENTIALS)),
        }
    }

    /// The request's XOR-PEER-ADDRESS. RFC 8656 §12.2.
    pub fn peer_address(&self) -> Result<SocketAddr, Reject> {
        let value = self
            .message
            .attribute(AttributeType::XOR_PEER_ADDRESS)
            .ok_or(Reject::BAD_REQUEST)?;
        attribute::read_xor_address(value, &self.message.transaction()).ok_or(Reject::BAD_REQUEST)
    }
}

/// Refuses comprehension-required attributes that the server does not understand. RFC 8489 §6.3.1.
pub fn check_attributes(policy: &Policy, request: &Message) -> Result<(), Reject> {
    let unknown = unknown_attributes(policy, request);
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Reject::UnknownAttributes(unknown))
    }
}

/// The comprehension-required attributes of a message that the server does not understand. Each
/// type is listed once, so that UNKNOWN-ATTRIBUTES has at most half the size of the attributes in
/// the request.
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
        // The registry names the attributes of all RFCs that are implemented.
        registered => registered.name().is_some(),
    }
}

/// Refuses a peer of a family for which the allocation has no relayed address. RFC 8656 §10.2,
/// §12.2.
pub fn check_family(state: &State, id: AllocationId, peer: SocketAddr) -> Result<(), Reject> {
    let family = Family::of(peer.ip());
    let address = state
        .table
        .get(id)
        .and_then(|allocation| allocation.relayed.get(family));
    match address {
        Some(_) => Ok(()),
        None => Err(Reject::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH)),
    }
}

/// The request's LIFETIME in seconds.
pub fn requested_lifetime(request: &Message) -> Result<Option<u32>, Reject> {
    let Some(value) = request.attribute(AttributeType::LIFETIME) else {
        return Ok(None);
    };
    attribute::read_number(value)
        .map(Some)
        .ok_or(Reject::BAD_REQUEST)
}
