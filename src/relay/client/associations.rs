//! The DTLS associations of a shard: who they are with, and when each wants attention.

use crate::net::dtls::Association;
use crate::relay::client::clients::Way;
use crate::relay::io::clock::FOREVER;
use crate::turn::{Client, FiveTuple, Instant, Link, Transport};
use foldhash::quality::RandomState;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;

/// A client's and our end.
pub(crate) type Ends = (SocketAddr, SocketAddr);

/// The five-tuple of an association.
pub(crate) fn over_dtls((client, server): Ends) -> FiveTuple {
    FiveTuple {
        client,
        server,
        transport: Transport::Dtls,
    }
}

/// All DTLS associations of a shard.
pub(crate) struct Associations {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
    /// Key: the two ends of an association, of which the client chose one: keyed hasher. Bounded by `maximum`.
    of: HashMap<Ends, u32, RandomState>,
    timers: BinaryHeap<Reverse<(Instant, u32, u16)>>,
    shard: u16,
    maximum: usize,
    /// What an association is polled into.
    pub(crate) scratch: Vec<u8>,
    /// What is about to be sealed.
    pub(crate) plain: Vec<u8>,
}

/// One association.
pub(crate) struct Entry {
    /// Its state.
    pub(crate) association: Association,
    /// Whom it is with.
    pub(crate) client: Client,
    /// Which listener it came to.
    pub(crate) listener: u32,
    /// When the client last sent something.
    pub(crate) active: Instant,
    due: Instant,
    armed: Instant,
}

struct Slot {
    generation: u16,
    entry: Option<Box<Entry>>,
}

impl Associations {
    /// None yet, and never more than `maximum`.
    pub(crate) fn new(shard: u16, maximum: usize) -> Associations {
        Associations {
            slots: Vec::new(),
            vacant: Vec::new(),
            of: HashMap::default(),
            timers: BinaryHeap::new(),
            shard,
            maximum,
            scratch: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// The place of the association between two ends.
    pub(crate) fn find(&self, ends: &Ends) -> Option<u32> {
        self.of.get(ends).copied()
    }

    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.of.len() < self.maximum
    }

    /// Enters one and tells its place.
    pub(crate) fn insert(
        &mut self,
        ends: Ends,
        listener: u32,
        association: Association,
        now: Instant,
    ) -> u32 {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                entry: None,
            });
            (self.slots.len() - 1) as u32
        });
        if let Some(slot) = self.slots.get_mut(index as usize) {
            let link = Way::Association {
                shard: self.shard,
                generation: slot.generation,
                index,
            }
            .link();
            let client = Client::new(over_dtls(ends), link);
            let entry = Entry {
                association,
                client,
                listener,
                active: now,
                due: FOREVER,
                armed: FOREVER,
            };
            slot.entry = Some(Box::new(entry));
            self.of.insert(ends, index);
        }
        index
    }

    /// The association at a place.
    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Entry> {
        self.slots.get_mut(index as usize)?.entry.as_deref_mut()
    }

    /// The place of the association that a link leads to, if it is still there.
    pub(crate) fn place(&self, link: Link) -> Option<u32> {
        let Way::Association {
            shard,
            generation,
            index,
        } = Way::of(link)
        else {
            return None;
        };
        let slot = self.slots.get(index as usize)?;
        (shard == self.shard && slot.generation == generation && slot.entry.is_some())
            .then_some(index)
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, index: u32) -> Option<Box<Entry>> {
        let slot = self.slots.get_mut(index as usize)?;
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index);
        self.of.remove(&(
            entry.client.five_tuple.client,
            entry.client.five_tuple.server,
        ));
        Some(entry)
    }

    /// Has the association at `index` looked after at `at`, and not before.
    pub(crate) fn schedule(&mut self, index: u32, at: Instant) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let Some(entry) = &mut slot.entry else { return };
        entry.due = at;
        if at < entry.armed {
            entry.armed = at;
            self.timers.push(Reverse((at, index, slot.generation)));
        }
    }

    /// When the next one wants attention.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// The place of one that wants attention now.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u32> {
        while self.next_timeout().is_some_and(|at| at <= now) {
            let Some(Reverse((at, index, generation))) = self.timers.pop() else {
                break;
            };
            let slot = self
                .slots
                .get_mut(index as usize)
                .filter(|slot| slot.generation == generation);
            let Some(entry) = slot.and_then(|slot| slot.entry.as_mut()) else {
                continue;
            };
            if entry.armed != at {
                continue;
            }
            entry.armed = FOREVER;
            if entry.due <= now {
                return Some(index);
            }
            let due = entry.due;
            self.schedule(index, due);
        }
        None
    }
}
