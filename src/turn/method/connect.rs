//! TCP relays: Connect, what comes of it, and connections that peers make. RFC 6062 §5.2, §5.3.

use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::effect::Effect;
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::method::request::{peer_address, same_family};
use crate::turn::policy::realm::Realm;
use crate::turn::policy::reject::{Discard, Reject};
use crate::turn::respond::{Outcome, Reply};
use crate::turn::return_path::ReturnPath;
use crate::turn::shared::connection_ids::{Connection, ConnectionId, PATIENCE, Stage};
use crate::turn::state::State;
use crate::wire::attribute::Family;
use crate::wire::{AttributeType, Class, ErrorCode, Message, Method, Writer};
use std::net::SocketAddr;

/// Starts a connection to a peer; the answer waits for it.
pub fn answer(
    state: &mut State,
    now: Instant,
    request: &Message,
    path: &ReturnPath,
    id: AllocationId,
    realm: &Realm,
) -> Result<Outcome, Reject> {
    let peer = peer_address(request)?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    if allocation.protocol != Protocol::Tcp || peer.port() == 0 {
        return Err(Reject::BAD_REQUEST);
    }
    if let Some(connection) = allocation
        .connections
        .iter()
        .find(|connection| connection.peer == peer)
    {
        return match &connection.stage {
            Stage::Connecting(first) if first.transaction == path.transaction => Ok(Outcome::Later),
            _ => Err(Reject::Code(ErrorCode::CONNECTION_ALREADY_EXISTS)),
        };
    }
    same_family(state, id, peer)?;
    state.reach(realm, peer, Protocol::Tcp)?;
    let allocation = state.table.get(id).ok_or(Reject::MISMATCH)?;
    let half = allocation
        .halves
        .get(Family::of(peer.ip()))
        .ok_or(Reject::MISMATCH)?;
    let local = state
        .table
        .relayed(half.relayed)
        .ok_or(Reject::MISMATCH)?
        .local;
    has_room(state, id)?;
    if state
        .table
        .get_mut(id)
        .is_some_and(|allocation| !allocation.pace.admits_peer(now, peer))
    {
        return Err(Reject::CAPACITY);
    }
    let connection = ConnectionId(state.random.number());
    enter(
        state,
        id,
        Connection {
            id: connection,
            peer,
            stage: Stage::Connecting(Box::new(path.clone())),
        },
    );
    state.effects.push(Effect::Connect {
        connection,
        local,
        peer,
    });
    Ok(Outcome::Later)
}

/// How an [`Effect::Connect`] went: the request that waited is answered.
pub fn connected(state: &mut State, now: Instant, connection: ConnectionId, succeeded: bool) {
    let Some(id) = state.table.of_connection(connection) else {
        return;
    };
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let connecting =
        |c: &&mut Connection| c.id == connection && matches!(c.stage, Stage::Connecting(_));
    let Some(at) = allocation.connections.iter_mut().find(connecting) else {
        return;
    };
    let Stage::Connecting(path) = std::mem::replace(&mut at.stage, Stage::Pending(now + PATIENCE))
    else {
        return;
    };
    if succeeded
        && state
            .shared
            .connections
            .enter(connection, allocation.owner.clone())
    {
        state.look_in_time(id);
        return state.respond(now, &path, &Ok(Reply::Connected(connection)));
    }
    state.forget_connection(connection);
    if succeeded {
        state.effects.push(Effect::CloseConnection { connection });
    }
    state.respond(
        now,
        &path,
        &Err(Reject::Code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE)),
    );
}

/// A peer connected to a relayed address: its client is told, if the peer is permitted. `None` when the connection must
/// be closed at once.
pub fn accepted(
    state: &mut State,
    now: Instant,
    relayed: RelayedId,
    peer: SocketAddr,
) -> Option<ConnectionId> {
    let id = state.table.relayed(relayed)?.allocation;
    let peer = state.known_as(peer);
    if !state.admits(now, id, peer) || has_room(state, id).is_err() {
        state.counters.count_discard(Discard::NoPermission);
        return None;
    }
    let connection = ConnectionId(state.random.number());
    let allocation = state.table.get(id)?;
    if !state
        .shared
        .connections
        .enter(connection, allocation.owner.clone())
    {
        return None;
    }
    let client = allocation.client;
    enter(
        state,
        id,
        Connection {
            id: connection,
            peer,
            stage: Stage::Pending(now + PATIENCE),
        },
    );
    state.look_in_time(id);
    let transaction = state.random.octets();
    let mut writer = Writer::new(
        &mut state.messages,
        Class::Indication,
        Method::CONNECTION_ATTEMPT,
        &transaction,
    );
    writer
        .xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
        .number(AttributeType::CONNECTION_ID, connection.0);
    let message = writer.finish();
    state.effects.push(Effect::Send {
        to: client,
        from: None,
        message,
    });
    Some(connection)
}

fn has_room(state: &State, id: AllocationId) -> Result<(), Reject> {
    let policy = &state.policy;
    let room = |allocation: &Allocation| {
        allocation.connections.len()
            < policy
                .limits_of(&policy.realm_named(&allocation.owner.realm))
                .connections
    };
    if state.table.get(id).is_some_and(room) {
        Ok(())
    } else {
        Err(Reject::CAPACITY)
    }
}

fn enter(state: &mut State, id: AllocationId, connection: Connection) {
    state.table.note_connection(connection.id, id);
    if let Some(allocation) = state.table.get_mut(id) {
        allocation.connections.push(connection);
    }
}
