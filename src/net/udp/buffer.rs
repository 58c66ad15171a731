//! Storage for received datagrams: slots with headroom, reused for the life of a shard.

#[cfg(target_os = "linux")]
use crate::net::udp::sys::mmsghdr::ReceiveHeaders;
use crate::net::udp::sys::stable_array::StableArray;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Free octets in front of every slot: the size of a Data indication's header with an IPv6 peer
/// address.
pub const HEADROOM: usize = 48;

/// The datagrams that any number of sockets received since the last [`Batch::clear`], and their
/// octets.
///
/// A batch has a fixed number of slots. A slot holds one datagram, or all datagrams that the kernel
/// coalesced (GRO). After its list of datagrams has grown to its largest size a batch allocates
/// nothing.
pub struct Batch {
    octets: StableArray<u8>,
    slots: usize,
    used: usize,
    datagrams: Vec<Datagram>,
    #[cfg(target_os = "linux")]
    pub(crate) headers: ReceiveHeaders,
}

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Source address.
    pub source: SocketAddr,
    /// Destination address; known only if the socket is bound to a wildcard address and receives in
    /// batches.
    pub local: Option<IpAddr>,
    /// Index of the payload's first octet in [`Batch::octets`].
    pub start: usize,
    /// Octets of payload.
    pub length: usize,
    /// Free octets in front of `start`: [`HEADROOM`] for the first datagram of a slot, 0 for the
    /// others.
    pub headroom: usize,
    /// DSCP and ECN; 0 unless the socket reports them.
    pub traffic_class: u8,
    /// TTL or hop limit; 0 unless the socket reports it.
    pub hop_limit: u8,
}

impl Datagram {
    /// Range of the payload in [`Batch::octets`].
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// Result of one receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The new ones among [`Batch::datagrams`].
    pub datagrams: Range<usize>,
    /// The socket is empty: the next receive would return nothing.
    pub drained: bool,
    /// The error queue may have entries: call
    /// [`UdpSocket::read_icmp_errors`](crate::net::UdpSocket::read_icmp_errors).
    pub errors: bool,
    /// Datagrams that the kernel dropped since the last report because the receive buffer was full.
    pub overflowed: u32,
    /// System calls.
    pub calls: u32,
}

impl Batch {
    /// Allocates `slots` slots of 64 KiB. The system provides their memory when they are first
    /// used.
    pub fn new(slots: usize) -> Batch {
        let octets = StableArray::new(vec![0; slots * STRIDE]);
        Batch {
            #[cfg(target_os = "linux")]
            headers: ReceiveHeaders::new(slots, |slot| {
                octets
                    .pointer(payload_start(slot))
                    .map(|start| (start, SLOT_SIZE))
            }),
            octets,
            slots,
            used: 0,
            datagrams: Vec::with_capacity(slots * 2),
        }
    }

    /// Removes all datagrams and frees all slots.
    pub fn clear(&mut self) {
        #[cfg(target_os = "linux")]
        self.headers.reset(self.used);
        self.used = 0;
        self.datagrams.clear();
    }

    /// Number of free slots.
    pub fn free(&self) -> usize {
        self.slots - self.used
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The received datagrams, oldest first.
    pub fn datagrams(&self) -> &[Datagram] {
        &self.datagrams
    }

    /// The whole storage, which the ranges of datagrams refer to.
    pub fn octets(&self) -> &[u8] {
        self.octets.as_slice()
    }

    /// The whole storage, to write headers in front of payloads.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        self.octets.as_mut_slice()
    }

    /// The payload of one of the batch's datagrams.
    pub fn payload(&self, datagram: &Datagram) -> &[u8] {
        self.octets().get(datagram.range()).unwrap_or_default()
    }

    /// Index of the first free slot.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The first free slot, for callers that read into it by other means than a
    /// [`UdpSocket`](crate::net::UdpSocket); empty if no slot is free.
    pub fn free_slot(&mut self) -> &mut [u8] {
        let start = payload_start(self.used);
        self.octets
            .as_mut_slice()
            .get_mut(start..start + SLOT_SIZE)
            .unwrap_or_default()
    }

    /// Adds the datagrams of the first free slot, which holds `length` octets in segments of
    /// `segment_size` octets (0: a single datagram), and occupies the slot.
    pub(crate) fn commit_slot(&mut self, length: usize, segment_size: usize, info: PacketInfo) {
        let slot = payload_start(self.used);
        let length = length.min(SLOT_SIZE);
        let segment_size = if segment_size == 0 {
            length
        } else {
            segment_size
        };
        let mut offset = 0;
        // Runs at least once, because a datagram may be empty.
        loop {
            self.datagrams.push(Datagram {
                source: info.source,
                local: info.local,
                start: slot + offset,
                length: segment_size.min(length - offset),
                headroom: if offset == 0 { HEADROOM } else { 0 },
                traffic_class: info.traffic_class,
                hop_limit: info.hop_limit,
            });
            offset += segment_size;
            if offset >= length {
                break;
            }
        }
        self.used += 1;
    }

    /// Occupies the first free slot without adding a datagram, and returns the slot's index in
    /// [`Batch::octets`]. For octets from a stream, and for messages that have to be discarded.
    pub fn occupy_slot(&mut self) -> usize {
        self.used += 1;
        payload_start(self.used - 1)
    }
}

/// Metadata that all datagrams of a slot have in common.
#[derive(Clone, Copy)]
pub(crate) struct PacketInfo {
    pub(crate) source: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
}

fn payload_start(slot: usize) -> usize {
    slot * STRIDE + HEADROOM
}

/// Payload octets of a slot: enough for the largest UDP datagram, GRO message, and STUN message on
/// a stream (20 + 65,532 octets).
const SLOT_SIZE: usize = 65_792;
/// Distance between slots. It is not a multiple of the page size: ordinary packets occupy only the
/// beginning of a slot, and if all slots began at the same page offset, their beginnings would
/// compete for the same few sets of the CPU's caches.
const STRIDE: usize = HEADROOM + SLOT_SIZE + 1_040;
