//! Storage for what one turn receives: slots with free room in front, reused for ever.

#[cfg(target_os = "linux")]
use crate::net::udp::cmsg::Headers;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Octets free in front of every slot: enough for the header of a Data indication over IPv6.
pub const HEADROOM: usize = 48;

/// What was received since the last [`Batch::clear`], by any number of sockets, and the octets themselves.
///
/// A batch has N slots; one datagram takes one slot, and so does one train of datagrams that the kernel coalesced (GRO).
/// Nothing is allocated once the list of datagrams has grown to its largest.
pub struct Batch {
    storage: Storage,
    slots: usize,
    used: usize,
    datagrams: Vec<Datagram>,
    #[cfg(target_os = "linux")]
    pub(crate) headers: Headers,
}

/// One received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Who sent it.
    pub source: SocketAddr,
    /// The address it was sent to, where the socket is bound to a wildcard and the path can tell.
    pub local: Option<IpAddr>,
    /// Where its payload begins in [`Batch::octets`].
    pub start: usize,
    /// Octets of payload.
    pub length: usize,
    /// Free octets in front of `start`: [`HEADROOM`] for the first of a slot, 0 for those behind it.
    pub headroom: usize,
    /// DSCP and ECN, 0 unless the socket was asked for them.
    pub traffic_class: u8,
    /// TTL or hop limit, 0 unless the socket was asked for it.
    pub hop_limit: u8,
}

impl Datagram {
    /// Where its payload lies in [`Batch::octets`].
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// What one receive brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which of [`Batch::datagrams`] are new.
    pub datagrams: Range<usize>,
    /// Nothing is left in the socket: the next call would only say so.
    pub drained: bool,
    /// An ICMP error was reported meanwhile: read [`UdpSocket::errors`](crate::net::UdpSocket::errors).
    pub errors: bool,
    /// Datagrams that the kernel dropped, since the last receive that told, because the receive buffer was full.
    pub overflowed: u32,
    /// System calls made.
    pub calls: u32,
}

impl Batch {
    /// Storage for `slots` datagrams or trains of up to 64 KiB (the memory is touched as it is used).
    pub fn new(slots: usize) -> Batch {
        let storage = Storage::new(slots * STRIDE);
        Batch {
            #[cfg(target_os = "linux")]
            headers: Headers::new(slots, |slot| storage.slot(slot)),
            storage,
            slots,
            used: 0,
            datagrams: Vec::with_capacity(slots * 2),
        }
    }

    /// Forgets everything received.
    pub fn clear(&mut self) {
        #[cfg(target_os = "linux")]
        self.headers.reset(self.used);
        self.used = 0;
        self.datagrams.clear();
    }

    /// Slots that are still free.
    pub fn free(&self) -> usize {
        self.slots - self.used
    }

    /// Slots in all.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// What was received, oldest first.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// The whole storage, which ranges of datagrams refer to.
    pub fn octets(&self) -> &[u8] {
        self.storage.as_slice()
    }

    /// The whole storage, to write headers in front of payloads.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        self.storage.as_mut_slice()
    }

    /// The payload of one of its datagrams.
    pub fn payload(&self, datagram: &Datagram) -> &[u8] {
        self.octets().get(datagram.range()).unwrap_or_default()
    }

    /// The index of the first free slot.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The octets of the first free slot, for who reads into it by other means; empty when there is none.
    pub fn free_slot(&mut self) -> &mut [u8] {
        let start = self.used * STRIDE + HEADROOM;
        self.storage
            .as_mut_slice()
            .get_mut(start..start + SLOT)
            .unwrap_or_default()
    }

    /// Notes that the next free slot now holds `length` octets like `first` says, in segments of `segment` octets
    /// (0: one datagram), and takes the slot.
    pub(crate) fn take(&mut self, length: usize, segment: usize, first: Arrival) {
        let slot = self.used * STRIDE + HEADROOM;
        let length = length.min(SLOT);
        let segment = if segment == 0 { length } else { segment };
        let mut at = 0;
        loop {
            self.datagrams.push(Datagram {
                source: first.source,
                local: first.local,
                start: slot + at,
                length: segment.min(length - at),
                headroom: if at == 0 { HEADROOM } else { 0 },
                traffic_class: first.traffic_class,
                hop_limit: first.hop_limit,
            });
            at += segment;
            if at >= length {
                break;
            }
        }
        self.used += 1;
    }

    /// Takes the first free slot without noting a datagram and tells where in [`Batch::octets`] it begins: a stream was
    /// read into it, or something that cannot be told.
    pub fn occupy_slot(&mut self) -> usize {
        self.used += 1;
        (self.used - 1) * STRIDE + HEADROOM
    }
}

/// What is known of a datagram, or train of them, beside its octets.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) source: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
}

#[cfg(target_os = "linux")]
struct Storage(crate::net::udp::stable_array::StableArray<u8>);

#[cfg(target_os = "linux")]
impl Storage {
    fn new(octets: usize) -> Storage {
        Storage(crate::net::udp::stable_array::StableArray::new(vec![
            0;
            octets
        ]))
    }

    /// Where the kernel writes into slot `index`, and how much.
    fn slot(&self, index: usize) -> Option<(*mut u8, usize)> {
        self.0
            .pointer(index * STRIDE + HEADROOM)
            .map(|start| (start, SLOT))
    }

    fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }
}

#[cfg(not(target_os = "linux"))]
struct Storage(Box<[u8]>);

#[cfg(not(target_os = "linux"))]
impl Storage {
    fn new(octets: usize) -> Storage {
        Storage(vec![0; octets].into_boxed_slice())
    }

    fn as_slice(&self) -> &[u8] {
        &self.0
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Payload octets of one slot: the largest UDP datagram or train of them, and the largest frame of a stream (a STUN
/// message of 20 + 65,532 octets).
const SLOT: usize = 65_792;
/// From one slot to the next. Not a multiple of a page, so that the beginnings of slots, which is where ordinary packets
/// lie, do not all fall into the same sets of the processor's caches.
const STRIDE: usize = HEADROOM + SLOT + 1_040;
