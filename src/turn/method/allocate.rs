//! Allocate: the checks of the RFC in its order, then a port, then a socket, and only then the
//! response. RFC 8656 §7.2.

use crate::turn::allocation::channel::Channels;
use crate::turn::allocation::mobility::Mobility;
use crate::turn::allocation::permission::Permissions;
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::allocation::{
    Allocation, AllocationId, PendingBind, PortRequest, RelayedAddress, RelayedAddresses,
};
use crate::turn::effect::{BindError, Effect};
use crate::turn::ids::five_tuple::Transport;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use crate::turn::method::refresh::granted_lifetime;
use crate::turn::method::request::{AuthenticatedRequest, requested_lifetime};
use crate::turn::policy::Policy;
use crate::turn::policy::credentials;
use crate::turn::policy::limits::Limits;
use crate::turn::policy::reject::Reject;
use crate::turn::quota::ledger::{QuotaRequest, UserKey};
use crate::turn::quota::new_peer_rate::NewPeerRate;
use crate::turn::state::response::{Allocated, Outcome, Success};
use crate::turn::state::{State, lifecycle, mobility, response};
use crate::turn::table::RelaySocket;
use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::registry::{PROTOCOL_TCP, PROTOCOL_UDP};
use crate::wire::{AttributeType, ErrorCode, Message};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Makes an allocation, whose response is sent when its sockets are bound. A retransmission gets
/// the same response again.
pub fn handle(state: &mut State, request: &AuthenticatedRequest) -> Result<Outcome, Reject> {
    let (now, message, path, user) = (request.now, request.message, request.path, request.user);
    if let Some(id) = request.existing {
        let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
        let is_retransmission = allocation.transaction == message.transaction()
            && request.check_owner(state, id).is_ok();
        if !is_retransmission {
            return Err(Reject::MISMATCH);
        }
        return Ok(match allocation.pending_bind {
            Some(_) => Outcome::Pending,
            None => success(state, now, id).into(),
        });
    }
    let limits = state.policy.limits_of(&user.realm);
    let transport = path.client.five_tuple.transport;
    let mut wanted = AllocateRequest::read(&state.policy, &limits, message, transport)?;
    if let Some(token_lifetime) = user.token_lifetime {
        wanted.lifetime = wanted.lifetime.min(token_lifetime);
    }
    let account = credentials::account(&user.name);
    let account = if *account == *user.name {
        user.name.clone()
    } else {
        account.into()
    };
    check_admission(state, request, &account)?;
    let mobility = mobility_state(&state.policy, message)?;
    let quota = QuotaRequest {
        realm: &user.realm.name,
        user: &account,
        address: path.client.five_tuple.client.ip(),
        unix_time: state.clock.unix_time(now),
    };
    let grant = state.shared.ledger.grant(&limits, &quota)?;
    let claimed = claim_ports(state, now, &wanted, grant.user())?;
    let pending_bind = PendingBind {
        path: path.clone(),
        lifetime: wanted.lifetime,
        outstanding: claimed.locals.len() as u8,
        tries: 0,
        port: wanted.port,
    };
    let allocation = Allocation {
        serial: state.serials.next(),
        client: path.client,
        owner: user.owner(now),
        transaction: message.transaction(),
        protocol: wanted.protocol,
        relayed: RelayedAddresses::default(),
        pending_bind: Some(Box::new(pending_bind)),
        failed_family: claimed.failed_family,
        reservation: claimed.reservation,
        permissions: Permissions::default(),
        channels: Channels::default(),
        mobility,
        connections: Vec::new(),
        hairpin_routes: Box::default(),
        started: now,
        timer: Instant::NEVER,
        traffic: Traffic::default(),
        new_peer_rate: NewPeerRate::new(limits.new_peers),
        grant,
    };
    insert(state, now, allocation, claimed.locals);
    Ok(Outcome::Pending)
}

/// Refuses new allocations while the server redirects or drains (300 with an alternate server, 508
/// without), and refuses new allocations of a blocked user (403).
fn check_admission(
    state: &State,
    request: &AuthenticatedRequest,
    account: &str,
) -> Result<(), Reject> {
    let policy = &state.policy;
    if policy.draining || policy.redirect {
        let client = request.path.client.five_tuple.client;
        let alternate = policy
            .alternate
            .clone()
            .filter(|alternate| alternate.serves(client));
        return Err(alternate.map_or(Reject::CAPACITY, Reject::Alternate));
    }
    if policy.blocks(account, state.clock.unix_time(request.now)) {
        return Err(Reject::Code(ErrorCode::FORBIDDEN));
    }
    Ok(())
}

