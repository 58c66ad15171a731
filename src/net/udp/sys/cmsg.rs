//! Control messages (`cmsg`): the data that accompanies a datagram, in both directions.

use crate::net::udp::sys::sockaddr::encode_ipv4;
use std::mem::size_of;
use std::net::IpAddr;

/// Buffer for control messages, aligned for their headers.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct ControlBuffer<const N: usize> {
    octets: [u8; N],
}

impl<const N: usize> ControlBuffer<N> {
    pub(crate) fn empty() -> Self {
        ControlBuffer { octets: [0; N] }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.octets.as_mut_ptr()
    }
}

/// The control messages of one message to send.
pub(crate) struct ControlMessages {
    buffer: ControlBuffer<CAPACITY>,
    length: usize,
}

impl ControlMessages {
    pub(crate) fn empty() -> ControlMessages {
        ControlMessages {
            buffer: ControlBuffer::empty(),
            length: 0,
        }
    }

    /// Refers to the control messages in `header`, which must not outlive `self`.
    pub(crate) fn attach_to(&mut self, header: &mut libc::msghdr) {
        if self.length > 0 {
            header.msg_control = self.buffer.as_mut_ptr().cast();
            header.msg_controllen = self.length as _;
        }
    }

    /// GSO: the kernel cuts the message into datagrams of `size` octets.
    pub(crate) fn push_segment_size(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }

    /// Sends from this address. An interface index of 0 leaves the interface to the routing table.
    pub(crate) fn push_source(&mut self, from: IpAddr) {
        match from {
            IpAddr::V4(v4) => self.push(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                libc::in_pktinfo {
                    ipi_ifindex: 0,
                    // In a message to send, `ipi_spec_dst` is the source; `ipi_addr` is ignored.
                    ipi_spec_dst: encode_ipv4(v4),
                    ipi_addr: libc::in_addr { s_addr: 0 },
                },
            ),
            IpAddr::V6(v6) => self.push(
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: v6.octets(),
                    },
                    ipi6_ifindex: 0,
                },
            ),
        }
    }

    pub(crate) fn push_traffic_class(&mut self, is_ipv6: bool, value: u8) {
        let (level, kind) = if is_ipv6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, kind, libc::c_int::from(value));
    }

    pub(crate) fn push_hop_limit(&mut self, is_ipv6: bool, value: u8) {
        let (level, kind) = if is_ipv6 {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL)
        };
        self.push(level, kind, libc::c_int::from(value));
    }

    /// IPv4 has no such control message; there the socket option `IP_MTU_DISCOVER` sets DF.
    pub(crate) fn push_ipv6_dont_fragment(&mut self) {
        self.push(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1 as libc::c_int);
    }

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: both macros only compute.
        let (length, space) = unsafe {
            (
                libc::CMSG_LEN(size_of::<T>() as u32),
                libc::CMSG_SPACE(size_of::<T>() as u32) as usize,
            )
        };
        if self.length + space > CAPACITY {
            return;
        }
        // SAFETY: `space` octets are free behind `length` (checked), and the header is aligned
        // because the buffer is and every length so far is a sum of CMSG_SPACE, which preserves the
        // alignment.
        unsafe {
            let header = self.buffer.as_mut_ptr().add(self.length);
            let header = header.cast::<libc::cmsghdr>();
            (*header).cmsg_len = length as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.length += space;
    }
}

/// Calls `visit` with level, type and data of each control message that the kernel wrote.
///
/// # Safety
/// `msg_control` and `msg_controllen` must describe initialized memory, as they do after a
/// successful receive.
// SAFETY: the caller keeps the promise above.
pub(crate) unsafe fn for_each(
    header: &libc::msghdr,
    mut visit: impl FnMut(libc::c_int, libc::c_int, &[u8]),
) {
    // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR stay inside the memory that the caller vouches for.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(header);
        while !next.is_null() {
            let data = libc::CMSG_DATA(next);
            let length = ((*next).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            visit(
                (*next).cmsg_level,
                (*next).cmsg_type,
                std::slice::from_raw_parts(data, length),
            );
            next = libc::CMSG_NXTHDR(header, next);
        }
    }
}

/// Reads a structure of the kernel from the start of `data`; `None` if `data` is too short.
pub(crate) fn read_struct<T: Copy + AnyBitPattern>(data: &[u8]) -> Option<T> {
    // SAFETY: the length is checked, the read needs no alignment, and any octets are a valid `T`.
    (data.len() >= size_of::<T>()).then(|| unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// Reads a number that the kernel passes as an `int` or, in the case of IP_TOS, as a single octet.
pub(crate) fn read_int(data: &[u8]) -> libc::c_int {
    let octet = || data.first().copied().map_or(0, libc::c_int::from);
    read_struct::<libc::c_int>(data).unwrap_or_else(octet)
}

/// Types for which any octets are a valid value.
///
/// # Safety
/// The type must consist of integers only.
// SAFETY: the implementer keeps the promise above.
pub(crate) unsafe trait AnyBitPattern {}
// SAFETY: it consists of integers only.
unsafe impl AnyBitPattern for libc::in_pktinfo {}
// SAFETY: it consists of integers only.
unsafe impl AnyBitPattern for libc::in6_pktinfo {}
// SAFETY: it consists of integers only.
unsafe impl AnyBitPattern for libc::sock_extended_err {}
// SAFETY: it is an integer.
unsafe impl AnyBitPattern for libc::c_int {}

/// Octets of all control messages that a message to send may have at once: packet info, segment
/// size, traffic class, hop limit, and "don't fragment".
const CAPACITY: usize = 144;
