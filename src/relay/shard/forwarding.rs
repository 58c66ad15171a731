//! Messages between shards.
//!
//! # Why shards exchange messages
//!
//! The kernel spreads a listener's datagrams over the shards by a hash of addresses and ports, and
//! accepts a TCP connection on any of them. Nearly always a client stays on one shard, which has
//! its allocation. Four things break this:
//!
//! * The hash changes when sockets of a port come or go, because another process takes the port
//!   over or a reload changes the listeners. From one datagram to the next a client arrives on
//!   another shard.
//! * A client moves to another five-tuple with a mobility ticket (RFC 8016), which hashes to
//!   another shard.
//! * A DTLS or TCP client sends from a five-tuple whose association or connection another shard
//!   holds.
//! * ConnectionBind (RFC 6062) arrives on a connection of its own, accepted by another shard than
//!   the allocation's.
//!
//! # Who owns what
//!
//! Which shard owns a client, a relayed address, a data connection or a reservation is answered by
//! the tables in [`Shared`](crate::turn::Shared), which the protocol maintains; a [`Link`] contains
//! the shard of its connection. This module only carries the messages:
//!
//! ```text
//!   reader of a socket                              owner of the allocation
//!     Packet ──────────────────────────────────────▶ Server::from_shard
//!     ReturnedPacket ◀────────────────────────────── the owner no longer has the client
//!     DtlsRecords ─────────────────────────────────▶ decrypted by the shard of the association
//!     Framed ◀────────────────────────────────────── written to the connection that the reader holds
//!     ClientDisconnected ──────────────────────────▶ ends the allocation
//!
//!   holder of a spliced connection                  owner of the allocation
//!     DataConnectionTraffic, DataConnectionClosed ─▶ counted, freed
//!     CloseDataConnection ◀───────────────────────── sent to all shards: the owner does not know the holder
//! ```
//!
//! # What it costs
//!
//! A forwarded packet is copied once and passes a bounded channel. When the channel is full the
//! packet is dropped, as a full socket buffer would drop it; messages about connections wait
//! instead, because they are not retransmitted.

use crate::net::{Batch, BufferRange, Transmit};
use crate::relay::client::clients::Clients;
use crate::relay::io::recv_meta::RecvMeta;
use crate::relay::io::send_queue::{Payload, SendQueue, Sender, message_parts};
use crate::relay::observe::counters::Counters;
use crate::relay::peer::data_connections::Report;
use crate::relay::peer::splice::StreamTraffic;
use crate::turn::{Client, ConnectionId, Forward, Framer, Link, Server};
use crate::wire::padded;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A message from one shard to another.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    /// A packet of a client whose allocation the receiving shard has.
    Packet {
        client: Client,
        octets: Vec<u8>,
        /// The shard that read it.
        reader: u16,
    },
    /// The receiving shard forwarded this packet to a shard that no longer has the client. It
    /// decides again.
    ReturnedPacket { client: Client, octets: Vec<u8> },
    /// DTLS records for an association of the receiving shard.
    DtlsRecords {
        listener: u32,
        client: SocketAddr,
        server: SocketAddr,
        octets: Vec<u8>,
    },
    /// A complete message for a connection or association of the receiving shard.
    Framed { link: Link, octets: Vec<u8> },
    /// A client's connection or association ended.
    ClientDisconnected(Client),
    /// An allocation is done with a data connection, which may be spliced on the receiving shard.
    CloseDataConnection(ConnectionId),
    /// A data connection carried octets for an allocation of the receiving shard.
    DataConnectionTraffic {
        connection: ConnectionId,
        to_peer: u64,
        to_client: u64,
    },
    /// A data connection of an allocation of the receiving shard is closed.
    DataConnectionClosed(ConnectionId),
}

/// The channels to all shards, by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct ShardSenders(Vec<mpsc::Sender<ShardMessage>>);

pub(crate) type ShardReceiver = mpsc::Receiver<ShardMessage>;

/// Creates the channels of `count` shards.
pub(crate) fn channels(count: usize) -> (ShardSenders, Vec<ShardReceiver>) {
    let (senders, receivers) = (0..count).map(|_| mpsc::channel(MAX_MESSAGES)).unzip();
    (ShardSenders(senders), receivers)
}

/// Sends each packet to where the server forwards it: to a peer, a client, or another shard.
pub(crate) struct Forwarder {
    framer: Framer,
    shards: ShardSenders,
    /// The own number.
    shard: u16,
    counters: Arc<Counters>,
}

