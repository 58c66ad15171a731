//! What a shard does about TCP relays: peers' connections are taken, made, joined to clients', and forgotten. RFC 6062.

use crate::relay::io::ready_queue::Source;
use crate::relay::shard::event_loop::Shard;
use crate::turn::{Client, ConnectionId, RelayedId};
use std::io;

impl Shard {
    /// Joins a client's connection to the peer's that it asked for.
    pub(crate) fn join(&mut self, client: &Client, connection: ConnectionId) {
        let index = self.egress.clients.place(client.link);
        if let Some(conn) = index.and_then(|index| self.egress.clients.take(index)) {
            let (stream, owed) = conn.into_parts();
            self.joined = self.tcp_relays.join(connection, stream, owed);
        }
    }

    /// A connection to a peer was made, or was not.
    pub(crate) fn connected(&mut self, connection: ConnectionId, succeeded: bool) {
        self.server.connected(self.now, connection, succeeded);
        self.perform();
    }

    /// A data connection is over.
    pub(crate) fn connection_closed(&mut self, connection: ConnectionId) {
        self.server.connection_closed(connection);
        self.perform();
    }

    /// Carries what a pair of connections has, as far as its allocation's limits go.
    pub(crate) fn serve_pair(&mut self, number: u32) {
        let unix = self.server.unix_time(self.now);
        let pumped = self.tcp_relays.pump(number, self.now, unix);
        if let Some((connection, up, down)) = pumped.carried {
            self.server.record_stream_traffic(connection, up, down);
        }
        if let Some(connection) = pumped.over {
            self.connection_closed(connection);
        }
    }

    /// Takes the peers that connected to a relayed address, up to some.
    pub(crate) fn serve_tcp_relay(&mut self, index: u32) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            let Some((stream, peer)) = self.tcp_relays.accept(index)? else {
                return Ok(());
            };
            if let Some(connection) = self.server.accepted(self.now, RelayedId(index), peer)
                && !self
                    .tcp_relays
                    .keep(connection, stream, self.server.meter(connection))
            {
                self.perform();
                self.connection_closed(connection);
            }
            self.perform();
        }
        self.again.push(Source::RelayTcp(index));
        Ok(())
    }
}

/// Peers' connections taken at once before others have their turn.
const ACCEPTS: usize = 16;
