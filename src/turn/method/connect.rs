//! TCP relays: Connect, its outcome, and connections that peers make. RFC 6062 §5.2, §5.3.

use crate::turn::allocation::connection::{BIND_TIMEOUT, ConnectionStage, DataConnection};
use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::effect::Effect;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{AuthenticatedRequest, check_family};
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::state::response::{Outcome, Success};
use crate::turn::state::{State, forwarding, lifecycle, response};
use crate::wire::attribute::Family;
use crate::wire::{AttributeType, Class, ErrorCode, Method};
use std::net::SocketAddr;

/// Begins to connect to a peer. The response is sent when the outcome is known.
pub fn handle(
    state: &mut State,
    request: &AuthenticatedRequest,
    id: AllocationId,
) -> Result<Outcome, Reject> {
    let peer = request.peer_address()?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    if allocation.protocol != Protocol::Tcp || peer.port() == 0 {
        return Err(Reject::BAD_REQUEST);
    }
    if let Some(connection) = allocation
        .connections
        .iter()
        .find(|connection| connection.peer == peer)
    {
        let exists = Err(Reject::Code(ErrorCode::CONNECTION_ALREADY_EXISTS));
        return match &connection.stage {
            ConnectionStage::Connecting(path) if path.transaction == request.path.transaction => {
                Ok(Outcome::Pending)
            }
            ConnectionStage::Connecting(_)
            | ConnectionStage::Unbound(_)
            | ConnectionStage::Bound => exists,
        };
    }
    check_family(state, id, peer)?;
    forwarding::peer_scope(state, &request.user.realm, peer, Protocol::Tcp)?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    let address = allocation
        .relayed
        .get(Family::of(peer.ip()))
        .ok_or(Reject::MISMATCH)?;
    let local = state
        .table
        .socket(address.id)
        .ok_or(Reject::MISMATCH)?
        .local;
    check_room(state, id)?;
    if state
        .table
        .get_mut(id)
        .is_some_and(|allocation| !allocation.new_peer_rate.allows_peer(request.now, peer))
    {
        return Err(Reject::CAPACITY);
    }
    let connection = ConnectionId(state.random.number());
    insert(
        state,
        id,
        DataConnection {
            id: connection,
            peer,
            stage: ConnectionStage::Connecting(Box::new(request.path.clone())),
        },
    );
    state.output.push(Effect::Connect {
        connection,
        local,
        peer,
    });
    Ok(Outcome::Pending)
}

/// Responds to the Connect request whose [`Effect::Connect`] has an outcome.
pub fn connected(state: &mut State, now: Instant, connection: ConnectionId, succeeded: bool) {
    let Some(id) = state.table.find_connection(connection) else {
        return;
    };
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let is_connecting = |c: &&mut DataConnection| {
        c.id == connection && matches!(c.stage, ConnectionStage::Connecting(_))
    };
    let Some(entry) = allocation.connections.iter_mut().find(is_connecting) else {
        return;
    };
    let unbound = ConnectionStage::Unbound(now + BIND_TIMEOUT);
    let ConnectionStage::Connecting(path) = std::mem::replace(&mut entry.stage, unbound) else {
        return;
    };
    if succeeded
        && state
            .shared
            .directory
            .insert_connection(connection, allocation.owner.clone())
    {
        lifecycle::schedule_timer(state, id);
        return response::send(state, now, &path, &Ok(Success::Connected(connection)));
    }
    lifecycle::remove_connection(state, connection);
    if succeeded {
        state.output.push(Effect::CloseConnection { connection });
    }
    let error = Reject::Code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
    response::send(state, now, &path, &Err(error));
}

/// Tells a client that a permitted peer connected to its relayed address. Returns `None` if the
/// connection must be closed.
pub fn accepted(
    state: &mut State,
    now: Instant,
    relayed: RelayedId,
    peer: SocketAddr,
) -> Option<ConnectionId> {
    let id = state.table.socket(relayed)?.allocation;
    let peer = forwarding::external_peer(state, peer);
    if !forwarding::has_permission(state, now, id, peer) || check_room(state, id).is_err() {
        state.counters.count_discard(Discard::NoPermission);
        return None;
    }
    let connection = ConnectionId(state.random.number());
    let allocation = state.table.get(id)?;
    if !state
        .shared
        .directory
        .insert_connection(connection, allocation.owner.clone())
    {
        return None;
    }
    let client = allocation.client;
    insert(
        state,
        id,
        DataConnection {
            id: connection,
            peer,
            stage: ConnectionStage::Unbound(now + BIND_TIMEOUT),
        },
    );
    lifecycle::schedule_timer(state, id);
    let transaction = state.random.octets();
    let mut writer =
        state
            .output
            .message_writer(Class::Indication, Method::CONNECTION_ATTEMPT, &transaction);
    writer
        .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
        .number(AttributeType::CONNECTION_ID, connection.0);
    let message = writer.finish();
    state.output.send(client, None, message);
    Some(connection)
}

/// Refuses one more data connection than the limits allow.
fn check_room(state: &State, id: AllocationId) -> Result<(), Reject> {
    let policy = &state.policy;
    let has_room = |allocation: &Allocation| {
        let realm = policy.realm_named(&allocation.owner.realm);
        allocation.connections.len() < policy.limits_of(&realm).connections
    };
    match state.table.get(id).is_some_and(has_room) {
        true => Ok(()),
        false => Err(Reject::CAPACITY),
    }
}

fn insert(state: &mut State, id: AllocationId, connection: DataConnection) {
    state.table.insert_connection(connection.id, id);
    if let Some(allocation) = state.table.get_mut(id) {
        allocation.connections.push(connection);
    }
}
