//! What one batch sends: datagrams made of pieces, so that a payload is never copied.

use std::net::{IpAddr, SocketAddr};

/// One datagram to send: a header piece (may be empty) and a payload piece.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// The local address that it shall leave from; for sockets bound to a wildcard, else `None`.
    pub from: Option<IpAddr>,
    /// What comes first.
    pub header: BufferRange,
    /// What comes next.
    pub payload: BufferRange,
    /// Zeros behind it, at most 3.
    pub padding: u8,
    /// DSCP and ECN of the packet; 0 is the socket's default.
    pub traffic_class: u8,
    /// TTL or hop limit of the packet; 0 is the socket's default.
    pub hop_limit: u8,
    /// IPv4: DF is set; IPv6: never fragmented here. Too large a datagram then fails and shows among the errors.
    pub dont_fragment: bool,
}

impl Transmit {
    /// A datagram with nothing special about it.
    pub fn new(to: SocketAddr, payload: BufferRange) -> Transmit {
        Transmit {
            to,
            from: None,
            header: BufferRange::EMPTY,
            payload,
            padding: 0,
            traffic_class: 0,
            hop_limit: 0,
            dont_fragment: false,
        }
    }

    /// Octets of all of it.
    pub fn length(&self) -> usize {
        self.header.length as usize + self.payload.length as usize + self.zeros().len()
    }

    /// The padding.
    pub(crate) fn zeros(&self) -> &'static [u8] {
        ZEROS.get(..usize::from(self.padding)).unwrap_or(&ZEROS)
    }

    /// Whether `next` may ride in one GSO message with this one, sizes apart.
    pub(crate) fn shares_gso_message(&self, next: &Transmit) -> bool {
        self.to == next.to
            && self.from == next.from
            && self.traffic_class == next.traffic_class
            && self.hop_limit == next.hop_limit
            && self.dont_fragment == next.dont_fragment
    }
}

/// A range of octets in one of the two stores of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferRange {
    /// Which store.
    pub buffer: Buffer,
    /// First octet.
    pub start: u32,
    /// Octets.
    pub length: u32,
}

impl BufferRange {
    /// No octets.
    pub const EMPTY: BufferRange = BufferRange {
        buffer: Buffer::Written,
        start: 0,
        length: 0,
    };

    /// `length` octets at `start` of what was received.
    pub fn received(start: usize, length: usize) -> BufferRange {
        BufferRange {
            buffer: Buffer::Received,
            start: start as u32,
            length: length as u32,
        }
    }

    /// `length` octets at `start` of what the caller wrote.
    pub fn written(start: usize, length: usize) -> BufferRange {
        BufferRange {
            buffer: Buffer::Written,
            start: start as u32,
            length: length as u32,
        }
    }
}

/// Which store a piece lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// The storage of the [`Batch`](crate::net::Batch).
    Received,
    /// The caller's arena.
    Written,
}

/// The two stores.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// [`Batch::octets`](crate::net::Batch::octets).
    pub received: &'a [u8],
    /// The caller's arena.
    pub written: &'a [u8],
}

impl<'a> Buffers<'a> {
    /// The octets of a piece; empty where the piece lies outside its store.
    pub fn get(&self, piece: BufferRange) -> &'a [u8] {
        let store = match piece.buffer {
            Buffer::Received => self.received,
            Buffer::Written => self.written,
        };
        let start = piece.start as usize;
        store
            .get(start..start.saturating_add(piece.length as usize))
            .unwrap_or_default()
    }
}

/// What became of the datagrams given to one send.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounts {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their octets of UDP payload.
    pub octets: u64,
    /// Datagrams dropped because the socket's send buffer was full.
    pub buffer_full: u64,
    /// Datagrams that the kernel refused for another reason (no route, too large, not permitted).
    pub failed: u64,
    /// System calls made.
    pub calls: u64,
}

impl std::ops::AddAssign for SendCounts {
    fn add_assign(&mut self, other: SendCounts) {
        self.datagrams += other.datagrams;
        self.octets += other.octets;
        self.buffer_full += other.buffer_full;
        self.failed += other.failed;
        self.calls += other.calls;
    }
}

/// What padding is made of.
static ZEROS: [u8; 3] = [0; 3];
