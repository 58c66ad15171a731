//! The datagrams that an iteration sends, grouped by the sending socket.

use crate::net::{Batch, BufferRange, Buffers, SendCounts, SendScratch, Transmit, UdpSocket};
use crate::relay::observe::counters::Counters;
use crate::turn::PayloadHeader;
use std::ops::Range;
use std::sync::Arc;

/// A UDP socket that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// By the number of the listener.
    Listener(u32),
    /// By the number of the relayed address.
    Relay(u32),
}

/// Datagrams in the order in which they were pushed, chained by sender, and an arena for octets
/// that are not in the batch. Emptied in every iteration, so its size is bounded by what one
/// iteration receives.
pub(crate) struct SendQueue {
    entries: Vec<QueueEntry>,
    arena: Vec<u8>,
    listeners: Vec<Chain>,
    relays: Vec<Chain>,
    /// Senders with datagrams.
    active: Vec<Sender>,
    /// Buffer of [`group_by_destination`].
    order: Vec<u64>,
    scratch: SendScratch,
    decrements_hop_limit: bool,
    counters: Arc<Counters>,
}

struct QueueEntry {
    transmit: Transmit,
    next: u32,
}

/// First and last entry of one sender.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// A payload in the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    pub(crate) start: usize,
    pub(crate) length: usize,
    /// Octets in front of it that may be overwritten.
    pub(crate) headroom: usize,
}

impl Payload {
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// The parts of the message that carries `payload` behind `header`.
pub(crate) fn message_parts<'a>(
    header: &'a PayloadHeader,
    payload: Payload,
    batch: &'a Batch,
) -> [&'a [u8]; 3] {
    let payload = batch.octets().get(payload.range()).unwrap_or_default();
    let padding = ZEROS
        .get(..usize::from(header.padding()))
        .unwrap_or_default();
    [header.octets(), payload, padding]
}

impl SendQueue {
    /// With `decrements_hop_limit`, forwarded datagrams leave with a hop limit of one less than
    /// they arrived with.
    pub(crate) fn new(decrements_hop_limit: bool, counters: Arc<Counters>) -> SendQueue {
        SendQueue {
            entries: Vec::new(),
            arena: Vec::new(),
            listeners: Vec::new(),
            relays: Vec::new(),
            active: Vec::new(),
            order: Vec::new(),
            scratch: SendScratch::default(),
            decrements_hop_limit,
            counters,
        }
    }

    /// The hop limit of a datagram that arrived with another one; `None` if it must not be
    /// forwarded. 0 stands for unknown, and for the default of the socket.
    pub(crate) fn forwarded_hop_limit(&self, received: u8) -> Option<u8> {
        match received {
            0 => Some(0),
            _ if !self.decrements_hop_limit => Some(0),
            1 => {
                self.counters.hop_limit_exceeded.add(1);
                None
            }
            more => Some(more - 1),
        }
    }

    /// Appends a datagram.
    pub(crate) fn push(&mut self, sender: Sender, transmit: Transmit) {
        let new = self.entries.len() as u32;
        self.entries.push(QueueEntry {
            transmit,
            next: NONE,
        });
        let (chains, index) = match sender {
            Sender::Listener(number) => (&mut self.listeners, number as usize),
            Sender::Relay(number) => (&mut self.relays, number as usize),
        };
        if index >= chains.len() {
            chains.resize(index + 1, Chain::EMPTY);
        }
        let Some(chain) = chains.get_mut(index) else {
            return;
        };
        if chain.first == NONE {
            chain.first = new;
            self.active.push(sender);
        } else if let Some(last) = self.entries.get_mut(chain.last as usize) {
            last.next = new;
        }
        chain.last = new;
    }

