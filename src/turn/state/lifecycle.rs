//! An allocation begins, loses an address, expires or ends; its data connections time out.

use crate::turn::allocation::connection::ConnectionStage;
use crate::turn::allocation::record::EndReason;
use crate::turn::allocation::reservation::ReservationToken;
use crate::turn::allocation::{Allocation, AllocationId};
use crate::turn::effect::Effect;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::relayed::RelayedId;
use crate::turn::ids::time::Instant;
use crate::turn::policy::reject::Reject;
use crate::turn::shared::directory::RelayedEntry;
use crate::turn::state::State;
use crate::turn::state::channel_routes;
use crate::turn::state::response;
use crate::turn::table::timer::Timer;
use crate::wire::ErrorCode;
use crate::wire::attribute::Family;
use std::time::Duration;

/// Begins the life of an allocation whose sockets are bound.
pub fn begin(state: &mut State, now: Instant, id: AllocationId, lifetime: Duration) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    allocation.relayed.set_expiry(now + lifetime);
    let transport = allocation.client.five_tuple.transport;
    schedule_timer(state, id);
    state.counters.started.add(1);
    if let Some(counter) = state.counters.allocations.get(transport.index()) {
        counter.add(1);
    }
    let Some(allocation) = state.table.get(id) else {
        return;
    };
    for socket in allocation
        .relayed
        .iter()
        .filter_map(|(_, address)| state.table.socket(address.id))
    {
        state.shared.directory.insert_relayed(
            socket.external,
            RelayedEntry {
                protocol: socket.protocol,
                local: socket.local,
            },
        );
    }
    let record = allocation.record(now, state.table.externals(id), None);
    state.output.push(Effect::Started(Box::new(record)));
}

/// Ends a living allocation.
pub fn end(state: &mut State, now: Instant, id: AllocationId, reason: EndReason) {
    // The record names addresses and permitted peers, which are removed first.
    let externals = state.table.externals(id);
    let permissions = state
        .table
        .get(id)
        .into_iter()
        .flat_map(|allocation| allocation.permissions.iter());
    let peers = permissions.map(|permission| permission.address).collect();
    for family in [Family::V4, Family::V6] {
        remove_family(state, now, id, family);
    }
    let Some(allocation) = state.table.remove(id) else {
        return;
    };
    if let Some(token) = &allocation.reservation {
        release_reservation(state, now, token);
    }
    let transport = allocation.client.five_tuple.transport;
    if let Some(counter) = state.counters.allocations.get(transport.index()) {
        counter.subtract(1);
    }
    if let Some(counter) = state.counters.ended.get(reason.index()) {
        counter.add(1);
    }
    let mut record = allocation.record(now, externals, Some(reason));
    record.peers = peers;
    for connection in allocation.connections {
        state.table.remove_connection(connection.id);
        state.shared.directory.remove_connection(connection.id);
        state.output.push(Effect::CloseConnection {
            connection: connection.id,
        });
        // A pending Connect request still gets its response (RFC 8489 §6.3.1), unless the client is
        // disconnected.
        if let (ConnectionStage::Connecting(path), false) =
            (connection.stage, reason == EndReason::Disconnected)
        {
            let error = Reject::Code(ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE);
            response::send(state, now, &path, &Err(error));
        }
    }
    state.output.push(Effect::Ended(Box::new(record)));
}

/// Removes an allocation's relayed address of a family, with the permissions and channels of that
/// family. RFC 8656 §8.1.
pub fn remove_family(state: &mut State, now: Instant, id: AllocationId, family: Family) {
    channel_routes::remove_family(state, id, family);
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    allocation
        .permissions
        .retain(|permission| Family::of(permission.address) != family);
    let Some(address) = allocation.relayed.slot(family).take() else {
        return;
    };
    channel_routes::renew_hairpin_routes(state, now, id);
    release_socket(state, address.id);
}

/// Closes a relay socket and releases its port.
pub fn release_socket(state: &mut State, id: RelayedId) {
    let Some(socket) = state.table.remove_socket(id) else {
        return;
    };
    if socket.bound {
        state.shared.directory.remove_relayed(socket.external);
        state.output.push(Effect::Unbind { relayed: id });
    }
    state.shared.ports.release(socket.local);
}

/// Ends a port reservation and releases its port, unless it was redeemed.
pub fn release_reservation(state: &State, now: Instant, token: &ReservationToken) {
    if let Some(local) = state.shared.reservations.redeem(now, token) {
        state.shared.ports.release(local);
    }
}

/// Handles the timers that are due.
pub fn expire(state: &mut State, now: Instant) {
    while let Some(timer) = state.timers.pop_due(now) {
        // An entry is stale if its allocation ended or an earlier entry was made since.
        let is_current = |allocation: &&mut Allocation| {
            allocation.serial == timer.serial && allocation.timer == timer.due
        };
        let id = timer.allocation;
        let Some(allocation) = state.table.get_mut(id).filter(is_current) else {
            continue;
        };
        allocation.timer = Instant::NEVER;
        let relayed = allocation.relayed;
        if relayed.last_expiry() <= now {
            end(state, now, id, EndReason::Expired);
            continue;
        }
        for (family, _) in relayed.iter().filter(|(_, address)| address.expires <= now) {
            remove_family(state, now, id, family);
        }
        expire_connections(state, now, id);
        schedule_timer(state, id);
        channel_routes::remove_expired(state, now, id);
    }
}

/// Makes a timer entry for the allocation's deadline, unless there is an earlier one. That one will
/// do, so repeated refreshes leave a single entry.
pub fn schedule_timer(state: &mut State, id: AllocationId) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let deadline = allocation.deadline();
    if deadline < allocation.timer {
        allocation.timer = deadline;
        state.timers.insert(Timer {
            due: deadline,
            allocation: id,
            serial: allocation.serial,
        });
    }
}

/// Closes the data connections that the client did not bind in time. RFC 6062 §5.2.
fn expire_connections(state: &mut State, now: Instant, id: AllocationId) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let mut timed_out = Vec::new();
    for connection in &mut allocation.connections {
        if !matches!(connection.stage, ConnectionStage::Unbound(timeout) if timeout <= now) {
            continue;
        }
        // Only the directory knows whether the client bound it, because ConnectionBind may reach
        // any shard.
        if state.shared.directory.remove_connection(connection.id) {
            timed_out.push(connection.id);
        } else {
            connection.stage = ConnectionStage::Bound;
        }
    }
    for connection in timed_out {
        remove_connection(state, connection);
        state.output.push(Effect::CloseConnection { connection });
    }
}

/// Removes a closed data connection.
pub fn remove_connection(state: &mut State, connection: ConnectionId) {
    state.shared.directory.remove_connection(connection);
    let Some(id) = state.table.remove_connection(connection) else {
        return;
    };
    if let Some(allocation) = state.table.get_mut(id) {
        allocation
            .connections
            .retain(|other| other.id != connection);
    }
}
