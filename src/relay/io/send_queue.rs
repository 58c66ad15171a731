//! What this turn sends, grouped by the socket that sends it.

use crate::net::{Batch, BufferRange, Buffers, Transmit};
use crate::turn::PayloadHeader;
use std::net::SocketAddr;

/// A UDP socket that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    /// A listener, by its place among the shard's.
    Listener(u32),
    /// A relay socket, by its place among the shard's.
    Relay(u32),
}

/// Datagrams in the order they were decided on, chained by sender, and the arena for headers that found no room in front
/// of their payload. Emptied every turn, so it is bounded by what one turn can receive.
pub(crate) struct Outbox {
    entries: Vec<Entry>,
    arena: Vec<u8>,
    listeners: Vec<Chain>,
    relays: Vec<Chain>,
    touched: Vec<Sender>,
    /// Scratch of [`gather`].
    order: Vec<u64>,
}

struct Entry {
    outgoing: Transmit,
    next: u32,
}

/// First and last entry of one sender.
#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// A payload in a batch, and what may be written over in front of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    /// Where it begins in the batch.
    pub(crate) start: usize,
    /// Octets.
    pub(crate) length: usize,
    /// Octets in front of it that nobody needs any more.
    pub(crate) room: usize,
}

impl Outbox {
    /// An empty one.
    pub(crate) fn new() -> Outbox {
        Outbox {
            entries: Vec::new(),
            arena: Vec::new(),
            listeners: Vec::new(),
            relays: Vec::new(),
            touched: Vec::new(),
            order: Vec::new(),
        }
    }

    /// Adds a datagram whose payload lies in the batch as it is.
    pub(crate) fn push(&mut self, sender: Sender, outgoing: Transmit) {
        let place = self.entries.len() as u32;
        self.entries.push(Entry {
            outgoing,
            next: NONE,
        });
        let (chains, index) = match sender {
            Sender::Listener(index) => (&mut self.listeners, index as usize),
            Sender::Relay(index) => (&mut self.relays, index as usize),
        };
        if index >= chains.len() {
            chains.resize(index + 1, Chain::EMPTY);
        }
        let Some(chain) = chains.get_mut(index) else {
            return;
        };
        if chain.first == NONE {
            chain.first = place;
            self.touched.push(sender);
        } else if let Some(last) = self.entries.get_mut(chain.last as usize) {
            last.next = place;
        }
        chain.last = place;
    }

    /// The pieces of `header` and `payload`: one, written in place, where there is room.
    pub(crate) fn wrap(
        &mut self,
        header: &PayloadHeader,
        payload: Payload,
        batch: &mut Batch,
    ) -> (BufferRange, BufferRange) {
        let octets = header.octets();
        if octets.len() <= payload.room {
            let start = payload.start - octets.len();
            if let Some(place) = batch.octets_mut().get_mut(start..payload.start) {
                place.copy_from_slice(octets);
                return (
                    BufferRange::EMPTY,
                    BufferRange::received(start, octets.len() + payload.length),
                );
            }
        }
        (
            self.write(octets),
            BufferRange::received(payload.start, payload.length),
        )
    }

    /// Copies octets into the arena.
    pub(crate) fn write(&mut self, octets: &[u8]) -> BufferRange {
        let start = self.arena.len();
        self.arena.extend_from_slice(octets);
        BufferRange::written(start, octets.len())
    }

    /// Nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty()
    }

    /// Gives each sender its datagrams, those to one place side by side, and is empty.
    pub(crate) fn drain(
        &mut self,
        received: &[u8],
        mut send: impl FnMut(Sender, Chained<'_>, Buffers<'_>),
    ) {
        for sender in self.touched.drain(..) {
            let chain = match sender {
                Sender::Listener(index) => self.listeners.get_mut(index as usize),
                Sender::Relay(index) => self.relays.get_mut(index as usize),
            };
            let Some(chain) = chain else { continue };
            let first = std::mem::replace(chain, Chain::EMPTY).first;
            let at = gather(&mut self.entries, &mut self.order, first);
            send(
                sender,
                Chained {
                    entries: &self.entries,
                    at,
                },
                Buffers {
                    received,
                    written: &self.arena,
                },
            );
        }
        self.entries.clear();
        self.arena.clear();
    }
}