    /// Puts `header` in front of `payload`: in place if there is headroom, else in the arena.
    /// Returns both ranges; the first is empty if the second covers all.
    pub(crate) fn prepend(
        &mut self,
        header: &PayloadHeader,
        payload: Payload,
        batch: &mut Batch,
    ) -> (BufferRange, BufferRange) {
        let octets = header.octets();
        if octets.len() <= payload.headroom {
            let start = payload.start - octets.len();
            if let Some(headroom) = batch.octets_mut().get_mut(start..payload.start) {
                headroom.copy_from_slice(octets);
                let whole = BufferRange::received(start, octets.len() + payload.length);
                return (BufferRange::EMPTY, whole);
            }
        }
        let payload = BufferRange::received(payload.start, payload.length);
        (self.copy(octets), payload)
    }

    /// Copies octets into the arena.
    pub(crate) fn copy(&mut self, octets: &[u8]) -> BufferRange {
        let start = self.arena.len();
        self.arena.extend_from_slice(octets);
        BufferRange::written(start, octets.len())
    }

    /// Hands each sender its datagrams, those to one destination next to each other, and empties
    /// the queue.
    pub(crate) fn flush(
        &mut self,
        batch: &Batch,
        mut send: impl FnMut(Sender, QueuedDatagrams<'_>) -> SendCounts,
    ) {
        if self.active.is_empty() {
            return;
        }
        let mut total = SendCounts::default();
        for sender in self.active.drain(..) {
            let chain = match sender {
                Sender::Listener(number) => self.listeners.get_mut(number as usize),
                Sender::Relay(number) => self.relays.get_mut(number as usize),
            };
            let Some(chain) = chain else { continue };
            let first = std::mem::replace(chain, Chain::EMPTY).first;
            let datagrams = QueuedDatagrams {
                next: group_by_destination(&mut self.entries, &mut self.order, first),
                entries: &self.entries,
                buffers: Buffers {
                    received: batch.octets(),
                    written: &self.arena,
                },
                scratch: &mut self.scratch,
            };
            total += send(sender, datagrams);
        }
        self.entries.clear();
        self.arena.clear();
        self.counters.send_calls.add(total.calls);
        self.counters.sent_datagrams.add(total.datagrams);
        self.counters.send_dropped.add(total.buffer_full);
        self.counters.send_failed.add(total.failed);
    }
}

/// Relinks the chain that starts at `first`, so that datagrams to one destination are neighbors and
/// leave as one GSO message; their order among themselves stays. Returns the new first entry.
/// Sorting by port alone is enough: if two hosts use the same port, some neighbors differ and leave
/// one by one.
fn group_by_destination(entries: &mut [QueueEntry], order: &mut Vec<u64>, first: u32) -> u32 {
    order.clear();
    let mut index = first;
    while let Some(entry) = entries.get(index as usize) {
        order.push(u64::from(entry.transmit.to.port()) << 32 | u64::from(index));
        index = entry.next;
    }
    if order.len() < 3 || order.is_sorted_by_key(|entry| entry >> 32) {
        return first;
    }
    order.sort_unstable();
    let mut next = NONE;
    for entry in order.iter().rev() {
        let index = *entry as u32;
        if let Some(entry) = entries.get_mut(index as usize) {
            entry.next = next;
        }
        next = index;
    }
    next
}

/// The datagrams of one sender.
pub(crate) struct QueuedDatagrams<'a> {
    entries: &'a [QueueEntry],
    next: u32,
    buffers: Buffers<'a>,
    scratch: &'a mut SendScratch,
}

impl QueuedDatagrams<'_> {
    pub(crate) fn send(self, socket: &mut UdpSocket) -> SendCounts {
        let chain = ChainIter {
            entries: self.entries,
            next: self.next,
        };
        socket.send(self.scratch, chain, self.buffers)
    }
}

/// The transmits of one chain.
struct ChainIter<'a> {
    entries: &'a [QueueEntry],
    next: u32,
}

impl<'a> Iterator for ChainIter<'a> {
    type Item = &'a Transmit;

    fn next(&mut self) -> Option<&'a Transmit> {
        let entry = self.entries.get(self.next as usize)?;
        self.next = entry.next;
        Some(&entry.transmit)
    }
}

