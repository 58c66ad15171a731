//! The way out: what was decided becomes datagrams and stream output, and leaves when the batch is done.

use crate::net::{Batch, BufferRange, Datagram, SendCounts, SendScratch, Transmit};
use crate::relay::client::associations::Associations;
use crate::relay::client::clients::{Clients, Way};
use crate::relay::client::connection::Room;
use crate::relay::io::send_queue::{Outbox, Payload, Sender, source};
use crate::relay::observe::counters::Counters;
use crate::relay::peer::udp::Peers;
use crate::relay::shard::messages::{Neighbours, Passed};
use crate::turn::{Client, Forward, Framer, Framing};
use crate::wire::padded;
use std::net::SocketAddr;
use std::sync::Arc;

/// Every socket and connection of a shard, and what waits to leave by them.
pub(crate) struct Egress {
    /// The clients' side.
    pub(crate) clients: Clients,
    /// The peers' side.
    pub(crate) peers: Peers,
    /// The DTLS clients.
    pub(crate) associations: Associations,
    pub(crate) outbox: Outbox,
    framer: Framer,
    /// What DTLS records are made in.
    pub(crate) sealed: Vec<u8>,
    messages: SendScratch,
    hop_limit: bool,
    /// The way to the other shards.
    pub(crate) neighbours: Neighbours,
    pub(crate) counters: Arc<Counters>,
}

/// What is known of a packet beside its octets.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    /// Where it begins in the batch.
    pub(crate) start: usize,
    /// Free octets in front of it.
    pub(crate) room: usize,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// TTL or hop limit; 0 where it is not known.
    pub(crate) hop_limit: u8,
}

impl Egress {
    /// Nothing waits yet. With `hop_limit`, datagrams leave with one less than they came with.
    pub(crate) fn new(
        clients: Clients,
        peers: Peers,
        (neighbours, maximum): (Neighbours, usize),
        seed: u64,
        hop_limit: bool,
        counters: Arc<Counters>,
    ) -> Egress {
        let (outbox, messages) = (Outbox::new(), SendScratch::default());
        let associations = Associations::new(clients.shard(), maximum);
        Egress {
            associations,
            sealed: Vec::new(),
            clients,
            peers,
            outbox,
            framer: Framer::new(seed),
            messages,
            hop_limit,
            neighbours,
            counters,
        }
    }

    /// Queues a packet for where the protocol sends it.
    pub(crate) fn forward(&mut self, onward: Forward, arrival: Arrival, batch: &mut Batch) {
        match onward {
            Forward::ToPeer {
                relayed,
                to,
                start,
                end,
                dont_fragment,
            } => {
                let Some(hop_limit) = self.next_hop_limit(arrival.hop_limit) else {
                    return;
                };
                let payload =
                    BufferRange::received(arrival.start + start, end.saturating_sub(start));
                let traffic_class = arrival.traffic_class;
                let outgoing = Transmit {
                    traffic_class,
                    hop_limit,
                    dont_fragment,
                    ..Transmit::new(to, payload)
                };
                self.outbox.push(Sender::Relay(relayed.0), outgoing);
            }
            Forward::ToClient {
                client,
                start,
                end,
                framing,
            } => {
                let payload = Payload {
                    start: arrival.start + start,
                    length: end.saturating_sub(start),
                    room: arrival.room + start,
                };
                self.forward_to_client(&client, framing, payload, arrival, batch);
            }
            // The shard has passed it on; see `guests`.
            Forward::ToShard { .. } | Forward::Discarded(_) | Forward::Answered => {}
        }
    }

    fn forward_to_client(
        &mut self,
        client: &Client,
        framing: Framing,
        payload: Payload,
        arrival: Arrival,
        batch: &mut Batch,
    ) {
        let Some(header) = self.framer.header(framing, payload.length) else {
            return self.counters.client_gone.add(1);
        };
        match Way::of(client.link) {
            Way::Listener(index) => {
                let Some(wildcard) = self.clients.udp(index).map(|listener| listener.wildcard)
                else {
                    return self.counters.client_gone.add(1);
                };
                let Some(hop_limit) = self.next_hop_limit(arrival.hop_limit) else {
                    return;
                };
                let (first, second) = self.outbox.wrap(&header, payload, batch);
                let outgoing = Transmit {
                    from: source(client.five_tuple.server, wildcard),
                    header: first,
                    padding: header.padding(),
                    traffic_class: arrival.traffic_class,
                    hop_limit,
                    ..Transmit::new(client.five_tuple.client, second)
                };
                self.outbox.push(Sender::Listener(index), outgoing);
            }
            Way::Association { shard, .. } if shard == self.clients.shard() => {
                let Some(hop_limit) = self.next_hop_limit(arrival.hop_limit) else {
                    return;
                };
                let range = payload.start..payload.start + payload.length;
                let plain = &mut self.associations.plain;
                plain.clear();
                plain.extend_from_slice(header.octets());
                plain.extend_from_slice(batch.octets().get(range).unwrap_or_default());
                plain.resize(plain.len() + usize::from(header.padding()), 0);
                self.seal(
                    client.link,
                    Arrival {
                        hop_limit,
                        ..arrival
                    },
                );
            }
            Way::Conn { shard, .. } | Way::Association { shard, .. }
                if shard != self.clients.shard() =>
            {
                let range = payload.start..payload.start + payload.length;
                let mut octets = header.octets().to_vec();
                octets.extend_from_slice(batch.octets().get(range).unwrap_or_default());
                octets.resize(padded(octets.len()), 0);
                self.pass(shard, Passed::Output(client.link, octets));
            }
            Way::Conn { .. } | Way::Association { .. } => {
                let limit = self.clients.limits().max_output;
                let range = payload.start..payload.start + payload.length;
                let octets = batch.octets().get(range).unwrap_or_default();
                let place = self.clients.place(client.link);
                let Some((conn, pool)) = place.and_then(|index| self.clients.output(index)) else {
                    return self.counters.client_gone.add(1);
                };
                if conn.relay(&header, octets, limit, pool) == Room::Full {
                    self.counters.stream_dropped.add(1);
                }
            }
        }
    }

