//! Mobility: an allocation follows its client to another five-tuple. RFC 8016 §3.2.2.
//!
//! After the Refresh with a ticket the client is *arriving*: both five-tuples are good, and data still goes to the old
//! one. The first data from the new one, or the end of the old connection, makes it the only one; for a TCP relay, whose data
//! goes other ways, the Refresh does. Where the new five-tuple is another shard's, that shard passes the client's packets on:
//! the client is its *guest*.

use crate::turn::allocation::AllocationId;
use crate::turn::effect::EndReason;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::time::Instant;
use crate::turn::shared::mobility_ticket::Ticket;
use crate::turn::state::State;
use crate::wire::TransactionId;

impl State {
    /// The ticket that is good for an allocation now; `None` for one that is not mobile.
    pub(crate) fn ticket(&self, id: AllocationId) -> Option<Vec<u8>> {
        let allocation = self.table.get(id)?;
        let generation = allocation.mobility.as_ref()?.generation;
        let ticket = Ticket {
            shard: self.shard,
            allocation: id,
            serial: allocation.serial,
            generation,
        };
        Some(self.shared.ticket_key.seal(ticket))
    }

    /// Lets an allocation's client arrive on another five-tuple. The ticket that it showed is spent.
    pub(crate) fn relocate(
        &mut self,
        now: Instant,
        id: AllocationId,
        client: &Client,
        transaction: TransactionId,
    ) {
        self.forget_arriving(id);
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let Some(mobility) = allocation.mobility.as_mut() else {
            return;
        };
        mobility.generation += 1;
        mobility.moved_by = Some(transaction);
        mobility.arriving = Some(*client);
        let away = mobility.away;
        self.table.add_client(&client.five_tuple, id);
        if away {
            self.arrive(now, id);
        } else {
            self.renew_routes(now, id, |_| true);
        }
    }

    /// Whether data from this five-tuple is the first from where its client is arriving.
    pub(crate) fn is_arriving(&self, id: AllocationId, client: &FiveTuple) -> bool {
        let arriving = self
            .table
            .get(id)
            .and_then(|allocation| allocation.arriving());
        arriving.is_some_and(|arriving| arriving.five_tuple == *client)
    }

    /// Makes the five-tuple on which a client is arriving its only one.
    pub(crate) fn arrive(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let Some(mobility) = allocation.mobility.as_mut() else {
            return;
        };
        let Some(arriving) = mobility.arriving.take() else {
            return;
        };
        mobility.away = false;
        let old = std::mem::replace(&mut allocation.client, arriving);
        self.take_up_routes(id, old.five_tuple);
        if old.five_tuple != arriving.five_tuple {
            self.table.remove_client(&old.five_tuple, id);
        }
        let (was, is) = (old.five_tuple.transport, arriving.five_tuple.transport);
        self.counters
            .allocations
            .get(was.index())
            .inspect(|counter| counter.subtract(1));
        self.counters
            .allocations
            .get(is.index())
            .inspect(|counter| counter.add(1));
        self.renew_routes(now, id, |_| true);
    }

    /// A client's connection is gone: its allocation goes with it, unless the client is arriving elsewhere or holds a
    /// ticket to come back with.
    pub(crate) fn client_gone(&mut self, now: Instant, client: &FiveTuple) {
        self.guests.forget(client);
        let Some(id) = self.table.of_client(client) else {
            return;
        };
        if self.is_arriving(id, client) {
            return self.forget_arriving(id);
        }
        let Some(mobility) = self
            .table
            .get_mut(id)
            .and_then(|allocation| allocation.mobility.as_mut())
        else {
            return self.end(now, id, EndReason::Disconnected);
        };
        if mobility.arriving.is_some() {
            return self.arrive(now, id);
        }
        mobility.away = true;
        // Whoever comes from there next is somebody else.
        self.take_up_routes(id, *client);
        self.table.remove_client(client, id);
    }

    fn forget_arriving(&mut self, id: AllocationId) {
        let Some(allocation) = self.table.get_mut(id) else {
            return;
        };
        let arriving = allocation
            .mobility
            .as_mut()
            .and_then(|mobility| mobility.arriving.take());
        let Some(arriving) = arriving else { return };
        let numbers: Vec<u16> = allocation
            .channels
            .iter()
            .map(|channel| channel.number)
            .collect();
        for number in numbers {
            self.routes
                .take_up_one_way(&arriving.five_tuple, number, id);
        }
        self.table.remove_client(&arriving.five_tuple, id);
    }
}
