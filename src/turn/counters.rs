//! The counters of a shard's protocol. The shard is the only writer; any thread may read at any
//! time without a lock.

use crate::turn::allocation::record::EndReason;
use crate::turn::ids::five_tuple::Transport;
use crate::turn::policy::reject::Discard;
use crate::wire::{ErrorCode, Method};
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and any thread reads. Adding is a load and a store, without a
/// locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. To be called by the one writer only.
    pub fn add(&self, more: u64) {
        self.0
            .store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// Subtracts. To be called by the one writer only.
    pub fn subtract(&self, less: u64) {
        self.0
            .store(self.get().wrapping_sub(less), Ordering::Relaxed);
    }

    /// The current number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Relayed payload.
#[derive(Debug, Default)]
pub struct Flow {
    /// Datagrams.
    pub packets: Counter,
    /// Octets of payload.
    pub octets: Counter,
}

impl Flow {
    /// Counts one datagram.
    pub fn add(&self, octets: usize) {
        self.packets.add(1);
        self.octets.add(octets as u64);
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// Payload from clients to peers, by the client's transport.
    pub to_peers: [Flow; 4],
    /// Payload from peers to clients, by the client's transport.
    pub to_clients: [Flow; 4],
    /// Payload between two allocations of this server that did not pass through the kernel. It is
    /// counted in both directions above as well.
    pub hairpinned: Flow,
    /// Living allocations, by the client's transport.
    pub allocations: [Counter; 4],
    /// Allocations that began.
    pub started: Counter,
    /// Allocations that ended, by reason.
    pub ended: [Counter; EndReason::ALL.len()],
    /// Dropped packets, by reason.
    pub discards: [Counter; Discard::ALL.len()],
    requests: [[Counter; 1 + ErrorCode::ALL.len()]; Method::ALL.len()],
}

impl Counters {
    /// Counts the response to a request: an error code, or `None` for success.
    pub fn count_response(&self, method: Method, outcome: Option<ErrorCode>) {
        if let Some(counter) = self.responses(method, outcome) {
            counter.add(1);
        }
    }

    /// The counter of a method's responses with an error code, or with success.
    pub fn responses(&self, method: Method, outcome: Option<ErrorCode>) -> Option<&Counter> {
        let row = self
            .requests
            .get(Method::ALL.iter().position(|known| *known == method)?)?;
        match outcome {
            None => row.first(),
            Some(code) => row.get(1 + ErrorCode::ALL.iter().position(|known| *known == code)?),
        }
    }

    /// Counts a dropped packet.
    pub fn count_discard(&self, discard: Discard) {
        if let Some(counter) = self.discards.get(discard.index()) {
            counter.add(1);
        }
    }

    /// The flow of a client's transport.
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
