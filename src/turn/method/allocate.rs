//! Allocate: the RFC's checks in the RFC's order, then a port, then a socket, and only then the answer. RFC 8656 §7.2.

use crate::turn::allocation::channel::Channels;
use crate::turn::allocation::mobility::Mobility;
use crate::turn::allocation::permission::Permissions;
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::allocation::{
    Allocation, AllocationId, Binding, PortRequest, RelayedAddress, RelayedAddresses,
};
use crate::turn::auth::authenticate::AuthenticatedUser;
use crate::turn::effect::{BindError, Effect};
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use crate::turn::method::refresh::granted_lifetime;
use crate::turn::method::request::{owned, requested_lifetime};
use crate::turn::policy::Policy;
use crate::turn::policy::credentials;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::quota::ledger::QuotaRequest;
use crate::turn::quota::meter::NewPeerRate;
use crate::turn::respond::{Allocated, Outcome, Reply};
use crate::turn::return_path::ReturnPath;
use crate::turn::state::State;
use crate::turn::table::Relayed;
use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::registry::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::{AttributeType, ErrorCode, Message};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Makes an allocation whose answer waits for its sockets, or repeats the answer of one that the same request made.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    path: &ReturnPath,
    caller: &AuthenticatedUser,
    existing: Option<AllocationId>,
) -> Result<Outcome, Reject> {
    if let Some(id) = existing {
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        let repeated =
            allocation.transaction == request.transaction() && owned(state, id, caller).is_ok();
        if !repeated {
            return Err(Reject::MISMATCH);
        }
        let waits = allocation.binding.is_some();
        return Ok(if waits {
            Outcome::Later
        } else {
            success(state, now, id).into()
        });
    }
    let limits = state.policy.limits_of(&caller.realm);
    let mut wanted = Wanted::read(
        &state.policy,
        &limits,
        request,
        path.client.five_tuple.transport,
    )?;
    wanted.lifetime = caller
        .authorized
        .map_or(wanted.lifetime, |left| wanted.lifetime.min(left));
    let account = credentials::account(&caller.name);
    let user = if *account == *caller.name {
        caller.name.clone()
    } else {
        account.into()
    };
    welcome(state, now, path, &user)?;
    let address = path.client.five_tuple.client.ip();
    let mobility = mobility(&state.policy, request)?;
    let applicant = QuotaRequest {
        realm: &caller.realm.name,
        user: &user,
        address,
        unix: state.unix(now),
    };
    let grant = state.shared.ledger.grant(&limits, &applicant)?;
    let claimed = claim_all(state, now, &wanted)?;
    let binding = Binding {
        path: path.clone(),
        lifetime: wanted.lifetime,
        outstanding: claimed.locals.len() as u8,
        tries: 0,
        wish: wanted.wish,
    };
    let allocation = Allocation {
        serial: state.next_serial(),
        client: path.client,
        owner: caller.owner(now),
        transaction: request.transaction(),
        protocol: wanted.protocol,
        halves: RelayedAddresses::default(),
        binding: Some(Box::new(binding)),
        failed: claimed.failed,
        reserved: claimed.reserved,
        permissions: Permissions::default(),
        channels: Channels::default(),
        mobility,
        connections: Vec::new(),
        doors: Vec::new(),
        started: now,
        look: Instant::NEVER,
        traffic: Traffic::default(),
        pace: NewPeerRate::new(limits.new_peers),
        grant,
    };
    insert(state, now, allocation, claimed.locals);
    Ok(Outcome::Later)
}

/// Whether a new allocation of a user's is welcome: not while this server sends its clients elsewhere (300, or 508 when
/// it is leaving and there is no elsewhere), nor from a user whom the operator keeps out (403).
fn welcome(state: &State, now: Instant, path: &ReturnPath, user: &str) -> Result<(), Reject> {
    if state.policy.draining || state.policy.redirect {
        let alternate = state
            .policy
            .alternate
            .clone()
            .filter(|a| a.serves(path.client.five_tuple.client));
        return Err(alternate.map_or(Reject::CAPACITY, Reject::Alternate));
    }
    if state.policy.blocks(user, state.unix(now)) {
        return Err(Reject::Code(ErrorCode::FORBIDDEN));
    }
    Ok(())
}

