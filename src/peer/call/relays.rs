//! The allocations of a call, and the order in which they become candidates: str0m prefers what it is told of first, so those over UDP go first.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::client::uri::ServerUri;
use crate::peer::call::gather::IceServer;
use crate::peer::call::relayed::Relayed;
use crate::turn::Transport;

/// All allocations of one call.
#[derive(Default)]
pub struct Relays {
    ready: Vec<(ServerUri, Relayed)>,
    /// Over TCP or TLS, while one over UDP may still come.
    held: Vec<(ServerUri, Relayed)>,
    until: Option<Instant>,
    /// How many servers have not yet answered over UDP.
    awaited: usize,
}

/// An allocation that may become a candidate now.
pub struct Ready {
    /// The server.
    pub url: ServerUri,
    /// The relayed address.
    pub address: SocketAddr,
    /// Our address on the line to the server.
    pub base: SocketAddr,
}

impl Relays {
    /// Allocations are about to be asked of these servers.
    pub fn expect(&mut self, servers: &[IceServer]) {
        self.awaited = servers.iter().filter(|server| is_udp(&server.url)).count();
    }

    /// Takes an allocation; what may become candidates now.
    pub fn granted(&mut self, url: ServerUri, relayed: Relayed) -> Vec<Ready> {
        if is_udp(&url) {
            self.awaited = self.awaited.saturating_sub(1);
        } else {
            self.until
                .get_or_insert_with(|| Instant::now() + HEAD_START);
        }
        self.held.push((url, relayed));
        self.let_go(Instant::now())
    }

    /// A server gave nothing; what may become candidates now.
    pub fn refused(&mut self, url: &ServerUri) -> Vec<Ready> {
        if is_udp(url) {
            self.awaited = self.awaited.saturating_sub(1);
        }
        self.let_go(Instant::now())
    }

    /// When [`Relays::let_go`] has something to give because of time alone.
    pub fn next_due(&self) -> Option<Instant> {
        self.until.filter(|_| !self.held.is_empty())
    }

    /// What may become candidates at this time, in the order in which it should.
    pub fn let_go(&mut self, now: Instant) -> Vec<Ready> {
        let all = self.awaited == 0 || self.until.is_some_and(|until| until <= now);
        self.held.sort_by_key(|(url, _)| url.transport_or_udp());
        let free: Vec<_> = self
            .held
            .extract_if(.., |(url, _)| all || is_udp(url))
            .collect();
        let told = free.iter().map(|(url, relayed)| Ready {
            url: url.clone(),
            address: relayed.address,
            base: relayed.base,
        });
        let told = told.collect();
        self.ready.extend(free);
        told
    }

    /// Sends from a relayed address; false when it is none of ours.
    pub fn send(&self, from: SocketAddr, to: SocketAddr, octets: &[u8]) -> bool {
        let found = self
            .ready
            .iter()
            .find(|(_, relayed)| relayed.address == from);
        found
            .inspect(|(_, relayed)| relayed.send(to, octets))
            .is_some()
    }

    /// Why the server of a relayed address would not relay to a peer, if it said so.
    pub fn refusal(&self, from: SocketAddr, peer: IpAddr) -> Option<String> {
        self.ready
            .iter()
            .find(|(_, relayed)| relayed.address == from)?
            .1
            .refusal(peer)
    }

    /// Releases all of them.
    pub async fn release(self) {
        for (_, relayed) in self.ready.into_iter().chain(self.held) {
            relayed.release().await;
        }
    }
}

fn is_udp(url: &ServerUri) -> bool {
    url.relays && url.transport_or_udp() == Transport::Udp
}

/// How long UDP may take before TCP and TLS are no longer held back.
const HEAD_START: Duration = Duration::from_millis(250);
