//! The allocations of a call, and the order in which they become candidates: str0m prefers the
//! candidate that it learns of first, so those over UDP go first.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::client::uri::ServerUri;
use crate::peer::call::allocation::Allocation;
use crate::peer::rendezvous::IceServer;
use crate::turn::Transport;

/// All allocations of one call.
#[derive(Default)]
pub struct Allocations {
    active: Vec<(ServerUri, Allocation)>,
    /// Allocations over TCP or TLS, held back while one over UDP may still come.
    held: Vec<(ServerUri, Allocation)>,
    hold_until: Option<Instant>,
    /// Servers over UDP that have not yet answered.
    pending_udp: usize,
}

/// An allocation that becomes a candidate now.
pub struct RelayedCandidate {
    /// The server.
    pub uri: ServerUri,
    /// The relayed address.
    pub address: SocketAddr,
    /// The local address of the connection to the server.
    pub base: SocketAddr,
}

impl Allocations {
    /// Counts the servers that are going to be asked.
    pub fn expect(&mut self, servers: &[IceServer]) {
        let over_udp = servers.iter().filter(|server| is_udp(&server.uri));
        self.pending_udp = over_udp.count();
    }

    /// Adds an allocation. Returns what becomes a candidate now.
    pub fn add(&mut self, uri: ServerUri, allocation: Allocation) -> Vec<RelayedCandidate> {
        if is_udp(&uri) {
            self.pending_udp = self.pending_udp.saturating_sub(1);
        } else {
            self.hold_until
                .get_or_insert_with(|| Instant::now() + UDP_HEAD_START);
        }
        self.held.push((uri, allocation));
        self.take_ready(Instant::now())
    }

    /// Records that a server failed. Returns what becomes a candidate now.
    pub fn record_failure(&mut self, uri: &ServerUri) -> Vec<RelayedCandidate> {
        if is_udp(uri) {
            self.pending_udp = self.pending_udp.saturating_sub(1);
        }
        self.take_ready(Instant::now())
    }

    /// When held allocations become candidates at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.hold_until.filter(|_| !self.held.is_empty())
    }

    /// Returns what becomes a candidate now, in the order of preference.
    pub fn take_ready(&mut self, now: Instant) -> Vec<RelayedCandidate> {
        let is_hold_over = self.pending_udp == 0 || self.hold_until.is_some_and(|end| end <= now);
        self.held.sort_by_key(|(uri, _)| uri.transport_or_udp());
        let ready: Vec<_> = self
            .held
            .extract_if(.., |(uri, _)| is_hold_over || is_udp(uri))
            .collect();
        let candidates = ready.iter().map(|(uri, allocation)| RelayedCandidate {
            uri: uri.clone(),
            address: allocation.address,
            base: allocation.base,
        });
        let candidates = candidates.collect();
        self.active.extend(ready);
        candidates
    }

    /// Sends from a relayed address. Returns false if it is not one of these.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, payload: &[u8]) -> bool {
        let allocation = self.find(from);
        if let Some(allocation) = allocation {
            allocation.send(to, payload);
        }
        allocation.is_some()
    }

    /// The error response of the server at `relayed` if it does not relay to this peer.
    pub fn refusal(&self, relayed: SocketAddr, peer: IpAddr) -> Option<String> {
        self.find(relayed)?.refusal(peer)
    }

    /// Releases all of them.
    pub async fn release(self) {
        for (_, allocation) in self.active.into_iter().chain(self.held) {
            allocation.release().await;
        }
    }

    fn find(&self, relayed: SocketAddr) -> Option<&Allocation> {
        self.active
            .iter()
            .map(|(_, allocation)| allocation)
            .find(|allocation| allocation.address == relayed)
    }
}

fn is_udp(uri: &ServerUri) -> bool {
    uri.relays && uri.transport_or_udp() == Transport::Udp
}

/// How long allocations over UDP may take before those over TCP and TLS are no longer held back.
const UDP_HEAD_START: Duration = Duration::from_millis(250);
