//! The STUN methods, one file each. A handler reads like the section of the RFC that it implements:
//! one `?` for each rule, and the error of a rule is the error response.
//!
//! ```text
//!   Binding ───────────────────────────────────────────────────► binding
//!   other   ─► owning shard? ─► authenticate ─► attributes ─► one match over the methods
//!               forward          401, 438, …     420
//! ```

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
use crate::turn::ids::return_path::ReturnPath;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{AuthenticatedRequest, check_attributes};
use crate::turn::policy::Policy;
use crate::turn::policy::acl::is_tunneled;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::State;
use crate::turn::state::response::Outcome;
use crate::wire::{AttributeType, ErrorCode, Message, Method, integrity};

/// The methods that require authentication. The numbers of STUN methods are open, so an enumeration
/// makes the dispatch exhaustive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TurnMethod {
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
    Connect,
    ConnectionBind,
}

impl TurnMethod {
    /// The method with this number, if this server supports it.
    fn of(method: Method, policy: &Policy) -> Option<TurnMethod> {
        match method {
            Method::ALLOCATE => Some(TurnMethod::Allocate),
            Method::REFRESH => Some(TurnMethod::Refresh),
            Method::CREATE_PERMISSION => Some(TurnMethod::CreatePermission),
            Method::CHANNEL_BIND => Some(TurnMethod::ChannelBind),
            Method::CONNECT => policy.tcp_relays.then_some(TurnMethod::Connect),
            Method::CONNECTION_BIND => policy.tcp_relays.then_some(TurnMethod::ConnectionBind),
            _ => None,
        }
    }
}

/// Handles a request. RFC 8489 §6.3, RFC 8656 §5.
///
/// # Errors
/// The error response, or the reason for which there is no response.
pub fn handle(
    state: &mut State,
    now: Instant,
    message: &Message,
    path: &mut ReturnPath,
) -> Result<Outcome, Reject> {
    if message.method() == Method::BINDING {
        if integrity::seal(message).is_some() {
            seal_if_authentic(state, now, message, path)?;
        }
        return binding::handle(state, message, path).map(Outcome::from);
    }
    let method = TurnMethod::of(message.method(), &state.policy).ok_or(Discard::UnknownMethod)?;
    let five_tuple = path.client.five_tuple;
    let existing = state.table.find_client(&five_tuple);
    let ticket = refresh::ticket(state, message);
    if existing.is_none()
        && let Some(shard) = other_shard(state, now, path, ticket.as_ref())
    {
        return Ok(Outcome::OtherShard(shard));
    }
    let moving = ticket
        .as_ref()
        .and_then(|ticket| refresh::allocation_of(state, ticket));
    let user = authenticate(state, now, message, path, existing.or(moving))?;
    path.sealed = Some((user.key.clone(), user.seal));
    check_attributes(&state.policy, message)?;
    let request = AuthenticatedRequest {
        now,
        message,
        path,
        user: &user,
        existing,
    };
    match method {
        TurnMethod::Allocate => {
            refuse_tunnel(&request)?;
            allocate::handle(state, &request)
        }
        TurnMethod::Refresh if message.has(AttributeType::MOBILITY_TICKET) => {
            refresh::handle_move(state, &request, ticket)
        }
        TurnMethod::Refresh => {
            let id = request.own_allocation(state)?;
            refresh::handle(state, &request, id).map(Outcome::from)
        }
        TurnMethod::CreatePermission => {
            let id = request.own_allocation(state)?;
            create_permission::handle(state, &request, id).map(Outcome::from)
        }
        TurnMethod::ChannelBind => {
            refuse_tunnel(&request)?;
            let id = request.own_allocation(state)?;
            channel_bind::handle(state, &request, id).map(Outcome::from)
        }
        TurnMethod::Connect => {
            let id = request.own_allocation(state)?;
            connect::handle(state, &request, id)
        }
        TurnMethod::ConnectionBind => connection_bind::handle(state, &request),
    }
}

/// Binding needs no authentication (RFC 8489 §12), but a client that sealed its request accepts
/// only a sealed response (§9.2.5).
fn seal_if_authentic(
    state: &State,
    now: Instant,
    message: &Message,
    path: &mut ReturnPath,
) -> Result<(), Reject> {
    let existing = state.table.find_client(&path.client.five_tuple);
    match authenticate(state, now, message, path, existing) {
        Ok(user) => path.sealed = Some((user.key, user.seal)),
        Err(stale) if stale == Reject::STALE_NONCE => return Err(stale),
        Err(_) => {}
    }
    Ok(())
}

/// The other shard that must handle a request from a client without an allocation on this one: the
/// shard that has the client's allocation, or the shard that issued the presented ticket.
fn other_shard(
    state: &mut State,
    now: Instant,
    path: &ReturnPath,
    ticket: Option<&Ticket>,
) -> Option<u16> {
    let five_tuple = &path.client.five_tuple;
    if let Some(shard) = state.table.other_shard_of(five_tuple) {
        return Some(shard);
    }
    let shard = ticket
        .map(|ticket| ticket.shard)
        .filter(|shard| *shard != state.shard)?;
    // A datagram may have a forged source, so no entry is made for it. After the move the
    // directory has the five-tuple.
    if !path.from_shard && five_tuple.transport != Transport::Udp {
        state.foreign_clients.insert(now, five_tuple, shard);
    }
    Some(shard)
}

/// Authenticates a request. `allocation` is the one that the request concerns; the key of its owner
/// stays valid.
fn authenticate(
    state: &State,
    now: Instant,
    message: &Message,
    path: &mut ReturnPath,
    allocation: Option<AllocationId>,
) -> Result<AuthenticatedUser, Reject> {
    let owner = allocation
        .and_then(|id| state.table.get(id))
        .map(|allocation| &allocation.owner);
    let connection_owner = connection_bind::connection_owner(state, message);
    let authenticator = Authenticator {
        policy: &state.policy,
        nonce_key: &state.shared.nonce_key,
        now,
        unix_time: state.clock.unix_time(now),
        client: path.client.five_tuple.client,
        owner: owner.or(connection_owner.as_ref()),
    };
    authenticator.authenticate(message).inspect_err(|reject| {
        if *reject == Reject::STALE_NONCE {
            path.proven_realm = message.text(AttributeType::REALM).map(Box::from);
        }
    })
}

/// Refuses a client behind an automatic IPv6 tunnel. RFC 8656 §21.4.
fn refuse_tunnel(request: &AuthenticatedRequest) -> Result<(), Reject> {
    match is_tunneled(request.path.client.five_tuple.client.ip()) {
        true => Err(Reject::Code(ErrorCode::FORBIDDEN)),
        false => Ok(()),
    }
}