/// How a bind that an allocation waits for went: another port is tried while there is a chance, and with the last
/// socket the request is answered.
pub fn bound(state: &mut State, now: Instant, relayed: RelayedId, outcome: Result<(), BindError>) {
    let Some(id) = state
        .table
        .relayed(relayed)
        .map(|relayed| relayed.allocation)
    else {
        return;
    };
    match outcome {
        Ok(()) => state.table.note_bound(relayed),
        Err(BindError::InUse) if retry(state, now, id, relayed).is_some() => return,
        Err(_) => give_up(state, id, relayed),
    }
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let Some(binding) = allocation.binding.as_mut() else {
        return;
    };
    binding.outstanding = binding.outstanding.saturating_sub(1);
    if binding.outstanding > 0 {
        return;
    }
    let Some(binding) = allocation.binding.take() else {
        return;
    };
    if allocation.halves.is_empty() {
        if let Some(token) = allocation.reserved {
            state.release_reserved(now, &token);
        }
        state.table.remove(id);
        return state.respond(now, &binding.path, &Err(Reject::CAPACITY));
    }
    state.begin(now, id, binding.lifetime);
    let reply = success(state, now, id);
    state.respond(now, &binding.path, &Ok(reply));
}

/// What an Allocate request asks for, in so far as it may ask for it.
struct Wanted {
    protocol: Protocol,
    /// The family, or IPv4 and IPv6 both.
    families: Families,
    wish: PortRequest,
    token: Option<ReservationToken>,
    lifetime: Duration,
}

enum Families {
    One(Family),
    Both,
}

impl Wanted {
    fn read(
        policy: &Policy,
        limits: &Limits,
        request: &Message,
        client: Transport,
    ) -> Result<Wanted, Reject> {
        let protocol = protocol(policy, request, client)?;
        let family = request.attribute(AttributeType::REQUESTED_ADDRESS_FAMILY);
        let additional = request.attribute(AttributeType::ADDITIONAL_ADDRESS_FAMILY);
        let even = request.attribute(AttributeType::EVEN_PORT);
        let token = request.attribute(AttributeType::RESERVATION_TOKEN);
        if token.is_some() && (even.is_some() || family.is_some() || additional.is_some()) {
            return Err(Reject::BAD_REQUEST);
        }
        let token = token
            .map(ReservationToken::try_from)
            .transpose()
            .map_err(|_| Reject::BAD_REQUEST)?;
        if family.is_some() && additional.is_some() {
            return Err(Reject::BAD_REQUEST);
        }
        let wish = match even.map(attribute::read_even_port) {
            None if token.is_some() => PortRequest::Reserved,
            None => PortRequest::Any,
            Some(None) => return Err(Reject::BAD_REQUEST),
            Some(Some(false)) => PortRequest::Even,
            Some(Some(true)) if additional.is_some() => return Err(Reject::BAD_REQUEST),
            Some(Some(true)) => PortRequest::EvenAndNext,
        };
        let families = families(policy, family, additional, token.is_some())?;
        let lifetime = granted_lifetime(limits, requested_lifetime(request)?);
        Ok(Wanted {
            protocol,
            families,
            wish,
            token,
            lifetime,
        })
    }
}

/// Whether the allocation is to be mobile: MOBILITY-TICKET, empty. RFC 8016 §3.1.2.
fn mobility(policy: &Policy, request: &Message) -> Result<Option<Box<Mobility>>, Reject> {
    match request.attribute(AttributeType::MOBILITY_TICKET) {
        None => Ok(None),
        Some(_) if !policy.mobility => Err(Reject::Code(ErrorCode::MOBILITY_FORBIDDEN)),
        Some([]) => Ok(Some(Box::default())),
        Some(_) => Err(Reject::BAD_REQUEST),
    }
}

fn protocol(policy: &Policy, request: &Message, client: Transport) -> Result<Protocol, Reject> {
    let value = request
        .attribute(AttributeType::REQUESTED_TRANSPORT)
        .ok_or(Reject::BAD_REQUEST)?;
    match attribute::read_first_of_four(value).ok_or(Reject::BAD_REQUEST)? {
        PROTOCOL_UDP if policy.udp_relays => Ok(Protocol::Udp),
        PROTOCOL_UDP => Err(Reject::Code(ErrorCode::FORBIDDEN)),
        PROTOCOL_TCP if policy.tcp_relays => {
            let fits = client.is_stream() && !NOT_OF_TCP.iter().any(|kind| request.has(*kind));
            if fits {
                Ok(Protocol::Tcp)
            } else {
                Err(Reject::BAD_REQUEST)
            }
        }
        _ => Err(Reject::Code(ErrorCode::UNSUPPORTED_TRANSPORT)),
    }
}

