//! What a shard does beside relaying: what is noted, whatever is due by the clock, and what ends, connections that are gone
//! or were silent for too long.

use crate::relay::shard::event_loop::Shard;
use crate::relay::shard::messages::Passed;
use crate::wire::Method;
use std::time::Duration;

impl Shard {
    /// Closes a connection, and with it the allocation. What was answered before goes out first, as far as the client takes it.
    pub(crate) fn hang_up(&mut self, index: u32) {
        self.egress.clients.flush(index);
        if let Some(conn) = self.egress.clients.take(index) {
            let client = conn.client;
            self.part_with(conn);
            if let Some(home) = self.server.client_disconnected(self.now, &client) {
                self.egress.pass(home, Passed::Gone(client));
            }
            self.perform();
        }
    }

    /// Notes how long a request took, from when its batch was at hand; nothing is measured for what is relayed.
    pub(crate) fn note_time(&self, asked: Option<Method>) {
        if let Some(method) = asked {
            self.counters
                .request_durations
                .observe(method, self.clock.now().since(self.now));
        }
    }

    /// Does what is due by the clock.
    pub(crate) fn expire(&mut self) {
        if self.server.next_timeout().is_some_and(|at| at <= self.now) {
            self.server.timeout(self.now);
            self.perform();
        }
        while let Some(connection) = self.tcp_relays.overdue(self.now) {
            self.connected(connection, false);
        }
        self.tcp_relays.release(self.now);
        while let Some(index) = self
            .egress
            .clients
            .silent(self.now, |client| self.server.is_known_client(client))
        {
            if self
                .egress
                .clients
                .conn(index)
                .is_some_and(|conn| !conn.is_negotiating())
            {
                self.counters.connections_idle.add(1);
            }
            self.hang_up(index);
        }
        self.look_after_associations();
        if self.retry.is_some_and(|at| at <= self.now) {
            self.retry = None;
            self.again.append(&mut self.later);
        }
        if self.now.since(self.clock_set) > CLOCK_CHECK {
            self.clock_set = self.now;
            self.server.set_unix_epoch(self.clock.unix_at_epoch());
        }
    }
}

/// Between two looks at whether the system's clock was set.
const CLOCK_CHECK: Duration = Duration::from_secs(10);
