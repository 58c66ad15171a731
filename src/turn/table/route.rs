//! The fast path: where a packet goes next, in one lookup. A route is valid until the earliest of its channel's, its
//! permission's and its allocation's expiry, so nothing else has to be asked.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::five_tuple::{Client, FiveTuple, Peer};
use crate::turn::ids::relayed::RelayedId;
use crate::turn::ids::time::Instant;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Both directions of every channel of a shard.
#[derive(Debug, Default)]
pub struct Routes {
    /// Key: a client's five-tuple, which anybody can forge, and a channel's number. Read for each ChannelData message.
    /// Keyed hasher (foldhash, seeded at start): fast, and its collisions cannot be aimed at.
    to_peers: HashMap<(FiveTuple, u16), PeerRoute, RandomState>,
    /// Key: a relayed address of ours and whoever sends to it. Read for each datagram from a peer. The same hasher.
    to_clients: HashMap<(RelayedId, Peer), ClientRoute, RandomState>,
}

/// What is known of a peer's address, and so how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerScope {
    /// Somewhere else: the packet goes out on the wire.
    External,
    /// On one of this server's own addresses: another allocation may be behind it.
    OwnAddress,
    /// On an address that the operator's rules refuse: only another allocation may be behind it.
    RelayedOnly,
}

/// Where ChannelData goes.
#[derive(Clone, Copy, Debug)]
pub struct PeerRoute {
    /// Whose traffic it is.
    pub allocation: AllocationId,
    /// From which relayed transport address it leaves.
    pub relayed: RelayedId,
    /// To whom.
    pub peer: SocketAddr,
    /// What kind of address the peer's is.
    pub reach: PeerScope,
    /// Whether the first data that goes this way tells that the client has arrived here (RFC 8016).
    pub arriving: bool,
    /// When the route ends.
    pub expires: Instant,
}

/// Where a datagram from a peer goes.
#[derive(Clone, Copy, Debug)]
pub struct ClientRoute {
    /// Whose traffic it is.
    pub allocation: AllocationId,
    /// To whom.
    pub client: Client,
    /// On which channel.
    pub channel: u16,
    /// What kind of address the peer's is.
    pub reach: PeerScope,
    /// When the route ends.
    pub expires: Instant,
}

impl Routes {
    /// Where ChannelData with this number from this client goes.
    pub fn to_peer(&self, client: &FiveTuple, channel: u16) -> Option<&PeerRoute> {
        self.to_peers.get(&(*client, channel))
    }

    /// Where a datagram from this peer to this relayed transport address goes, if a channel is bound between them.
    pub fn to_client(&self, relayed: RelayedId, peer: SocketAddr) -> Option<&ClientRoute> {
        self.to_clients.get(&(relayed, Peer(peer)))
    }

    /// Lays or renews both directions of a channel.
    pub fn lay(&mut self, there: PeerRoute, back: ClientRoute) {
        self.to_clients
            .insert((there.relayed, Peer(there.peer)), back);
        self.to_peers
            .insert((back.client.five_tuple, back.channel), there);
    }

    /// Lays or renews the way to the peer only, from a client that is arriving.
    pub fn lay_one_way(&mut self, client: &FiveTuple, channel: u16, there: PeerRoute) {
        self.to_peers.insert((*client, channel), there);
    }

    /// Takes up the way to the peer only, unless it is another allocation's by now; gives it back.
    pub fn take_up_one_way(
        &mut self,
        client: &FiveTuple,
        channel: u16,
        of: AllocationId,
    ) -> Option<PeerRoute> {
        let key = (*client, channel);
        self.to_peers
            .get(&key)
            .filter(|there| there.allocation == of)?;
        self.to_peers.remove(&key)
    }

    /// Takes up both directions of a channel, unless they are another allocation's by now; tells whether they were there.
    pub fn take_up(&mut self, client: &FiveTuple, channel: u16, of: AllocationId) -> bool {
        let there = self.take_up_one_way(client, channel, of);
        if let Some(there) = &there {
            self.to_clients.remove(&(there.relayed, Peer(there.peer)));
        }
        there.is_some()
    }
}