/// Handles the outcome of an [`Effect::Bind`]. If the port is in use another one is tried. The
/// outcome of the last socket decides the response.
pub fn bound(state: &mut State, now: Instant, relayed: RelayedId, outcome: Result<(), BindError>) {
    let Some(id) = state.table.socket(relayed).map(|socket| socket.allocation) else {
        return;
    };
    match outcome {
        Ok(()) => state.table.set_bound(relayed),
        Err(BindError::InUse) if try_another_port(state, now, id, relayed).is_some() => return,
        Err(BindError::InUse | BindError::Failed) => drop_address(state, id, relayed),
    }
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let Some(pending) = allocation.pending_bind.as_mut() else {
        return;
    };
    pending.outstanding = pending.outstanding.saturating_sub(1);
    if pending.outstanding > 0 {
        return;
    }
    let Some(pending) = allocation.pending_bind.take() else {
        return;
    };
    if allocation.relayed.is_empty() {
        if let Some(token) = allocation.reservation {
            lifecycle::release_reservation(state, now, &token);
        }
        state.table.remove(id);
        return response::send(state, now, &pending.path, &Err(Reject::CAPACITY));
    }
    lifecycle::begin(state, now, id, pending.lifetime);
    let success = success(state, now, id);
    response::send(state, now, &pending.path, &Ok(success));
}

/// What an Allocate request demands, checked against the policy.
struct AllocateRequest {
    protocol: Protocol,
    families: Families,
    port: PortRequest,
    token: Option<ReservationToken>,
    lifetime: Duration,
}

enum Families {
    One(Family),
    /// IPv4 and IPv6: ADDITIONAL-ADDRESS-FAMILY.
    Both,
}

impl AllocateRequest {
    fn read(
        policy: &Policy,
        limits: &Limits,
        request: &Message,
        transport: Transport,
    ) -> Result<AllocateRequest, Reject> {
        let protocol = requested_protocol(policy, request, transport)?;
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
        let port = match even.map(attribute::read_even_port) {
            None if token.is_some() => PortRequest::Reserved,
            None => PortRequest::Any,
            Some(None) => return Err(Reject::BAD_REQUEST),
            Some(Some(false)) => PortRequest::Even,
            Some(Some(true)) if additional.is_some() => return Err(Reject::BAD_REQUEST),
            Some(Some(true)) => PortRequest::EvenAndReserveNext,
        };
        let families = requested_families(policy, family, additional, token.is_some())?;
        let lifetime = granted_lifetime(limits, requested_lifetime(request)?);
        Ok(AllocateRequest {
            protocol,
            families,
            port,
            token,
            lifetime,
        })
    }
}

/// The mobility state of the new allocation, if the request has an empty MOBILITY-TICKET. RFC 8016
/// §3.1.2.
fn mobility_state(policy: &Policy, request: &Message) -> Result<Option<Box<Mobility>>, Reject> {
    match request.attribute(AttributeType::MOBILITY_TICKET) {
        None => Ok(None),
        Some(_) if !policy.mobility => Err(Reject::Code(ErrorCode::MOBILITY_FORBIDDEN)),
        Some([]) => Ok(Some(Box::default())),
        Some(_) => Err(Reject::BAD_REQUEST),
    }
}

fn requested_protocol(
    policy: &Policy,
    request: &Message,
    transport: Transport,
) -> Result<Protocol, Reject> {
    let value = request
        .attribute(AttributeType::REQUESTED_TRANSPORT)
        .ok_or(Reject::BAD_REQUEST)?;
    match attribute::read_first_of_four(value).ok_or(Reject::BAD_REQUEST)? {
        PROTOCOL_UDP if policy.udp_relays => Ok(Protocol::Udp),
        PROTOCOL_UDP => Err(Reject::Code(ErrorCode::FORBIDDEN)),
        PROTOCOL_TCP if policy.tcp_relays => {
            let conflicts = NOT_WITH_TCP.iter().any(|kind| request.has(*kind));
            match transport.is_stream() && !conflicts {
                true => Ok(Protocol::Tcp),
                false => Err(Reject::BAD_REQUEST),
            }
        }
        _ => Err(Reject::Code(ErrorCode::UNSUPPORTED_TRANSPORT)),
    }
}

