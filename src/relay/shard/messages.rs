//! What shards say to each other: packets of a client whose allocation lives elsewhere (a mobile client that moved to a
//! five-tuple of another shard, or one that the kernel has another shard hear since a listener's sockets changed), what is
//! to be written to another shard's connections, and the end of data connections (RFC 6062) whose two ends are on
//! different shards. Nothing else crosses.

use crate::turn::{Client, ConnectionId, Link};
use std::net::SocketAddr;
use tokio::sync::mpsc;

/// One thing said by one shard to another.
#[derive(Debug)]
pub(crate) enum Passed {
    /// A packet from a client, for the shard of its allocation; and the shard that read it.
    Packet(Client, Vec<u8>, u16),
    /// Records of a DTLS client's, for the shard of its association.
    Records {
        /// The number of the listener that they came to, the same on all shards.
        listener: u32,
        client: SocketAddr,
        server: SocketAddr,
        octets: Vec<u8>,
    },
    /// Such a packet back again: the client has no allocation there, and wants one from elsewhere.
    Back(Client, Vec<u8>),
    /// Octets for a connection, for the shard that holds it.
    Output(Link, Vec<u8>),
    /// A client's connection is gone.
    Gone(Client),
    /// An allocation is done with a data connection, which may be joined at the shard that hears it.
    Hangup(ConnectionId),
    /// A data connection of an allocation of the shard that hears it carried so many octets to its peer and to its client.
    Carried(ConnectionId, u64, u64),
    /// A data connection of an allocation of the shard that hears it is over.
    Closed(ConnectionId),
}

/// A shard's way to all others.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours(Vec<mpsc::Sender<Passed>>);

/// Where a shard finds what others said to it.
pub(crate) type Inbox = mpsc::Receiver<Passed>;

impl Neighbours {
    /// For `count` shards: the way to all of them, and each one's inbox.
    pub(crate) fn of(count: usize) -> (Neighbours, Vec<Inbox>) {
        let (senders, inboxes) = (0..count).map(|_| mpsc::channel(WAITING)).unzip();
        (Neighbours(senders), inboxes)
    }

    /// Says what must not be lost: where too much waits, as soon as there is room.
    pub(crate) fn tell(&self, shard: u16, passed: Passed) {
        let Some(sender) = self.0.get(usize::from(shard)) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(passed)) = sender.try_send(passed) {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(passed).await });
        }
    }

    /// How many shards there are.
    pub(crate) fn count(&self) -> u16 {
        self.0.len() as u16
    }

    /// Says something to a shard. False when too much waits there, or nobody is there: it is dropped.
    pub(crate) fn pass(&self, shard: u16, passed: Passed) -> bool {
        self.0
            .get(usize::from(shard))
            .is_some_and(|sender| sender.try_send(passed).is_ok())
    }
}

/// What may wait for a shard before more is dropped.
const WAITING: usize = 1024;
