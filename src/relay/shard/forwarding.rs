//! Messages between shards.
//!
//! # Why shards talk at all
//!
//! The kernel spreads a listener's datagrams over the shards by a hash of addresses and ports, and accepts a TCP
//! connection on any of them. Nearly always a client stays on one shard, which has its allocation. Four things break
//! this:
//!
//! * The hash changes when sockets of a port come or go, because another process takes the port over or a reload changes
//!   the listeners. From one datagram to the next a client arrives on another shard.
//! * A client moves to another five-tuple with a mobility ticket (RFC 8016), which hashes to another shard.
//! * A DTLS or TCP client sends from a five-tuple whose association or connection another shard holds.
//! * ConnectionBind (RFC 6062) arrives on a connection of its own, accepted by another shard than the allocation's.
//!
//! # Who owns what
//!
//! Which shard owns a client, a relayed address, a data connection or a reservation is answered by the tables in
//! [`Shared`](crate::turn::Shared), which the protocol maintains; a [`Link`] contains the shard of its connection. This
//! module only carries the messages:
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
//! A forwarded packet is copied once and passes a bounded channel. When the channel is full the packet is dropped, as a
//! full socket buffer would drop it; messages about connections wait instead, because nobody would repeat them.

use crate::turn::{Client, ConnectionId, Link};
use std::net::SocketAddr;
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
    /// The receiving shard forwarded this packet to a shard that no longer has the client. It decides again.
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
    /// A client's connection or association is gone.
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

impl ShardSenders {
    /// Sends a message that may be lost; false if the channel is full or the shard has stopped.
    pub(crate) fn try_send(&self, shard: u16, message: ShardMessage) -> bool {
        self.0
            .get(usize::from(shard))
            .is_some_and(|sender| sender.try_send(message).is_ok())
    }

    /// Sends a message that must not be lost. If the channel is full, a task waits until there is room.
    pub(crate) fn send(&self, shard: u16, message: ShardMessage) {
        let Some(sender) = self.0.get(usize::from(shard)) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(message)) = sender.try_send(message) {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message).await });
        }
    }

    /// The numbers of all shards but `this`.
    pub(crate) fn others(&self, this: u16) -> impl Iterator<Item = u16> {
        (0..self.0.len() as u16).filter(move |shard| *shard != this)
    }
}

const MAX_MESSAGES: usize = 1024;
