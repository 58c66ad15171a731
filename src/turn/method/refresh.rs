//! Refresh: an allocation lives on, or ends. RFC 8656 §8.2.

use crate::turn::allocation::AllocationId;
use crate::turn::auth::authenticate::AuthenticatedUser;
use crate::turn::effect::EndReason;
use crate::turn::ids::relayed::Protocol;
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{owned, requested_lifetime};
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::respond::{Outcome, Reply};
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::State;
use crate::wire::attribute::{Family, read_first_of_four};
use crate::wire::{AttributeType, ErrorCode, Message, Method};
use std::time::Duration;

/// Sets the time-to-expiry of an allocation, or of one half of it; a lifetime of zero deletes.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    id: AllocationId,
    caller: &AuthenticatedUser,
) -> Result<Reply, Reject> {
    let (asked, family) = read(state, request, id)?;
    let applies = move |other: Family| family.is_none_or(|family| family == other);
    if asked == Some(0) {
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        if allocation.halves.iter().all(|(family, _)| applies(family)) {
            state.end(now, id, EndReason::Deleted);
        } else if let Some(family) = family {
            state.remove_half(now, id, family);
        }
        return Ok(Reply::Refreshed(0));
    }
    let lifetime = granted_lifetime(&state.policy.limits_of(&caller.realm), asked);
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    if caller.authorized.is_some() {
        allocation.owner = caller.owner(now);
    }
    let lifetime = lifetime.min(allocation.owner.authorized_until.since(now));
    for family in [Family::V4, Family::V6]
        .into_iter()
        .filter(|family| applies(*family))
    {
        if let Some(half) = allocation.halves.place(family) {
            half.expires = now + lifetime;
        }
    }
    state.look_in_time(id);
    state.purge_channels(now, id);
    state.renew_routes(now, id, |channel| applies(Family::of(channel.peer.ip())));
    Ok(Reply::Refreshed(lifetime.as_secs() as u32))
}

/// The lifetime that is asked for, and for which family, where only one is meant.
fn read(
    state: &State,
    request: &Message,
    id: AllocationId,
) -> Result<(Option<u32>, Option<Family>), Reject> {
    let asked = requested_lifetime(request)?;
    let Some(value) = request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY) else {
        return Ok((asked, None));
    };
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    let code = read_first_of_four(value).ok_or(Reject::BAD_REQUEST)?;
    let family = Family::from_code(code).filter(|family| allocation.halves.get(*family).is_some());
    Ok((
        asked,
        Some(family.ok_or(Reject::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH))?),
    ))
}

/// The ticket that a request shows to move an allocation, if this server made it.
pub fn ticket(state: &State, request: &Message) -> Option<Ticket> {
    let shown = request.method() == Method::REFRESH && state.policy.mobility;
    let value = shown
        .then(|| request.attribute(AttributeType::MOBILITY_TICKET))
        .flatten()?;
    state.shared.ticket_key.open(value)
}

/// The allocation that a ticket of this shard's is for, if it lives.
pub fn moving(state: &State, ticket: &Ticket) -> Option<AllocationId> {
    let lives = |id: &AllocationId| {
        state
            .table
            .get(*id)
            .is_some_and(|allocation| allocation.serial == ticket.serial)
    };
    Some(ticket.allocation).filter(lives)
}

/// Moves an allocation to the five-tuple that its client writes from, by the ticket that it shows. RFC 8016 §3.2.2.
pub fn relocate(
    state: &mut State,
    now: Instant,
    request: &Message,
    ticket: Option<Ticket>,
    path: &ReturnPath,
    caller: &AuthenticatedUser,
    existing: Option<AllocationId>,
) -> Result<Outcome, Reject> {
    if !state.policy.mobility {
        return Err(Reject::Code(ErrorCode::MOBILITY_FORBIDDEN));
    }
    let ticket = ticket.ok_or(Reject::BAD_REQUEST)?;
    let here = path.client.five_tuple;
    if ticket.shard != state.shard {
        // Else it would have been passed there.
        return Err(Reject::MISMATCH);
    }
    let id = moving(state, &ticket).ok_or(Reject::MISMATCH)?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    let mobility = allocation.mobility.as_ref().ok_or(Reject::BAD_REQUEST)?;
    let repeated = mobility.moved_by == Some(request.transaction()) && existing == Some(id);
    let has_moved = allocation.client.five_tuple != here || mobility.away;
    if !repeated && (!has_moved || ticket.generation != mobility.generation) {
        return Err(Reject::BAD_REQUEST);
    }
    // Who has a TCP relay stays with a stream. RFC 6062 §5.1.
    let relays_tcp = allocation.protocol == Protocol::Tcp;
    if relays_tcp && !here.transport.is_stream() {
        return Err(Reject::BAD_REQUEST);
    }
    owned(state, id, caller)?;
    if existing.is_some_and(|other| other != id) {
        return Err(Reject::MISMATCH);
    }
    // Before anything changes: a ticket is not spent on a request that is refused.
    read(state, request, id)?;
    if !repeated {
        state.relocate(now, id, &path.client, request.transaction());
        if relays_tcp {
            // No data comes over the control connection that could say that the client has arrived.
            state.arrive(now, id);
        }
    }
    match (answer(state, now, request, id, caller)?, state.ticket(id)) {
        (Reply::Refreshed(lifetime), Some(ticket)) => Ok(Reply::Moved(lifetime, ticket).into()),
        (reply, _) => Ok(reply.into()),
    }
}

/// What a request for a lifetime gets: at least the default, at most the maximum. RFC 8656 §7.2.
pub fn granted_lifetime(limits: &Limits, asked: Option<u32>) -> Duration {
    let asked = asked.map_or(limits.default_lifetime, |seconds| {
        Duration::from_secs(u64::from(seconds))
    });
    asked
        .min(limits.maximum_lifetime)
        .max(limits.default_lifetime)
}
