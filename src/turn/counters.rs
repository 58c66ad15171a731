//! What the protocol counts: one writer, the shard; any reader, at any time, without a lock.

use crate::turn::effect::EndReason;
use crate::turn::ids::five_tuple::Transport;
use crate::turn::policy::reject::Discard;
use crate::wire::{ErrorCode, Method};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and others read. Adding is a load and a store, no locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the one writer may.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Takes away. Only the one writer may.
    pub fn subtract(&self, less: u64) {
        self.0
            .store(self.get().wrapping_sub(less), Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Datagrams and octets of payload that were relayed.
#[derive(Debug, Default)]
pub struct Flow {
    /// How many datagrams.
    pub packets: Counter,
    /// How many octets of payload.
    pub octets: Counter,
}

impl Flow {
    /// Counts one datagram.
    pub fn add(&self, octets: usize) {
        self.packets.add(1);
        self.octets.add(octets as u64);
    }
}

/// Everything that a shard's protocol counts.
#[derive(Debug, Default)]
pub struct Counters {
    /// Payload from clients to peers, by the client's transport.
    pub to_peers: [Flow; 4],
    /// Payload from peers to clients, by the client's transport.
    pub to_clients: [Flow; 4],
    /// Payload whose client and peer are both allocations of this shard, counted in both directions above too.
    pub hairpinned: Flow,
    /// Allocations alive, by the client's transport.
    pub allocations: [Counter; 4],
    /// Allocations begun.
    pub started: Counter,
    /// Allocations ended, by reason.
    pub ended: [Counter; EndReason::ALL.len()],
    /// Packets dropped in silence, by reason.
    pub discards: [Counter; Discard::ALL.len()],
    requests: [[Counter; 1 + ErrorCode::ALL.len()]; Method::ALL.len()],
}

impl Counters {
    /// Counts the answer to a request: an error code, or `None` for success.
    pub fn count_response(&self, method: Method, outcome: Option<ErrorCode>) {
        if let Some(counter) = self.responses(method, outcome) {
            counter.add(1);
        }
    }

    /// How often a method was answered so.
    pub fn responses(&self, method: Method, outcome: Option<ErrorCode>) -> Option<&Counter> {
        let row = self
            .requests
            .get(Method::ALL.iter().position(|known| *known == method)?)?;
        match outcome {
            None => row.first(),
            Some(code) => row.get(1 + ErrorCode::ALL.iter().position(|known| *known == code)?),
        }
    }

    /// Counts a silence.
    pub fn count_discard(&self, discard: Discard) {
        if let Some(counter) = self.discards.get(discard.index()) {
            counter.add(1);
        }
    }

    /// The flow of one direction for a client's transport.
    pub fn flow(flows: &[Flow; 4], transport: Transport) -> &Flow {
        let [udp, tcp, tls, dtls] = flows;
        match transport {
            Transport::Udp => udp,
            Transport::Tcp => tcp,
            Transport::Tls => tls,
            Transport::Dtls => dtls,
        }
    }
}
