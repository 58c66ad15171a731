//! A slab whose keys carry a generation, so that a key of a removed entry never finds its
//! successor, and whose entries have deadlines. Client connections and DTLS associations each
//! have a slab.
//!
//! Deadlines move with every packet, almost always to a later time. The heap therefore keeps at
//! most one valid timer for each entry: a later deadline is only noted in the entry, and the timer
//! is set again when it fires too early.

use crate::relay::io::clock::FOREVER;
use crate::turn::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Finds an entry until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u16,
}

/// Entries in slots that are reused.
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
    timers: BinaryHeap<Reverse<(Instant, Key)>>,
}

struct Slot<T> {
    generation: u16,
    entry: Option<Box<SlabEntry<T>>>,
}

struct SlabEntry<T> {
    value: T,
    deadline: Instant,
    /// The time of the entry's valid timer in the heap.
    timer: Instant,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab {
            slots: Vec::new(),
            vacant: Vec::new(),
            timers: BinaryHeap::new(),
        }
    }

    /// Inserts what `make` returns for the key of the new entry.
    pub(crate) fn insert(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                entry: None,
            });
            (self.slots.len() - 1) as u32
        });
        let mut key = Key {
            index,
            generation: 0,
        };
        if let Some(slot) = self.slots.get_mut(index as usize) {
            key.generation = slot.generation;
            slot.entry = Some(Box::new(SlabEntry {
                value: make(key),
                deadline: FOREVER,
                timer: FOREVER,
            }));
        }
        key
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        let entry = slot.entry.as_deref()?;
        (slot.generation == key.generation).then_some(&entry.value)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entry(key).map(|entry| &mut entry.value)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(key.index);
        Some(entry.value)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Replaces the deadline of an entry.
    pub(crate) fn set_deadline(&mut self, key: Key, at: Instant) {
        let Some(entry) = self.entry(key) else { return };
        entry.deadline = at;
        if at < entry.timer {
            entry.timer = at;
            self.timers.push(Reverse((at, key)));
        }
    }

    /// A time not later than the earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns an entry whose deadline has passed, and clears the deadline.
    pub(crate) fn pop_expired(&mut self, now: Instant) -> Option<Key> {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let Reverse((at, key)) = self.timers.pop()?;
            let Some(entry) = self.entry(key).filter(|entry| entry.timer == at) else {
                continue;
            };
            entry.timer = FOREVER;
            if entry.deadline <= now {
                entry.deadline = FOREVER;
                return Some(key);
            }
            let deadline = entry.deadline;
            self.set_deadline(key, deadline);
        }
        None
    }

    fn entry(&mut self, key: Key) -> Option<&mut SlabEntry<T>> {
        let slot = self.slots.get_mut(key.index as usize)?;
        let entry = slot.entry.as_deref_mut()?;
        (slot.generation == key.generation).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert(|_| "first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert(|_| "second");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.get_mut(first), None);
        assert_eq!((slab.remove(first), slab.len()), (None, 1));
        assert_eq!(slab.get(second), Some(&"second"));
    }

    #[test]
    fn an_entry_expires_at_its_latest_deadline() {
        let mut slab = Slab::new();
        let (early, late) = (slab.insert(|_| ()), slab.insert(|_| ()));
        slab.set_deadline(early, Instant(5));
        slab.set_deadline(late, Instant(7));
        slab.set_deadline(late, Instant(20));
        assert_eq!(slab.pop_expired(Instant(4)), None);
        assert_eq!(slab.pop_expired(Instant(10)), Some(early));
        assert_eq!(slab.pop_expired(Instant(10)), None);
        assert_eq!(slab.next_deadline(), Some(Instant(20)));
        slab.set_deadline(late, Instant(12));
        assert_eq!(slab.pop_expired(Instant(12)), Some(late));
        assert_eq!(slab.pop_expired(Instant(30)), None);
    }

    #[test]
    fn a_removed_entry_does_not_expire() {
        let mut slab = Slab::new();
        let key = slab.insert(|_| ());
        slab.set_deadline(key, Instant(1));
        slab.remove(key);
        slab.insert(|_| ());
        assert_eq!(slab.pop_expired(Instant(2)), None);
    }
}