    /// What a datagram that arrived with this TTL or hop limit leaves with; `None` when it may go no further.
    fn next_hop_limit(&self, arrived: u8) -> Option<u8> {
        match arrived {
            _ if !self.hop_limit => Some(0),
            0 => Some(0),
            1 => {
                self.counters.hop_limit_exceeded.add(1);
                None
            }
            more => Some(more - 1),
        }
    }

    /// Queues an answer; gives the place of a connection that has no room for it.
    pub(crate) fn answer(
        &mut self,
        to: &Client,
        from: Option<SocketAddr>,
        octets: &[u8],
    ) -> Option<u32> {
        match Way::of(to.link) {
            Way::Listener(index) => {
                let server = from.unwrap_or(to.five_tuple.server);
                let index = from.map_or(Some(index), |address| self.clients.listener_at(address));
                let found = index.and_then(|index| {
                    self.clients
                        .udp(index)
                        .map(|listener| (index, listener.wildcard))
                });
                let Some((index, wildcard)) = found else {
                    self.counters.client_gone.add(1);
                    return None;
                };
                let payload = self.outbox.write(octets);
                let outgoing = Transmit {
                    from: source(server, wildcard),
                    ..Transmit::new(to.five_tuple.client, payload)
                };
                self.outbox.push(Sender::Listener(index), outgoing);
                None
            }
            Way::Association { shard, .. } if shard == self.clients.shard() => {
                self.associations.plain.clear();
                self.associations.plain.extend_from_slice(octets);
                self.seal(to.link, Arrival::NOWHERE);
                None
            }
            Way::Conn { shard, .. } | Way::Association { shard, .. }
                if shard != self.clients.shard() =>
            {
                self.pass(shard, Passed::Output(to.link, octets.to_vec()));
                None
            }
            Way::Conn { .. } | Way::Association { .. } => {
                let limit = self.clients.limits().max_output * 2;
                let Some(index) = self.clients.place(to.link) else {
                    self.counters.client_gone.add(1);
                    return None;
                };
                let (conn, pool) = self.clients.output(index)?;
                (conn.answer(octets, limit, pool) == Room::Full).then_some(index)
            }
        }
    }

    /// Says something to another shard, and counts whether it was heard.
    pub(crate) fn pass(&self, shard: u16, passed: Passed) {
        let heard = self.neighbours.pass(shard, passed);
        if heard {
            self.counters.forwarded_to_shards.add(1)
        } else {
            self.counters.shard_queue_dropped.add(1)
        }
    }

    /// Sends all that was decided on so far, and tells the places of connections that have failed. What was received stays
    /// where it is.
    pub(crate) fn flush(&mut self, batch: &Batch) -> Vec<u32> {
        if !self.outbox.is_empty() {
            self.send(batch);
        }
        let touched = self.clients.take_touched();
        let failed = touched
            .iter()
            .copied()
            .filter(|index| !self.clients.flush(*index))
            .collect();
        self.clients.return_touched(touched);
        failed
    }

    fn send(&mut self, batch: &Batch) {
        let Egress {
            clients,
            peers,
            outbox,
            messages,
            ..
        } = self;
        let mut total = SendCounts::default();
        outbox.drain(batch.octets(), |sender, chained, octets| {
            let socket = match sender {
                Sender::Listener(index) => {
                    clients.udp(index).map(|listener| listener.port.socket())
                }
                Sender::Relay(index) => peers.get(index),
            };
            if let Some(socket) = socket {
                total += socket.send(messages, chained, octets);
            }
        });
        self.counters.send_calls.add(total.calls);
        self.counters.sent_datagrams.add(total.datagrams);
        self.counters.send_dropped.add(total.buffer_full);
        self.counters.send_failed.add(total.failed);
    }
}

impl Arrival {
    /// That of what did not arrive.
    pub(crate) const NOWHERE: Arrival = Arrival {
        start: 0,
        room: 0,
        traffic_class: 0,
        hop_limit: 0,
    };

    /// That of a datagram.
    pub(crate) fn of(datagram: &Datagram) -> Arrival {
        Arrival {
            start: datagram.start,
            room: datagram.headroom,
            traffic_class: datagram.traffic_class,
            hop_limit: datagram.hop_limit,
        }
    }
}
