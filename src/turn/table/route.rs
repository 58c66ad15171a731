//! Routes: where a packet goes, in one lookup.
//!
//! A channel has two routes, one for each direction. A route holds everything that the packet path
//! needs and expires with the earliest of channel, permission and allocation, so nothing else is
//! looked up. Code that changes one of the three must renew the routes; see
//! [`crate::turn::state::channel_routes`].
//!
//! While a client moves to another five-tuple (RFC 8016), a third route leads from the new
//! five-tuple to the peer; the first packet on it completes the move.

use crate::turn::allocation::AllocationId;
use crate::turn::ids::five_tuple::{AddressKey, Client, FiveTuple};
use crate::turn::ids::relayed::RelayedId;
use crate::turn::ids::time::Instant;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The routes of a shard.
#[derive(Debug, Default)]
pub struct Routes {
    /// Key: a client's five-tuple, which anyone can forge, and a channel number. Reader: every
    /// ChannelData message. Hasher: foldhash, seeded at start, so that collisions cannot be chosen.
    to_peers: HashMap<(FiveTuple, u16), PeerRoute, RandomState>,
    /// Key: a relayed address and the sender of a datagram. Reader: every datagram from a peer. The
    /// same hasher.
    to_clients: HashMap<(RelayedId, AddressKey), ClientRoute, RandomState>,
}

/// Where a peer's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerScope {
    /// Outside this server: packets leave through the relay socket.
    External,
    /// On an address of this server: another allocation may have it.
    OwnAddress,
    /// On an address that the operator's rules refuse: only another allocation's relayed address
    /// may be reached there.
    RelayedOnly,
}

/// The route of ChannelData from a client.
#[derive(Clone, Copy, Debug)]
pub struct PeerRoute {
    /// The allocation that the traffic counts for.
    pub allocation: AllocationId,
    /// The relayed transport address that packets leave from.
    pub relayed: RelayedId,
    /// The peer.
    pub peer: SocketAddr,
    /// Where the peer is.
    pub scope: PeerScope,
    /// The first packet completes the client's move to this five-tuple.
    pub arriving: bool,
    /// When the route expires.
    pub expires: Instant,
}

/// The route of datagrams from a peer.
#[derive(Clone, Copy, Debug)]
pub struct ClientRoute {
    /// The allocation that the traffic counts for.
    pub allocation: AllocationId,
    /// The client.
    pub client: Client,
    /// The channel number.
    pub channel: u16,
    /// Where the peer is.
    pub scope: PeerScope,
    /// When the route expires.
    pub expires: Instant,
}

impl Routes {
    /// The route of ChannelData with this channel number from this client.
    pub fn to_peer(&self, client: &FiveTuple, channel: u16) -> Option<&PeerRoute> {
        self.to_peers.get(&(*client, channel))
    }

    /// The route of a datagram from this peer to this relayed transport address.
    pub fn to_client(&self, relayed: RelayedId, peer: SocketAddr) -> Option<&ClientRoute> {
        self.to_clients.get(&(relayed, AddressKey(peer)))
    }

    /// Inserts or replaces both routes of a channel.
    pub fn insert(&mut self, to_peer: PeerRoute, to_client: ClientRoute) {
        self.to_clients
            .insert((to_peer.relayed, AddressKey(to_peer.peer)), to_client);
        self.insert_to_peer(&to_client.client.five_tuple, to_client.channel, to_peer);
    }

    /// Inserts or replaces only the route to the peer.
    pub fn insert_to_peer(&mut self, client: &FiveTuple, channel: u16, route: PeerRoute) {
        self.to_peers.insert((*client, channel), route);
    }

    /// Removes only the route to the peer, unless it belongs to another allocation.
    pub fn remove_to_peer(
        &mut self,
        client: &FiveTuple,
        channel: u16,
        allocation: AllocationId,
    ) -> Option<PeerRoute> {
        let key = (*client, channel);
        self.to_peers
            .get(&key)
            .filter(|route| route.allocation == allocation)?;
        self.to_peers.remove(&key)
    }

    /// Removes both routes of a channel, unless they belong to another allocation. Returns false if
    /// there were none.
    pub fn remove(&mut self, client: &FiveTuple, channel: u16, allocation: AllocationId) -> bool {
        let route = self.remove_to_peer(client, channel, allocation);
        if let Some(route) = &route {
            self.to_clients
                .remove(&(route.relayed, AddressKey(route.peer)));
        }
        route.is_some()
    }
}