/// Links the chain that starts at `first` anew, so that datagrams to one place stand side by side and can leave as one
/// GSO message; their order among themselves stays. The new first one. Ports tell places apart well enough: where two
/// hosts use the same port, some neighbours do not match, and leave one by one.
fn gather(entries: &mut [Entry], order: &mut Vec<u64>, first: u32) -> u32 {
    order.clear();
    let mut at = first;
    while let Some(entry) = entries.get(at as usize) {
        order.push(u64::from(entry.outgoing.to.port()) << 32 | u64::from(at));
        at = entry.next;
    }
    if order.len() < 3 || order.is_sorted_by_key(|place| place >> 32) {
        return first;
    }
    order.sort_unstable();
    let mut next = NONE;
    for place in order.iter().rev() {
        let at = *place as u32;
        if let Some(entry) = entries.get_mut(at as usize) {
            entry.next = next;
        }
        next = at;
    }
    next
}

/// The datagrams of one sender, in order.
pub(crate) struct Chained<'a> {
    entries: &'a [Entry],
    at: u32,
}

impl<'a> Iterator for Chained<'a> {
    type Item = &'a Transmit;

    fn next(&mut self) -> Option<&'a Transmit> {
        let entry = self.entries.get(self.at as usize)?;
        self.at = entry.next;
        Some(&entry.outgoing)
    }
}

impl Chain {
    const EMPTY: Chain = Chain {
        first: NONE,
        last: NONE,
    };
}

/// The address to send a client's datagrams from, where a listener has several.
pub(crate) fn source(server: SocketAddr, wildcard: bool) -> Option<std::net::IpAddr> {
    (wildcard && !server.ip().is_unspecified()).then(|| server.ip())
}

/// No entry.
const NONE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{Framer, Framing};

    fn to(port: u16) -> Transmit {
        Transmit::new(SocketAddr::from(([192, 0, 2, 1], port)), BufferRange::EMPTY)
    }

    fn drained(outbox: &mut Outbox) -> Vec<(Sender, Vec<u16>)> {
        let mut all = Vec::new();
        outbox.drain(&[], |sender, chained, _| {
            all.push((sender, chained.map(|o| o.to.port()).collect()))
        });
        all
    }

    #[test]
    fn datagrams_are_grouped_by_sender_and_keep_their_order() {
        let mut outbox = Outbox::new();
        for round in 0..2 {
            for (n, sender) in [
                Sender::Relay(3),
                Sender::Listener(0),
                Sender::Relay(3),
                Sender::Relay(0),
            ]
            .iter()
            .enumerate()
            {
                outbox.push(*sender, to(n as u16 + round));
            }
            assert!(!outbox.is_empty());
            let expected = [
                (Sender::Relay(3), vec![round, 2 + round]),
                (Sender::Listener(0), vec![1 + round]),
                (Sender::Relay(0), vec![3 + round]),
            ];
            assert_eq!(drained(&mut outbox), expected);
            assert!(outbox.is_empty() && drained(&mut outbox).is_empty());
        }
    }

    #[test]
    fn datagrams_to_one_place_stand_side_by_side_in_their_order() {
        let mut outbox = Outbox::new();
        for (n, port) in [7, 9, 7, 8, 9, 7].into_iter().enumerate() {
            outbox.push(
                Sender::Listener(0),
                Transmit {
                    hop_limit: n as u8,
                    ..to(port)
                },
            );
        }
        let mut all = Vec::new();
        outbox.drain(&[], |_, chained, _| {
            all.extend(chained.map(|o| (o.to.port(), o.hop_limit)))
        });
        assert_eq!(all, [(7, 0), (7, 2), (7, 5), (8, 3), (9, 1), (9, 4)]);
    }

    #[test]
    fn a_header_goes_where_there_is_room_and_else_into_the_arena() {
        let mut outbox = Outbox::new();
        let mut batch = Batch::new(1);
        let start = batch.occupy_slot();
        batch.octets_mut()[start..start + 5].copy_from_slice(b"voice");
        let header = Framer::new(1).header(Framing::Channel(0x4001), 5).unwrap();
        let roomy = Payload {
            start,
            length: 5,
            room: 48,
        };
        let (none, whole) = outbox.wrap(&header, roomy, &mut batch);
        let octets = Buffers {
            received: batch.octets(),
            written: &[],
        };
        assert_eq!(
            (none, octets.get(whole)),
            (BufferRange::EMPTY, &b"\x40\x01\0\x05voice"[..])
        );
        let (head, payload) = outbox.wrap(&header, Payload { room: 3, ..roomy }, &mut batch);
        let octets = Buffers {
            received: batch.octets(),
            written: &outbox.arena,
        };
        assert_eq!(
            (octets.get(head), octets.get(payload)),
            (&b"\x40\x01\0\x05"[..], &b"voice"[..])
        );
    }
}