fn families(
    policy: &Policy,
    family: Option<&[u8]>,
    additional: Option<&[u8]>,
    by_token: bool,
) -> Result<Families, Reject> {
    if let Some(value) = additional {
        let code = attribute::read_first_of_four(value);
        return match code.and_then(Family::from_code) {
            Some(Family::V6) => Ok(Families::Both),
            _ => Err(Reject::BAD_REQUEST),
        };
    }
    let family = match family {
        None => Family::V4,
        Some(value) => {
            let code = attribute::read_first_of_four(value).ok_or(Reject::BAD_REQUEST)?;
            Family::from_code(code).ok_or(Reject::Code(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))?
        }
    };
    if by_token || supports(policy, family) {
        return Ok(Families::One(family));
    }
    Err(Reject::Code(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))
}

fn supports(policy: &Policy, family: Family) -> bool {
    policy
        .relay_addresses
        .iter()
        .any(|relay| Family::of(relay.local) == family)
}

/// The ports of a new allocation, and why a half is missing.
struct Claimed {
    locals: Vec<SocketAddr>,
    failed: Option<(Family, ErrorCode)>,
    reserved: Option<ReservationToken>,
}

fn claim_all(state: &mut State, now: Instant, wanted: &Wanted) -> Result<Claimed, Reject> {
    if let Some(token) = &wanted.token {
        let local = state
            .shared
            .reservations
            .redeem(now, token)
            .ok_or(Reject::CAPACITY)?;
        return Ok(Claimed {
            locals: vec![local],
            failed: None,
            reserved: None,
        });
    }
    match wanted.families {
        Families::One(family) => {
            let local = claim(state, now, family, wanted.wish).ok_or(Reject::CAPACITY)?;
            let reserved = reserve_next(state, now, local, wanted.wish, None)?;
            Ok(Claimed {
                locals: vec![local],
                failed: None,
                reserved,
            })
        }
        Families::Both => {
            let mut claimed = Claimed {
                locals: Vec::new(),
                failed: None,
                reserved: None,
            };
            for family in [Family::V4, Family::V6] {
                match claim(state, now, family, wanted.wish) {
                    Some(local) => claimed.locals.push(local),
                    None if supports(&state.policy, family) => {
                        claimed.failed = Some((family, ErrorCode::INSUFFICIENT_CAPACITY));
                    }
                    None => {
                        claimed.failed = Some((family, ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))
                    }
                }
            }
            if claimed.locals.is_empty() {
                Err(Reject::CAPACITY)
            } else {
                Ok(claimed)
            }
        }
    }
}

/// Claims a port on one of the relay addresses of a family, which are used in turn from a random one on.
fn claim(state: &mut State, now: Instant, family: Family, wish: PortRequest) -> Option<SocketAddr> {
    let addresses: Vec<IpAddr> = state
        .policy
        .relay_addresses
        .iter()
        .map(|r| r.local)
        .filter(|ip| Family::of(*ip) == family)
        .collect();
    let first = state.random.number() as usize % addresses.len().max(1);
    let in_turn = addresses.iter().cycle().skip(first).take(addresses.len());
    for &address in in_turn {
        if let Some(local) = claim_on(state, address, wish) {
            return Some(local);
        }
    }
    // Reservations that nobody redeemed may be all that stands in the way.
    state.shared.reservations.expire(now);
    addresses
        .iter()
        .find_map(|&address| claim_on(state, address, wish))
}

fn claim_on(state: &mut State, address: IpAddr, wish: PortRequest) -> Option<SocketAddr> {
    let random = state.random.number();
    let ports = &state.shared.ports;
    let port = match wish {
        PortRequest::Any => ports.claim(address, random),
        PortRequest::Even => ports.claim_even(address, random, false),
        PortRequest::EvenAndNext => ports.claim_even(address, random, true),
        PortRequest::Reserved => None,
    };
    port.map(|port| SocketAddr::new(address, port))
}

