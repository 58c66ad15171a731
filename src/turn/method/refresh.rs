//! Refresh: extends the life of an allocation, or ends it. RFC 8656 §8.2. With a ticket it also
//! moves the allocation. RFC 8016 §3.2.2.

use crate::turn::allocation::AllocationId;
use crate::turn::allocation::record::EndReason;
use crate::turn::ids::relayed::Protocol;
use crate::turn::method::request::{AuthenticatedRequest, requested_lifetime};
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::response::{Outcome, Success};
use crate::turn::state::{State, channel_routes, lifecycle, mobility};
use crate::wire::attribute::{Family, read_first_of_four};
use crate::wire::{AttributeType, ErrorCode, Message, Method};
use std::time::Duration;

/// Sets the time to expiry of an allocation, or of its address of one family. A lifetime of zero
/// deletes.
pub fn handle(
    state: &mut State,
    request: &AuthenticatedRequest,
    id: AllocationId,
) -> Result<Success, Reject> {
    let (now, user) = (request.now, request.user);
    let refresh = Refresh::read(state, request.message, id)?;
    if refresh.lifetime == Some(0) {
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        let deletes_all = allocation
            .relayed
            .iter()
            .all(|(family, _)| refresh.applies_to(family));
        match refresh.family {
            Some(family) if !deletes_all => lifecycle::remove_family(state, now, id, family),
            Some(_) | None => lifecycle::end(state, now, id, EndReason::Deleted),
        }
        return Ok(Success::Refreshed(0));
    }
    let lifetime = granted_lifetime(&state.policy.limits_of(&user.realm), refresh.lifetime);
    let allocation = state.table.get_mut(id).ok_or(Reject::MISMATCH)?;
    if user.token_lifetime.is_some() {
        allocation.owner = user.owner(now);
    }
    let lifetime = lifetime.min(allocation.owner.authorized_until.since(now));
    for family in [Family::V4, Family::V6] {
        if let Some(address) = allocation.relayed.slot(family)
            && refresh.applies_to(family)
        {
            address.expires = now + lifetime;
        }
    }
    lifecycle::schedule_timer(state, id);
    channel_routes::remove_expired(state, now, id);
    channel_routes::renew(state, now, id, |channel| {
        refresh.applies_to(Family::of(channel.peer.ip()))
    });
    Ok(Success::Refreshed(lifetime.as_secs() as u32))
}

/// What a Refresh request demands.
struct Refresh {
    /// LIFETIME in seconds.
    lifetime: Option<u32>,
    /// The family to refresh, `None` for all.
    family: Option<Family>,
}

impl Refresh {
    fn read(state: &State, request: &Message, id: AllocationId) -> Result<Refresh, Reject> {
        let lifetime = requested_lifetime(request)?;
        let Some(value) = request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY) else {
            return Ok(Refresh {
                lifetime,
                family: None,
            });
        };
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        let code = read_first_of_four(value).ok_or(Reject::BAD_REQUEST)?;
        let family = Family::from_code(code)
            .filter(|family| allocation.relayed.get(*family).is_some())
            .ok_or(Reject::Code(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH))?;
        Ok(Refresh {
            lifetime,
            family: Some(family),
        })
    }

    fn applies_to(&self, family: Family) -> bool {
        self.family.is_none_or(|requested| requested == family)
    }
}

/// The ticket in a Refresh request, if this server issued it.
pub fn ticket(state: &State, request: &Message) -> Option<Ticket> {
    if request.method() != Method::REFRESH || !state.policy.mobility {
        return None;
    }
    let value = request.attribute(AttributeType::MOBILITY_TICKET)?;
    state.shared.ticket_key.open(value)
}

/// The living allocation of a ticket that this shard issued.
pub fn allocation_of(state: &State, ticket: &Ticket) -> Option<AllocationId> {
    let allocation = state.table.get(ticket.allocation)?;
    (allocation.serial == ticket.serial).then_some(ticket.allocation)
}

/// Moves an allocation to the five-tuple of the request, then refreshes it. RFC 8016 §3.2.2.
pub fn handle_move(
    state: &mut State,
    request: &AuthenticatedRequest,
    ticket: Option<Ticket>,
) -> Result<Outcome, Reject> {
    if !state.policy.mobility {
        return Err(Reject::Code(ErrorCode::MOBILITY_FORBIDDEN));
    }
    let (now, client, existing) = (request.now, request.path.client, request.existing);
    let transaction = request.message.transaction();
    let ticket = ticket.ok_or(Reject::BAD_REQUEST)?;
    if ticket.shard != state.shard {
        // The client has an allocation here: otherwise the request would have been forwarded to
        // that shard.
        return Err(Reject::MISMATCH);
    }
    let id = allocation_of(state, &ticket).ok_or(Reject::MISMATCH)?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    let mobility = allocation.mobility.as_ref().ok_or(Reject::BAD_REQUEST)?;
    let is_retransmission = mobility.moved_by == Some(transaction) && existing == Some(id);
    let has_moved = allocation.client.five_tuple != client.five_tuple || mobility.detached;
    if !is_retransmission && (!has_moved || ticket.generation != mobility.generation) {
        return Err(Reject::BAD_REQUEST);
    }
    // The control connection of a TCP relay must be a stream. RFC 6062 §5.1.
    let relays_tcp = allocation.protocol == Protocol::Tcp;
    if relays_tcp && !client.five_tuple.transport.is_stream() {
        return Err(Reject::BAD_REQUEST);
    }
    request.check_owner(state, id)?;
    if existing.is_some_and(|other| other != id) {
        return Err(Reject::MISMATCH);
    }
    // Read the request before anything changes, so that a rejected request does not spend the
    // ticket.
    Refresh::read(state, request.message, id)?;
    if !is_retransmission {
        mobility::begin_move(state, now, id, &client, transaction);
        if relays_tcp {
            mobility::complete_move(state, now, id);
        }
    }
    match (handle(state, request, id)?, mobility::ticket(state, id)) {
        (Success::Refreshed(lifetime), Some(ticket)) => Ok(Success::Moved(lifetime, ticket).into()),
        (success, _) => Ok(success.into()),
    }
}

/// The lifetime that is granted: the requested one, at least the default and at most the maximum.
/// RFC 8656 §7.2.
pub fn granted_lifetime(limits: &Limits, requested: Option<u32>) -> Duration {
    let requested = requested.map_or(limits.default_lifetime, |seconds| {
        Duration::from_secs(u64::from(seconds))
    });
    requested
        .min(limits.maximum_lifetime)
        .max(limits.default_lifetime)
}
