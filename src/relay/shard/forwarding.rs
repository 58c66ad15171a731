//! Clients whose allocation lives on another shard: mobility (RFC 8016) may bring a client to a five-tuple that hashes to
//! another shard than its old one did, and sockets that come or go at a listener's address change the hash. Their packets are
//! passed home, and what home writes to their connection comes back.

use crate::net::{Datagram, HEADROOM};
use crate::relay::client::associations::Ends;
use crate::relay::shard::egress::{Arrival, Egress};
use crate::relay::shard::event_loop::Shard;
use crate::relay::shard::messages::Passed;
use crate::turn::{Client, Forward};

impl Shard {
    /// Passes a packet home, where the protocol says so; gives back what the protocol said.
    pub(crate) fn pass_on(&self, onward: Forward, client: &Client, octets: &[u8]) -> Forward {
        if let Forward::ToShard { shard } = onward {
            self.egress.pass(
                shard,
                Passed::Packet(*client, octets.to_vec(), self.egress.clients.shard()),
            );
        }
        onward
    }

    /// Takes what another shard said.
    pub(crate) fn hear(&mut self, passed: Passed) {
        match passed {
            Passed::Packet(client, octets, from) => self.hear_packet(&client, &octets, Some(from)),
            Passed::Records {
                listener,
                client,
                server,
                octets,
            } => self.hear_records(listener, (client, server), &octets),
            Passed::Back(client, octets) => {
                self.server.remove_foreign_client(&client);
                self.hear_packet(&client, &octets, None);
            }
            Passed::Output(link, octets) => self.hear_output(link, &octets),
            Passed::Hangup(connection) => {
                self.tcp_relays.hang_up_here(connection);
            }
            Passed::Carried(connection, up, down) => {
                self.server.record_stream_traffic(connection, up, down)
            }
            Passed::Closed(connection) => self.connection_closed(connection),
            Passed::Gone(client) => {
                let _ = self.server.client_disconnected(self.now, &client);
                self.perform();
            }
        }
    }

    /// Takes a packet that another shard read; without one, a packet of this shard's own.
    fn hear_packet(&mut self, client: &Client, octets: &[u8], from: Option<u16>) {
        let Some(start) = self.lay_down(octets) else {
            return;
        };
        let onward = match from {
            None => {
                let onward = self.server.from_client(self.now, client, octets);
                self.pass_on(onward, client, octets)
            }
            Some(from) => {
                let onward = self.server.from_shard(self.now, client, octets);
                if let Forward::ToShard { .. } = onward {
                    self.egress
                        .pass(from, Passed::Back(*client, octets.to_vec()));
                }
                onward
            }
        };
        let arrival = Arrival {
            start,
            room: HEADROOM,
            traffic_class: 0,
            hop_limit: 0,
        };
        self.egress.forward(onward, arrival, &mut self.batch);
        self.perform();
    }

    /// Takes records that another shard read, unless the association has gone meanwhile.
    fn hear_records(&mut self, listener: u32, (client, server): Ends, octets: &[u8]) {
        if self.egress.associations.find(&(client, server)).is_none() {
            return self.counters.dtls_unassociated.add(1);
        }
        let Some(start) = self.lay_down(octets) else {
            return;
        };
        let (local, length, room) = (Some(server.ip()), octets.len(), HEADROOM);
        let datagram = Datagram {
            source: client,
            local,
            start,
            length,
            headroom: room,
            traffic_class: 0,
            hop_limit: 0,
        };
        self.take_records(listener, server, &datagram);
    }

    /// Puts what another shard read into the batch; tells where.
    fn lay_down(&mut self, octets: &[u8]) -> Option<usize> {
        if self.batch.free() == 0 {
            self.finish();
        }
        self.batch
            .free_slot()
            .get_mut(..octets.len())?
            .copy_from_slice(octets);
        Some(self.batch.occupy_slot())
    }

    fn hear_output(&mut self, link: crate::turn::Link, octets: &[u8]) {
        if let Some(_shard) = Egress::association_of(link) {
            self.egress.associations.plain.clear();
            self.egress.associations.plain.extend_from_slice(octets);
            return self.egress.seal(link, Arrival::NOWHERE);
        }
        let limit = self.egress.clients.limits().max_output;
        let place = self.egress.clients.place(link);
        let taken = place
            .and_then(|index| self.egress.clients.output(index))
            .map(|(conn, pool)| conn.answer(octets, limit, pool));
        if taken != Some(crate::relay::client::connection::Room::Taken) {
            self.counters.stream_dropped.add(1);
        }
    }
}
