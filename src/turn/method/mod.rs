//! The methods, one file each. A handler reads like the section of the RFC that it follows: one `?` for each rule, and
//! the error of a rule is the error response.

pub mod allocate;
mod binding;
mod channel_bind;
pub mod connect;
mod connection_bind;
mod create_permission;
mod refresh;
mod request;
pub mod send;

use crate::turn::allocation::AllocationId;
use crate::turn::auth::authenticate::{AuthenticatedUser, Authenticator};
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{owned, understood};
use crate::turn::policy::acl::is_tunneled;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::respond::Outcome;
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::State;
use crate::wire::{AttributeType, ErrorCode, Message, Method, integrity};

/// Decides on a request. RFC 8489 §6.3, RFC 8656 §5.
///
/// # Errors
/// The error response, or a silence.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    path: &mut ReturnPath,
) -> Result<Outcome, Reject> {
    let client = path.client;
    match request.method() {
        Method::BINDING => {
            if integrity::seal(request).is_some() {
                believed(state, now, request, path)?;
            }
            return binding::answer(state, request, path).map(Outcome::from);
        }
        Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {}
        Method::CONNECT | Method::CONNECTION_BIND if state.policy.tcp_relays => {}
        _ => return Err(Discard::UnknownMethod.into()),
    }
    let existing = state.table.of_client(&client.five_tuple);
    let ticket = refresh::ticket(state, request);
    if existing.is_none()
        && let Some(shard) = elsewhere(state, now, path, ticket.as_ref())
    {
        return Ok(Outcome::Elsewhere(shard));
    }
    let moving = ticket
        .as_ref()
        .and_then(|ticket| refresh::moving(state, ticket));
    let caller = authenticate(state, now, request, path, existing.or(moving))?;
    path.sealed = Some((caller.key.clone(), caller.seal));
    understood(&state.policy, request)?;
    if matches!(request.method(), Method::ALLOCATE | Method::CHANNEL_BIND)
        && is_tunneled(client.five_tuple.client.ip())
    {
        return Err(Reject::Code(ErrorCode::FORBIDDEN));
    }
    match request.method() {
        Method::ALLOCATE => return allocate::answer(state, now, request, path, &caller, existing),
        Method::CONNECTION_BIND => {
            return connection_bind::answer(state, now, request, path, &caller, existing);
        }
        _ => {}
    }
    if request.method() == Method::REFRESH && request.has(AttributeType::MOBILITY_TICKET) {
        return refresh::relocate(state, now, request, ticket, path, &caller, existing);
    }
    let id = existing.ok_or(Reject::MISMATCH)?;
    owned(state, id, &caller)?;
    match request.method() {
        Method::CONNECT => return connect::answer(state, now, request, path, id, &caller.realm),
        Method::REFRESH => refresh::answer(state, now, request, id, &caller),
        Method::CREATE_PERMISSION => {
            create_permission::answer(state, now, request, id, &caller.realm)
        }
        _ => channel_bind::answer(state, now, request, id, &caller.realm),
    }
    .map(Outcome::from)
}

/// Nobody has to say who asks for a Binding (RFC 8489 §12), but who does will believe only a sealed answer (§9.2.5).
fn believed(
    state: &State,
    now: Instant,
    request: &Message,
    path: &mut ReturnPath,
) -> Result<(), Reject> {
    let existing = state.table.of_client(&path.client.five_tuple);
    match authenticate(state, now, request, path, existing) {
        Ok(caller) => path.sealed = Some((caller.key, caller.seal)),
        Err(stale) if stale == Reject::STALE_NONCE => return Err(stale),
        Err(_) => {}
    }
    Ok(())
}

/// The other shard that answers a request of a client without an allocation here: the one that knows the client, or that made
/// the ticket which it shows.
fn elsewhere(
    state: &mut State,
    now: Instant,
    path: &ReturnPath,
    ticket: Option<&Ticket>,
) -> Option<u16> {
    let five_tuple = &path.client.five_tuple;
    if let Some(shard) = state.table.elsewhere(five_tuple) {
        return Some(shard);
    }
    let shard = ticket
        .map(|ticket| ticket.shard)
        .filter(|shard| *shard != state.shard)?;
    // A sender of datagrams may be forged, and is found by its five-tuple once it has moved.
    if !path.passed && five_tuple.transport != Transport::Udp {
        state.guests.welcome(now, five_tuple, shard);
    }
    Some(shard)
}

/// Who asks; `about` is the allocation that the request is about, whose key is good for it.
fn authenticate(
    state: &State,
    now: Instant,
    request: &Message,
    path: &mut ReturnPath,
    about: Option<AllocationId>,
) -> Result<AuthenticatedUser, Reject> {
    let owner = about
        .and_then(|id| state.table.get(id))
        .map(|allocation| &allocation.owner);
    let waited_for = connection_bind::waits_for(state, request);
    let desk = Authenticator {
        policy: &state.policy,
        nonces: &state.shared.nonce_key,
        now,
        unix: state.unix(now),
        client: path.client.five_tuple.client,
        known: owner.or(waited_for.as_ref()),
    };
    desk.authenticate(request).inspect_err(|reject| {
        if *reject == Reject::STALE_NONCE {
            path.proven = request.text(AttributeType::REALM).map(Box::from);
        }
    })
}