fn requested_families(
    policy: &Policy,
    family: Option<&[u8]>,
    additional: Option<&[u8]>,
    has_token: bool,
) -> Result<Families, Reject> {
    if let Some(value) = additional {
        let code = attribute::read_first_of_four(value);
        return match code.and_then(Family::from_code) {
            Some(Family::V6) => Ok(Families::Both),
            Some(Family::V4) | None => Err(Reject::BAD_REQUEST),
        };
    }
    let family = match family {
        None => Family::V4,
        Some(value) => {
            let code = attribute::read_first_of_four(value).ok_or(Reject::BAD_REQUEST)?;
            Family::from_code(code).ok_or(Reject::Code(ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED))?
        }
    };
    // A reservation has an address already.
    if has_token || supports(policy, family) {
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

/// The claimed ports of a new allocation.
struct ClaimedPorts {
    locals: Vec<SocketAddr>,
    failed_family: Option<(Family, ErrorCode)>,
    reservation: Option<ReservationToken>,
}

fn claim_ports(
    state: &mut State,
    now: Instant,
    wanted: &AllocateRequest,
    user: &UserKey,
) -> Result<ClaimedPorts, Reject> {
    if let Some(token) = &wanted.token {
        let local = state
            .shared
            .reservations
            .redeem(now, token)
            .ok_or(Reject::CAPACITY)?;
        return Ok(ClaimedPorts {
            locals: vec![local],
            failed_family: None,
            reservation: None,
        });
    }
    match wanted.families {
        Families::One(family) => {
            let local = claim_port(state, now, family, wanted.port).ok_or(Reject::CAPACITY)?;
            let reservation = reserve_next_port(state, now, local, wanted.port, user, None)?;
            Ok(ClaimedPorts {
                locals: vec![local],
                failed_family: None,
                reservation,
            })
        }
        Families::Both => {
            let mut claimed = ClaimedPorts {
                locals: Vec::new(),
                failed_family: None,
                reservation: None,
            };
            for family in [Family::V4, Family::V6] {
                match claim_port(state, now, family, wanted.port) {
                    Some(local) => claimed.locals.push(local),
                    None if supports(&state.policy, family) => {
                        claimed.failed_family = Some((family, ErrorCode::INSUFFICIENT_CAPACITY));
                    }
                    None => {
                        let error = ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED;
                        claimed.failed_family = Some((family, error));
                    }
                }
            }
            match claimed.locals.is_empty() {
                true => Err(Reject::CAPACITY),
                false => Ok(claimed),
            }
        }
    }
}

/// Claims a port on one of the relay addresses of a family. The addresses are tried in order from a
/// random one on.
fn claim_port(
    state: &mut State,
    now: Instant,
    family: Family,
    port: PortRequest,
) -> Option<SocketAddr> {
    let addresses: Vec<IpAddr> = state
        .policy
        .relay_addresses
        .iter()
        .map(|relay| relay.local)
        .filter(|ip| Family::of(*ip) == family)
        .collect();
    let first = state.random.number() as usize % addresses.len().max(1);
    let from_first = addresses.iter().cycle().skip(first).take(addresses.len());
    for &address in from_first {
        if let Some(local) = claim_port_on(state, address, port) {
            return Some(local);
        }
    }
    // Expired reservations may hold the last ports.
    state.shared.reservations.release_expired(now);
    addresses
        .iter()
        .find_map(|&address| claim_port_on(state, address, port))
}

fn claim_port_on(state: &mut State, address: IpAddr, port: PortRequest) -> Option<SocketAddr> {
    let random = state.random.number();
    let ports = &state.shared.ports;
    let port = match port {
        PortRequest::Any => ports.claim(address, random),
        PortRequest::Even => ports.claim_even(address, random),
        PortRequest::EvenAndReserveNext => ports.claim_even_and_next(address, random),
        PortRequest::Reserved => None,
    };
    port.map(|port| SocketAddr::new(address, port))
}

/// Reserves the port above `local` if the request demands it, under `token` or a new one.
fn reserve_next_port(
    state: &mut State,
    now: Instant,
    local: SocketAddr,
    port: PortRequest,
    user: &UserKey,
    token: Option<ReservationToken>,
) -> Result<Option<ReservationToken>, Reject> {
    if port != PortRequest::EvenAndReserveNext {
        return Ok(None);
    }
    let token = token.unwrap_or_else(|| state.random.octets());
    let next = SocketAddr::new(local.ip(), local.port() + 1);
    if state.shared.reservations.insert(now, token, user, next) {
        return Ok(Some(token));
    }
    state.shared.ports.release(local);
    state.shared.ports.release(next);
    Err(Reject::CAPACITY)
}

/// Inserts an allocation and requests its sockets.
fn insert(state: &mut State, now: Instant, allocation: Allocation, locals: Vec<SocketAddr>) {
    let protocol = allocation.protocol;
    let id = state.table.insert(allocation);
    for local in locals {
        let external = state.policy.external(local);
        let relayed = state.table.insert_socket(RelaySocket {
            allocation: id,
            protocol,
            local,
            external,
            bound: false,
        });
        if let Some(allocation) = state.table.get_mut(id) {
            *allocation.relayed.slot(Family::of(local.ip())) = Some(RelayedAddress {
                id: relayed,
                expires: now,
            });
        }
        state.output.push(Effect::Bind {
            relayed,
            local,
            protocol,
        });
    }
}

/// Tries another port for a relayed address whose port another process uses. Returns `None` if
/// there is no other port, or if too many were tried.
fn try_another_port(
    state: &mut State,
    now: Instant,
    id: AllocationId,
    relayed: RelayedId,
) -> Option<()> {
    let in_use = state.table.socket(relayed)?.local;
    let allocation = state.table.get_mut(id)?;
    let (reservation, protocol) = (allocation.reservation, allocation.protocol);
    let user = allocation.grant.user().clone();
    let pending = allocation.pending_bind.as_mut()?;
    pending.tries += 1;
    let (tries, port) = (pending.tries, pending.port);
    if tries >= MAX_TRIES || port == PortRequest::Reserved {
        return None;
    }
    state.shared.reservations.release_expired(now);
    // The port in use stays claimed until another is, so that it is not chosen again.
    let local = claim_port_on(state, in_use.ip(), port)?;
    if let Some(token) = reservation {
        lifecycle::release_reservation(state, now, &token);
        if reserve_next_port(state, now, local, port, &user, Some(token)).is_err() {
            return None;
        }
    }
    state.shared.ports.release(in_use);
    let external = state.policy.external(local);
    let socket = state.table.socket_mut(relayed)?;
    (socket.local, socket.external) = (local, external);
    state.output.push(Effect::Bind {
        relayed,
        local,
        protocol,
    });
    Some(())
}

/// Removes a relayed address whose socket cannot be bound. A dual allocation lives on with the
/// other one.
fn drop_address(state: &mut State, id: AllocationId, relayed: RelayedId) {
    let Some(local) = state.table.socket(relayed).map(|socket| socket.local) else {
        return;
    };
    lifecycle::release_socket(state, relayed);
    let family = Family::of(local.ip());
    if let Some(allocation) = state.table.get_mut(id) {
        *allocation.relayed.slot(family) = None;
        allocation.failed_family = Some((family, ErrorCode::INSUFFICIENT_CAPACITY));
    }
}

/// The success response of an allocation, the same for a retransmitted request.
fn success(state: &State, now: Instant, id: AllocationId) -> Success {
    let Some(allocation) = state.table.get(id) else {
        return Success::Empty;
    };
    let remaining = allocation.relayed.first_expiry().since(now);
    Success::Allocated(Box::new(Allocated {
        relayed: state.table.externals(id),
        failed_family: allocation.failed_family,
        // Rounded up, so that a retransmission within the second gets the same response.
        lifetime: remaining.as_millis().div_ceil(1000) as u32,
        reservation: allocation.reservation,
        ticket: mobility::ticket(state, id),
        mapped: allocation.client.five_tuple.client,
    }))
}

/// Attributes that an Allocate request for a TCP relay must not have. RFC 6062 §5.1.
const NOT_WITH_TCP: [AttributeType; 3] = [
    AttributeType::DONT_FRAGMENT,
    AttributeType::EVEN_PORT,
    AttributeType::RESERVATION_TOKEN,
];

/// Ports that are tried before an allocation fails. If so many are in use by other processes,
/// trying more is futile.
const MAX_TRIES: u8 = 32;
