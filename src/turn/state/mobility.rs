//! Mobility: an allocation follows its client to another five-tuple. RFC 8016 §3.2.2.
//!
//! ```text
//!                Refresh with a ticket                first data from there
//!   at A ─────────────────────────────► at A, ──────────────────────────────► at B
//!     │                                 arriving at B      or A disconnects    ▲
//!     │ A disconnects                                                          │
//!     └──────────────► detached ───────────────────────────────────────────────┘
//!                                              Refresh with a ticket
//! ```
//!
//! While a client is arriving both five-tuples are valid and data still goes to the old one. A TCP
//! relay has no data on its control connection that could complete the move, so the Refresh
//! completes it.

use crate::turn::allocation::AllocationId;
use crate::turn::allocation::record::EndReason;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::time::Instant;
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::{State, channel_routes, lifecycle};
use crate::wire::TransactionId;

/// The valid ticket of an allocation, `None` if the allocation is not mobile.
pub fn ticket(state: &State, id: AllocationId) -> Option<Vec<u8>> {
    let allocation = state.table.get(id)?;
    let generation = allocation.mobility.as_ref()?.generation;
    let ticket = Ticket {
        shard: state.shard,
        allocation: id,
        serial: allocation.serial,
        generation,
    };
    Some(state.shared.ticket_key.seal(ticket))
}

/// Begins the move of an allocation to `client`. The ticket of the request is spent.
pub fn begin_move(
    state: &mut State,
    now: Instant,
    id: AllocationId,
    client: &Client,
    transaction: TransactionId,
) {
    cancel_move(state, id);
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let Some(mobility) = allocation.mobility.as_mut() else {
        return;
    };
    mobility.generation += 1;
    mobility.moved_by = Some(transaction);
    mobility.arriving = Some(*client);
    let detached = mobility.detached;
    state.table.insert_client(&client.five_tuple, id);
    if detached {
        complete_move(state, now, id);
    } else {
        channel_routes::renew(state, now, id, |_| true);
    }
}

/// Returns true if the allocation is moving to this five-tuple.
pub fn is_arriving(state: &State, id: AllocationId, client: &FiveTuple) -> bool {
    let arriving = state
        .table
        .get(id)
        .and_then(|allocation| allocation.arriving());
    arriving.is_some_and(|arriving| arriving.five_tuple == *client)
}

/// Makes the five-tuple that a client is arriving on its only one.
pub fn complete_move(state: &mut State, now: Instant, id: AllocationId) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let Some(mobility) = allocation.mobility.as_mut() else {
        return;
    };
    let Some(arriving) = mobility.arriving.take() else {
        return;
    };
    mobility.detached = false;
    let old = std::mem::replace(&mut allocation.client, arriving);
    channel_routes::remove_all(state, id, old.five_tuple);
    if old.five_tuple != arriving.five_tuple {
        state.table.remove_client(&old.five_tuple, id);
    }
    let counters = &state.counters.allocations;
    if let Some(counter) = counters.get(old.five_tuple.transport.index()) {
        counter.subtract(1);
    }
    if let Some(counter) = counters.get(arriving.five_tuple.transport.index()) {
        counter.add(1);
    }
    channel_routes::renew(state, now, id, |_| true);
}

/// Handles the close of a client's connection. The allocation ends, unless the client is moving or
/// can return with a ticket.
pub fn disconnect(state: &mut State, now: Instant, client: &FiveTuple) {
    state.foreign_clients.remove(client);
    let Some(id) = state.table.find_client(client) else {
        return;
    };
    if is_arriving(state, id, client) {
        return cancel_move(state, id);
    }
    let Some(mobility) = state
        .table
        .get_mut(id)
        .and_then(|allocation| allocation.mobility.as_mut())
    else {
        return lifecycle::end(state, now, id, EndReason::Disconnected);
    };
    if mobility.arriving.is_some() {
        return complete_move(state, now, id);
    }
    mobility.detached = true;
    // The next connection from this address and port may be another client's.
    channel_routes::remove_all(state, id, *client);
    state.table.remove_client(client, id);
}

fn cancel_move(state: &mut State, id: AllocationId) {
    let Some(allocation) = state.table.get_mut(id) else {
        return;
    };
    let arriving = allocation
        .mobility
        .as_mut()
        .and_then(|mobility| mobility.arriving.take());
    let Some(arriving) = arriving else { return };
    let channels: Vec<u16> = allocation
        .channels
        .iter()
        .map(|channel| channel.number)
        .collect();
    for channel in channels {
        state
            .routes
            .remove_to_peer(&arriving.five_tuple, channel, id);
    }
    state.table.remove_client(&arriving.five_tuple, id);
}
