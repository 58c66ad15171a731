//! The methods, one file each. A handler reads like the section of the RFC that it follows: one `?` for each rule, and
//! the error of a rule is the error response.

pub mod allocate;
mod binding;
mod channel_bind;
mod create_permission;
mod refresh;
pub mod send;

use super::allocation::AllocationId;
use super::auth::{Caller, Desk};
use super::five_tuple::Client;
use super::policy::Policy;
use super::reject::{Discard, Reject};
use super::respond::{Reply, ReturnPath};
use super::state::State;
use super::time::Instant;
use crate::wire::attribute::{self, Family};
use crate::wire::{AttributeType, ErrorCode, Message, Method};
use std::net::SocketAddr;

/// Answers a request; `None` when the answer has to wait. RFC 8489 §6.3, RFC 8656 §5.
///
/// # Errors
/// The error response, or a silence.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    path: &mut ReturnPath,
) -> Result<Option<Reply>, Reject> {
    let client = path.client;
    match request.method() {
        Method::BINDING => return binding::answer(state, request, path).map(Some),
        Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {}
        _ => return Err(Discard::UnknownMethod.into()),
    }
    let existing = state.table.of_client(&client.five_tuple);
    let caller = authenticate(state, now, request, &client, existing)?;
    path.sealed = Some((caller.key.clone(), caller.seal));
    understood(&state.policy, request)?;
    if request.method() == Method::ALLOCATE {
        return allocate::answer(state, now, request, path, &caller, existing);
    }
    let id = existing.ok_or(Reject::MISMATCH)?;
    owned(state, id, &caller)?;
    match request.method() {
        Method::REFRESH => refresh::answer(state, now, request, id),
        Method::CREATE_PERMISSION => create_permission::answer(state, now, request, id, &caller.realm),
        _ => channel_bind::answer(state, now, request, id, &caller.realm),
    }
    .map(Some)
}

fn authenticate(
    state: &State,
    now: Instant,
    request: &Message,
    client: &Client,
    existing: Option<AllocationId>,
) -> Result<Caller, Reject> {
    let owner = existing.and_then(|id| state.table.get(id)).map(|allocation| &allocation.owner);
    let desk = Desk {
        policy: &state.policy,
        nonces: &state.shared.nonce_key,
        now,
        unix: state.unix(now),
        client: client.five_tuple.client,
        known: owner.map(|owner| (&owner.name, &owner.realm, &owner.key)),
    };
    desk.authenticate(request)
}

/// Only whoever made an allocation may use it. RFC 8656 §5.
fn owned(state: &State, id: AllocationId, caller: &Caller) -> Result<(), Reject> {
    let owner = state.table.get(id).map(|allocation| &allocation.owner).ok_or(Reject::MISMATCH)?;
    let same = owner.name == caller.name && owner.realm == caller.realm.name;
    if same { Ok(()) } else { Err(Reject::Code(ErrorCode::WRONG_CREDENTIALS)) }
}

/// Refuses comprehension-required attributes that are not understood. RFC 8489 §6.3.1.
fn understood(policy: &Policy, request: &Message) -> Result<(), Reject> {
    let unknown = unknown_attributes(policy, request);
    if unknown.is_empty() { Ok(()) } else { Err(Reject::Unknown(unknown)) }
}

fn unknown_attributes(policy: &Policy, message: &Message) -> Vec<AttributeType> {
    let mut unknown: Vec<AttributeType> = Vec::new();
    for (kind, _) in message.attributes().filter(|(kind, _)| kind.is_comprehension_required()) {
        if !is_understood(policy, kind) && !unknown.contains(&kind) && unknown.len() < MOST_UNKNOWN {
            unknown.push(kind);
        }
    }
    unknown
}

fn is_understood(policy: &Policy, kind: AttributeType) -> bool {
    match kind {
        AttributeType::PRIORITY | AttributeType::USE_CANDIDATE | AttributeType::CONNECTION_ID => false,
        AttributeType::CHANGE_REQUEST | AttributeType::PADDING | AttributeType::RESPONSE_PORT => {
            !policy.discovery.is_empty()
        }
        AttributeType::ACCESS_TOKEN => false,
        AttributeType::PASSWORD_ALGORITHM => policy.password_algorithms,
        _ => kind.name().is_some(),
    }
}

/// The one XOR-PEER-ADDRESS of a request. RFC 8656 §12.2.
fn peer_address(request: &Message) -> Result<SocketAddr, Reject> {
    let value = request.attribute(AttributeType::XOR_PEER_ADDRESS).ok_or(Reject::BAD_REQUEST)?;
    attribute::read_xor_address(value, &request.transaction()).ok_or(Reject::BAD_REQUEST)
}

/// Refuses a peer of a family that the allocation has no relayed address for. RFC 8656 §10.2, §12.2.
fn same_family(state: &State, id: AllocationId, peer: SocketAddr) -> Result<(), Reject> {
    let family = Family::of(peer.ip());
    let half = state.table.get(id).and_then(|allocation| allocation.halves.get(family));
    half.map(|_| ()).ok_or(Reject::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH))
}

/// LIFETIME as a request asks for it, in seconds.
fn requested_lifetime(request: &Message) -> Result<Option<u32>, Reject> {
    let Some(value) = request.attribute(AttributeType::LIFETIME) else { return Ok(None) };
    attribute::read_number(value).map(Some).ok_or(Reject::BAD_REQUEST)
}

/// The most types that UNKNOWN-ATTRIBUTES names, so that the answer stays shorter than the request.
const MOST_UNKNOWN: usize = 32;