impl Chain {
    const EMPTY: Chain = Chain {
        first: NONE,
        last: NONE,
    };
}

/// No entry.
const NONE: u32 = u32::MAX;
static ZEROS: [u8; 3] = [0; 3];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Framer, Framing};
    use std::net::SocketAddr;

    fn queue() -> SendQueue {
        SendQueue::new(true, Arc::default())
    }

    fn to(port: u16) -> Transmit {
        let address = SocketAddr::from(([192, 0, 2, 1], port));
        Transmit::new(address, BufferRange::EMPTY)
    }

    /// What each sender sends, as port and hop limit.
    fn flush(queue: &mut SendQueue) -> Vec<(Sender, Vec<(u16, u8)>)> {
        let mut all = Vec::new();
        queue.flush(&Batch::new(1), |sender, datagrams| {
            let chain = ChainIter {
                entries: datagrams.entries,
                next: datagrams.next,
            };
            let sent = chain.map(|transmit| (transmit.to.port(), transmit.hop_limit));
            all.push((sender, sent.collect()));
            SendCounts::default()
        });
        all
    }

    #[test]
    fn datagrams_are_grouped_by_sender_and_keep_their_order() {
        let mut queue = queue();
        let (first, second, third) = (Sender::Relay(3), Sender::Listener(0), Sender::Relay(0));
        for round in 0..2 {
            for (n, sender) in (0..).zip([first, second, first, third]) {
                queue.push(sender, to(n + round));
            }
            let expected = [
                (first, vec![(round, 0), (2 + round, 0)]),
                (second, vec![(1 + round, 0)]),
                (third, vec![(3 + round, 0)]),
            ];
            assert_eq!(flush(&mut queue), expected);
            assert_eq!(flush(&mut queue), []);
        }
    }

    #[test]
    fn datagrams_to_one_destination_are_neighbors_and_keep_their_order() {
        let mut queue = queue();
        for (hop_limit, port) in (0..).zip([7, 9, 7, 8, 9, 7]) {
            let transmit = Transmit {
                hop_limit,
                ..to(port)
            };
            queue.push(Sender::Listener(0), transmit);
        }
        let expected = vec![(7, 0), (7, 2), (7, 5), (8, 3), (9, 1), (9, 4)];
        assert_eq!(flush(&mut queue), [(Sender::Listener(0), expected)]);
    }

    #[test]
    fn a_header_is_written_in_place_if_there_is_headroom_and_else_into_the_arena() {
        let mut queue = queue();
        let mut batch = Batch::new(1);
        let start = batch.occupy_slot();
        batch.octets_mut()[start..start + 5].copy_from_slice(b"voice");
        let header = Framer::new(1).header(Framing::Channel(0x4001), 5).unwrap();
        let payload = |headroom| Payload {
            start,
            length: 5,
            headroom,
        };
        let (first, second) = queue.prepend(&header, payload(48), &mut batch);
        let buffers = Buffers {
            received: batch.octets(),
            written: &[],
        };
        assert_eq!(first, BufferRange::EMPTY);
        assert_eq!(buffers.get(second), b"\x40\x01\0\x05voice");
        let (first, second) = queue.prepend(&header, payload(3), &mut batch);
        let buffers = Buffers {
            received: batch.octets(),
            written: &queue.arena,
        };
        assert_eq!(buffers.get(first), b"\x40\x01\0\x05");
        assert_eq!(buffers.get(second), b"voice");
    }

    #[test]
    fn the_hop_limit_is_decremented_and_a_packet_with_the_last_hop_is_dropped() {
        let queue = queue();
        assert_eq!(queue.forwarded_hop_limit(64), Some(63));
        assert_eq!(queue.forwarded_hop_limit(1), None);
        assert_eq!(queue.forwarded_hop_limit(0), Some(0), "unknown");
        assert_eq!(queue.counters.hop_limit_exceeded.get(), 1);
    }
}
