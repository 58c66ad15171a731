//! Message headers for `recvmmsg`, linked to the slots of a batch.

use crate::net::udp::sys::cmsg::{ControlBuffer, for_each, read_int, read_struct};
use crate::net::udp::sys::sockaddr::{RawSocketAddr, decode_ipv4};
use crate::net::udp::sys::stable_array::StableArray;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv6Addr};

/// The message headers of a batch's slots. They are linked once, and then only the fields that the
/// kernel overwrote are restored between calls.
pub(crate) struct ReceiveHeaders {
    messages: StableArray<libc::mmsghdr>,
    /// Keeps the memory alive that `messages` points into.
    _parts: StableArray<MessageParts>,
}

/// What a message header points to, apart from the payload.
struct MessageParts {
    payload: libc::iovec,
    source: RawSocketAddr,
    control: ControlBuffer<CONTROL_SIZE>,
}

impl ReceiveHeaders {
    /// Headers for `slots` slots; `slot` returns the memory of a slot and its length.
    pub(crate) fn new(
        slots: usize,
        slot: impl Fn(usize) -> Option<(*mut u8, usize)>,
    ) -> ReceiveHeaders {
        let parts = StableArray::new((0..slots).map(|_| MessageParts::empty()).collect());
        let messages = (0..slots)
            .map(|index| link(&parts, index, slot(index)))
            .collect();
        ReceiveHeaders {
            messages: StableArray::new(messages),
            _parts: parts,
        }
    }

    /// Restores the fields of the first `used` headers that the kernel overwrote: it reads lengths
    /// as the size of a buffer and writes them as the size of its content.
    pub(crate) fn reset(&mut self, used: usize) {
        for message in self.messages.as_mut_slice().iter_mut().take(used) {
            message.msg_hdr.msg_namelen = RawSocketAddr::SIZE;
            message.msg_hdr.msg_controllen = size_of::<ControlBuffer<CONTROL_SIZE>>() as _;
            message.msg_hdr.msg_flags = 0;
        }
    }

    /// The header of slot `index`, followed by the headers of all later slots.
    pub(crate) fn starting_at(&mut self, index: usize) -> Option<*mut libc::mmsghdr> {
        self.messages.pointer(index)
    }

    /// What the kernel reported about the message in slot `index`; `None` if the payload was
    /// truncated.
    pub(crate) fn read(&self, index: usize) -> Option<ReceivedMessage> {
        let message = self.messages.as_slice().get(index)?;
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        // SAFETY: `msg_name` points to the source of this slot's parts, which live as long as
        // `self`.
        let source = unsafe { *message.msg_hdr.msg_name.cast::<RawSocketAddr>() };
        let mut received = ReceivedMessage {
            length: message.msg_len as usize,
            source,
            local: None,
            segment_size: 0,
            traffic_class: 0,
            hop_limit: 0,
            overflow_count: None,
        };
        if message.msg_hdr.msg_controllen > 0 {
            // SAFETY: the kernel filled this header, so its control length covers what it wrote
            // into our buffer.
            unsafe {
                for_each(&message.msg_hdr, |level, kind, data| {
                    received.record(level, kind, data)
                })
            };
        }
        Some(received)
    }
}

// SAFETY: the raw pointers lead into `_parts` and into the storage of the batch that owns the
// headers, both of which stay at their addresses and move to another thread together with the
// headers.
unsafe impl Send for ReceiveHeaders {}

fn link(
    parts: &StableArray<MessageParts>,
    index: usize,
    slot: Option<(*mut u8, usize)>,
) -> libc::mmsghdr {
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a
    // value.
    let mut message: libc::mmsghdr = unsafe { zeroed() };
    let (Some(parts), Some((start, length))) = (parts.pointer(index), slot) else {
        return message;
    };
    // SAFETY: `parts` points into the array, which does not move, and no reference into the array
    // exists now.
    unsafe {
        (*parts).payload = libc::iovec {
            iov_base: start.cast(),
            iov_len: length,
        };
        message.msg_hdr.msg_iov = &raw mut (*parts).payload;
        message.msg_hdr.msg_name = (&raw mut (*parts).source).cast();
        message.msg_hdr.msg_control = (&raw mut (*parts).control).cast();
    }
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_namelen = RawSocketAddr::SIZE;
    message.msg_hdr.msg_controllen = size_of::<ControlBuffer<CONTROL_SIZE>>() as _;
    message
}

impl MessageParts {
    fn empty() -> MessageParts {
        MessageParts {
            payload: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            source: RawSocketAddr::empty(),
            control: ControlBuffer::empty(),
        }
    }
}

/// What the kernel reports about one received message.
pub(crate) struct ReceivedMessage {
    pub(crate) length: usize,
    pub(crate) source: RawSocketAddr,
    /// The address that the message was sent to.
    pub(crate) local: Option<IpAddr>,
    /// Octets of each datagram that GRO coalesced; 0 for a single datagram.
    pub(crate) segment_size: usize,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
    /// Datagrams that the socket has dropped since it was created. The kernel reports the number
    /// only if it is not 0.
    pub(crate) overflow_count: Option<u32>,
}

impl ReceivedMessage {
    fn record(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(info) = read_struct::<libc::in_pktinfo>(data) {
                    // Not `ipi_addr`: for a broadcast that is the broadcast address, which nothing
                    // can be sent from.
                    self.local = Some(IpAddr::V4(decode_ipv4(info.ipi_spec_dst)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(info) = read_struct::<libc::in6_pktinfo>(data) {
                    self.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
            }
            (libc::SOL_UDP, libc::UDP_GRO) => self.segment_size = read_int(data).max(0) as usize,
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.traffic_class = read_int(data) as u8;
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.hop_limit = read_int(data) as u8;
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                self.overflow_count = Some(read_int(data) as u32);
            }
            _ => {}
        }
    }
}

/// Octets of all control messages that a received message may have at once: packet info, segment
/// size, traffic class, hop limit, and overflow count.
const CONTROL_SIZE: usize = 192;