impl Forwarder {
    /// `seed` is for transaction ids of Data indications.
    pub(crate) fn new(
        shards: ShardSenders,
        shard: u16,
        seed: u64,
        counters: Arc<Counters>,
    ) -> Forwarder {
        Forwarder {
            framer: Framer::new(seed),
            shards,
            shard,
            counters,
        }
    }

    /// Queues the payload of a packet, which is in the batch.
    pub(crate) fn forward(
        &mut self,
        forward: Forward,
        meta: RecvMeta,
        clients: &mut Clients,
        batch: &mut Batch,
        queue: &mut SendQueue,
    ) {
        match forward {
            Forward::ToPeer {
                relayed,
                to,
                start,
                end,
                dont_fragment,
            } => {
                let Some(hop_limit) = queue.forwarded_hop_limit(meta.hop_limit) else {
                    return;
                };
                let length = end.saturating_sub(start);
                let transmit = Transmit {
                    traffic_class: meta.traffic_class,
                    hop_limit,
                    dont_fragment,
                    ..Transmit::new(to, BufferRange::received(meta.start + start, length))
                };
                queue.push(Sender::Relay(relayed.0), transmit);
            }
            Forward::ToClient {
                client,
                start,
                end,
                framing,
            } => {
                let payload = Payload {
                    start: meta.start + start,
                    length: end.saturating_sub(start),
                    headroom: meta.headroom + start,
                };
                let Some(header) = self.framer.header(framing, payload.length) else {
                    return self.counters.client_gone.add(1);
                };
                if let Some(shard) = clients.remote_shard(client.link) {
                    let mut octets = message_parts(&header, payload, batch).concat();
                    octets.resize(padded(octets.len()), 0);
                    let link = client.link;
                    return self.send(shard, ShardMessage::Framed { link, octets });
                }
                clients.send_payload(&client, &header, payload, meta, batch, queue);
            }
            // The whole packet goes to another shard, as a message that the caller makes of it.
            Forward::ToShard { .. } => {}
            Forward::Discarded(_) | Forward::Answered => {}
        }
    }

    /// Queues a response of this server.
    pub(crate) fn respond(
        &self,
        to: &Client,
        from: Option<SocketAddr>,
        octets: &[u8],
        clients: &mut Clients,
        queue: &mut SendQueue,
    ) {
        match clients.remote_shard(to.link) {
            None => clients.send_response(to, from, octets, queue),
            Some(shard) => {
                let (link, octets) = (to.link, octets.to_vec());
                self.send(shard, ShardMessage::Framed { link, octets });
            }
        }
    }

    /// Reports to the shard of the allocation what a data connection carried and that it ended.
    pub(crate) fn report_data_connection(
        &self,
        connection: ConnectionId,
        report: Report,
        server: &mut Server,
    ) {
        if let Some(StreamTraffic { to_peer, to_client }) = report.traffic {
            if report.owner == self.shard {
                server.record_stream_traffic(connection, to_peer, to_client);
            } else {
                let message = ShardMessage::DataConnectionTraffic {
                    connection,
                    to_peer,
                    to_client,
                };
                self.send_reliably(report.owner, message);
            }
        }
        if let Some(splice) = report.ended {
            self.report_closed(connection, report.owner, server);
            splice.close();
        }
    }

    /// Reports to the shard of the allocation that a data connection is closed.
    pub(crate) fn report_closed(&self, connection: ConnectionId, owner: u16, server: &mut Server) {
        if owner == self.shard {
            server.connection_closed(connection);
        } else {
            self.send_reliably(owner, ShardMessage::DataConnectionClosed(connection));
        }
    }

    /// Sends a message to another shard. It is dropped if the channel is full or the shard has
    /// stopped.
    pub(crate) fn send(&self, shard: u16, message: ShardMessage) {
        let sender = self.shards.0.get(usize::from(shard));
        if sender.is_some_and(|sender| sender.try_send(message).is_ok()) {
            self.counters.forwarded_to_shards.add(1);
        } else {
            self.counters.shard_queue_dropped.add(1);
        }
    }

    /// Sends a message that must not be lost. If the channel is full, a task waits until there is
    /// room.
    pub(crate) fn send_reliably(&self, shard: u16, message: ShardMessage) {
        let Some(sender) = self.shards.0.get(usize::from(shard)) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(message)) = sender.try_send(message) {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message).await });
        }
    }

    /// Sends a message that must not be lost to all other shards.
    pub(crate) fn broadcast(&self, message: impl Fn() -> ShardMessage) {
        let all = 0..self.shards.0.len() as u16;
        for shard in all.filter(|shard| *shard != self.shard) {
            self.send_reliably(shard, message());
        }
    }
}

const MAX_MESSAGES: usize = 1024;