/// Holds the port above `local` where the wish says so, under `token` or a new one.
fn reserve_next(
    state: &mut State,
    now: Instant,
    local: SocketAddr,
    wish: PortRequest,
    token: Option<ReservationToken>,
) -> Result<Option<ReservationToken>, Reject> {
    if wish != PortRequest::EvenAndNext {
        return Ok(None);
    }
    let token = token.unwrap_or_else(|| state.random.octets());
    let next = SocketAddr::new(local.ip(), local.port() + 1);
    if state.shared.reservations.hold(now, token, next) {
        return Ok(Some(token));
    }
    state.shared.ports.release(local);
    state.shared.ports.release(next);
    Err(Reject::CAPACITY)
}

/// Enters an allocation, and has its sockets bound.
fn insert(state: &mut State, now: Instant, allocation: Allocation, locals: Vec<SocketAddr>) {
    let protocol = allocation.protocol;
    let id = state.table.insert(allocation);
    for local in locals {
        let external = state.policy.external(local);
        let relayed = state.table.insert_relayed(Relayed {
            allocation: id,
            protocol,
            local,
            external,
            bound: false,
        });
        if let Some(allocation) = state.table.get_mut(id) {
            *allocation.halves.place(Family::of(local.ip())) = Some(RelayedAddress {
                relayed,
                expires: now,
            });
        }
        state.effects.push(Effect::Bind {
            relayed,
            local,
            protocol,
        });
    }
}

/// Tries another port for a relayed address whose port somebody outside has. `None` when there is no other, or when it
/// was tried often enough.
fn retry(state: &mut State, now: Instant, id: AllocationId, relayed: RelayedId) -> Option<()> {
    let taken = state.table.relayed(relayed)?.local;
    let allocation = state.table.get_mut(id)?;
    let (reserved, protocol) = (allocation.reserved, allocation.protocol);
    let binding = allocation.binding.as_mut()?;
    binding.tries += 1;
    let (tries, wish) = (binding.tries, binding.wish);
    if tries >= MOST_TRIES || wish == PortRequest::Reserved {
        return None;
    }
    state.shared.reservations.expire(now);
    // The taken port stays claimed until another is, so that it is not chosen again.
    let local = claim_on(state, taken.ip(), wish)?;
    if let Some(token) = reserved {
        state.release_reserved(now, &token);
        if reserve_next(state, now, local, wish, Some(token)).is_err() {
            return None;
        }
    }
    state.shared.ports.release(taken);
    let external = state.policy.external(local);
    let place = state.table.relayed_mut(relayed)?;
    (place.local, place.external) = (local, external);
    state.effects.push(Effect::Bind {
        relayed,
        local,
        protocol,
    });
    Some(())
}

/// Does without a half whose socket cannot be bound.
fn give_up(state: &mut State, id: AllocationId, relayed: RelayedId) {
    let Some(local) = state.table.relayed(relayed).map(|relayed| relayed.local) else {
        return;
    };
    state.release(relayed);
    let family = Family::of(local.ip());
    if let Some(allocation) = state.table.get_mut(id) {
        *allocation.halves.place(family) = None;
        allocation.failed = Some((family, ErrorCode::INSUFFICIENT_CAPACITY));
    }
}

/// The success response of an allocation, the same for a retransmitted request.
fn success(state: &State, now: Instant, id: AllocationId) -> Reply {
    let Some(allocation) = state.table.get(id) else {
        return Reply::Done;
    };
    let left = allocation.halves.first_expiry().since(now);
    Reply::Allocated(Box::new(Allocated {
        relayed: state.table.externals(id),
        failed: allocation.failed,
        // Rounded up, so that a retransmission within the second gets the same answer.
        lifetime: left.as_millis().div_ceil(1000) as u32,
        reserved: allocation.reserved,
        ticket: state.ticket(id),
        mapped: allocation.client.five_tuple.client,
    }))
}

/// What an Allocate request for a TCP relay must not have. RFC 6062 §5.1.
const NOT_OF_TCP: [AttributeType; 3] = [
    AttributeType::DONT_FRAGMENT,
    AttributeType::EVEN_PORT,
    AttributeType::RESERVATION_TOKEN,
];

/// How many ports are tried before an allocation fails: whoever has so many ports of the range has it all.
const MOST_TRIES: u8 = 32;
