//! Datagrams to send. A datagram refers to ranges of two buffers, so that payloads are never
//! copied.

use std::net::{IpAddr, SocketAddr};

/// A datagram to send: a header (may be empty), a payload, and padding.
#[derive(Clone, Copy, Debug)]
pub struct Transmit {
    /// Destination.
    pub to: SocketAddr,
    /// Source address; `None` leaves the choice to the kernel. A socket bound to a wildcard address
    /// sets it, because the kernel's choice may differ from the address that the client sent its
    /// request to.
    pub from: Option<IpAddr>,
    /// First part of the datagram.
    pub header: BufferRange,
    /// Second part of the datagram.
    pub payload: BufferRange,
    /// Octets of zero padding after the payload, at most 3.
    pub padding: u8,
    /// DSCP and ECN; 0 for the socket's default.
    pub traffic_class: u8,
    /// TTL or hop limit; 0 for the socket's default.
    pub hop_limit: u8,
    /// IPv4: sets DF; IPv6: does not fragment at the source. A datagram that is too large fails,
    /// and the socket reports an ICMP error with the MTU.
    pub dont_fragment: bool,
}

impl Transmit {
    /// A datagram with the socket's defaults and without header.
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

    /// Octets of header, payload and padding.
    pub fn length(&self) -> usize {
        self.header.length as usize + self.payload.length as usize + self.padding().len()
    }

    pub(crate) fn padding(&self) -> &'static [u8] {
        ZEROS.get(..usize::from(self.padding)).unwrap_or(&ZEROS)
    }

    /// Returns true if `next` may share a GSO message with this datagram. Does not compare sizes.
    pub(crate) fn shares_gso_message(&self, next: &Transmit) -> bool {
        self.to == next.to
            && self.from == next.from
            && self.traffic_class == next.traffic_class
            && self.hop_limit == next.hop_limit
            && self.dont_fragment == next.dont_fragment
    }
}

/// A range of one of the two [`Buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferRange {
    /// The buffer.
    pub buffer: Buffer,
    /// Index of the first octet.
    pub start: u32,
    /// Number of octets.
    pub length: u32,
}

impl BufferRange {
    /// No octets.
    pub const EMPTY: BufferRange = BufferRange {
        buffer: Buffer::Written,
        start: 0,
        length: 0,
    };

    /// A range of the received octets.
    pub fn received(start: usize, length: usize) -> BufferRange {
        BufferRange {
            buffer: Buffer::Received,
            start: start as u32,
            length: length as u32,
        }
    }

    /// A range of the octets that the caller wrote.
    pub fn written(start: usize, length: usize) -> BufferRange {
        BufferRange {
            buffer: Buffer::Written,
            start: start as u32,
            length: length as u32,
        }
    }
}

/// Names one of the two [`Buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// [`Buffers::received`].
    Received,
    /// [`Buffers::written`].
    Written,
}

/// The buffers that the datagrams of one send refer to.
#[derive(Clone, Copy, Debug)]
pub struct Buffers<'a> {
    /// [`Batch::octets`](crate::net::Batch::octets): payloads that are forwarded.
    pub received: &'a [u8],
    /// The caller's own buffer: headers and messages that the caller wrote.
    pub written: &'a [u8],
}

impl<'a> Buffers<'a> {
    /// The octets of `range`; empty if the range exceeds its buffer.
    pub fn get(&self, range: BufferRange) -> &'a [u8] {
        let buffer = match range.buffer {
            Buffer::Received => self.received,
            Buffer::Written => self.written,
        };
        let start = range.start as usize;
        buffer
            .get(start..start.saturating_add(range.length as usize))
            .unwrap_or_default()
    }
}

/// Results of a send, by datagram. An error of one datagram never stops the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounts {
    /// Datagrams that the kernel accepted.
    pub datagrams: u64,
    /// UDP payload octets of the accepted datagrams.
    pub octets: u64,
    /// Datagrams dropped because the socket's send buffer was full.
    pub buffer_full: u64,
    /// Datagrams that the kernel refused for another reason: no route, too large, not permitted.
    pub failed: u64,
    /// System calls.
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

static ZEROS: [u8; 3] = [0; 3];
