//! Message headers for `recvmmsg` and the ancillary data that comes and goes with a datagram.

use crate::net::udp::sockaddr::{Name, v4_from_kernel, v4_to_kernel};
use crate::net::udp::stable_array::StableArray;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv6Addr};

/// The headers of a batch's slots, linked once to the slots' storage and reused for every call.
pub(crate) struct Headers {
    messages: StableArray<libc::mmsghdr>,
    // Only the kernel and `messages` point into it.
    _envelopes: StableArray<Envelope>,
}

struct Envelope {
    piece: libc::iovec,
    name: Name,
    control: Control<RECEIVED>,
}

impl Headers {
    /// Headers for `slots` slots, each of which lies where `storage` says.
    pub(crate) fn new(
        slots: usize,
        storage: impl Fn(usize) -> Option<(*mut u8, usize)>,
    ) -> Headers {
        let envelopes = StableArray::new((0..slots).map(|_| Envelope::empty()).collect());
        let messages = (0..slots)
            .map(|slot| link(&envelopes, slot, storage(slot)))
            .collect();
        Headers {
            messages: StableArray::new(messages),
            _envelopes: envelopes,
        }
    }

    /// Makes the first `used` headers ready for the kernel again.
    pub(crate) fn reset(&mut self, used: usize) {
        for message in self.messages.as_mut_slice().iter_mut().take(used) {
            message.msg_hdr.msg_namelen = Name::SIZE;
            message.msg_hdr.msg_controllen = size_of::<Control<RECEIVED>>() as _;
            message.msg_hdr.msg_flags = 0;
        }
    }

    /// The header of slot `index` and those behind it.
    pub(crate) fn from(&self, index: usize) -> Option<*mut libc::mmsghdr> {
        self.messages.pointer(index)
    }

    /// What the kernel wrote about slot `index`.
    pub(crate) fn read(&self, index: usize) -> Option<Arrived> {
        let message = self.messages.as_slice().get(index)?;
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return None;
        }
        // SAFETY: `msg_name` points to the `Name` of this slot's envelope, which lives as long as `self`.
        let name = unsafe { *message.msg_hdr.msg_name.cast::<Name>() };
        let mut arrived = Arrived {
            length: message.msg_len as usize,
            name,
            ..Arrived::empty()
        };
        if message.msg_hdr.msg_controllen > 0 {
            // SAFETY: the kernel filled this header, so its control length covers what it wrote into our buffer.
            unsafe {
                each(&message.msg_hdr, |level, kind, data| {
                    arrived.note(level, kind, data)
                })
            };
        }
        Some(arrived)
    }
}

fn link(
    envelopes: &StableArray<Envelope>,
    slot: usize,
    storage: Option<(*mut u8, usize)>,
) -> libc::mmsghdr {
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a value.
    let mut message: libc::mmsghdr = unsafe { zeroed() };
    let (Some(envelope), Some((start, length))) = (envelopes.pointer(slot), storage) else {
        return message;
    };
    // SAFETY: `envelope` lies inside `envelopes`, which does not move; nothing else refers to it now.
    unsafe {
        (*envelope).piece = libc::iovec {
            iov_base: start.cast(),
            iov_len: length,
        };
        message.msg_hdr.msg_iov = &raw mut (*envelope).piece;
        message.msg_hdr.msg_name = (&raw mut (*envelope).name).cast();
        message.msg_hdr.msg_control = (&raw mut (*envelope).control).cast();
    }
    message.msg_hdr.msg_iovlen = 1;
    message.msg_hdr.msg_namelen = Name::SIZE;
    message.msg_hdr.msg_controllen = size_of::<Control<RECEIVED>>() as _;
    message
}

impl Envelope {
    fn empty() -> Envelope {
        Envelope {
            piece: libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
            name: Name::empty(),
            control: Control::empty(),
        }
    }
}

/// What the kernel tells of one received message.
pub(crate) struct Arrived {
    pub(crate) length: usize,
    pub(crate) name: Name,
    pub(crate) local: Option<IpAddr>,
    /// Octets per datagram of a coalesced train, or 0.
    pub(crate) segment: usize,
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
    /// Datagrams that the socket dropped since it exists, where the kernel said.
    pub(crate) overflow: Option<u32>,
}

impl Arrived {
    fn empty() -> Arrived {
        Arrived {
            length: 0,
            name: Name::empty(),
            local: None,
            segment: 0,
            traffic_class: 0,
            hop_limit: 0,
            overflow: None,
        }
    }

    fn note(&mut self, level: libc::c_int, kind: libc::c_int, data: &[u8]) {
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                if let Some(info) = read::<libc::in_pktinfo>(data) {
                    self.local = Some(IpAddr::V4(v4_from_kernel(info.ipi_spec_dst)));
                }
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                if let Some(info) = read::<libc::in6_pktinfo>(data) {
                    self.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
                }
            }
            (libc::SOL_UDP, libc::UDP_GRO) => self.segment = integer(data).max(0) as usize,
            (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                self.traffic_class = integer(data) as u8;
            }
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                self.hop_limit = integer(data) as u8;
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => self.overflow = Some(integer(data) as u32),
            _ => {}
        }
    }
}

/// Aligned octets for ancillary data.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Control<const N: usize> {
    octets: [u8; N],
}

impl<const N: usize> Control<N> {
    pub(crate) fn empty() -> Self {
        Control { octets: [0; N] }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.octets.as_mut_ptr()
    }
}

/// The ancillary data of one message to send.
pub(crate) struct Ancillary {
    pub(crate) octets: Control<SENT>,
    pub(crate) length: usize,
}

impl Ancillary {
    pub(crate) fn empty() -> Ancillary {
        Ancillary {
            octets: Control::empty(),
            length: 0,
        }
    }

    /// UDP GSO: cut what is sent into datagrams of `size` octets.
    pub(crate) fn segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }

    /// Packet info: leave from this address.
    pub(crate) fn source(&mut self, from: IpAddr) {
        match from {
            IpAddr::V4(v4) => self.push(
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: v4_to_kernel(v4),
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

    /// DSCP and ECN.
    pub(crate) fn traffic_class(&mut self, v6: bool, value: u8) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, kind, libc::c_int::from(value));
    }

    /// TTL or hop limit.
    pub(crate) fn hop_limit(&mut self, v6: bool, value: u8) {
        let (level, kind) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT)
        } else {
            (libc::IPPROTO_IP, libc::IP_TTL)
        };
        self.push(level, kind, libc::c_int::from(value));
    }

    /// IPv6: do not fragment here.
    pub(crate) fn dont_fragment_v6(&mut self) {
        self.push(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1 as libc::c_int);
    }

    fn push<T: Copy>(&mut self, level: libc::c_int, kind: libc::c_int, value: T) {
        // SAFETY: these two only compute.
        let (length, space) = unsafe {
            (
                libc::CMSG_LEN(size_of::<T>() as u32),
                libc::CMSG_SPACE(size_of::<T>() as u32) as usize,
            )
        };
        if self.length + space > SENT {
            return;
        }
        // SAFETY: `length + space` octets fit (checked), the buffer is aligned for a header, and lengths so far are sums of
        // CMSG_SPACE, which keeps that alignment.
        unsafe {
            let header = self
                .octets
                .as_mut_ptr()
                .add(self.length)
                .cast::<libc::cmsghdr>();
            (*header).cmsg_len = length as _;
            (*header).cmsg_level = level;
            (*header).cmsg_type = kind;
            libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
        }
        self.length += space;
    }
}

/// Calls `see` with level, type and data of each control message of a header that the kernel filled.
///
/// # Safety
/// `msg_control` and `msg_controllen` of the header describe initialised memory, as after a successful receive.
// SAFETY: the promise is the caller's, as said above.
pub(crate) unsafe fn each(
    header: &libc::msghdr,
    mut see: impl FnMut(libc::c_int, libc::c_int, &[u8]),
) {
    // SAFETY: the caller's promise; CMSG_FIRSTHDR and CMSG_NXTHDR stay inside the described memory.
    unsafe {
        let mut at = libc::CMSG_FIRSTHDR(header);
        while !at.is_null() {
            let data = libc::CMSG_DATA(at);
            let length = ((*at).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            see(
                (*at).cmsg_level,
                (*at).cmsg_type,
                std::slice::from_raw_parts(data, length),
            );
            at = libc::CMSG_NXTHDR(header, at);
        }
    }
}

/// The first octets of `data` as a plain structure of the kernel.
pub(crate) fn read<T: Copy + Plain>(data: &[u8]) -> Option<T> {
    // SAFETY: the length is checked, the read needs no alignment, and `Plain` types have a value for all octets.
    (data.len() >= size_of::<T>()).then(|| unsafe { data.as_ptr().cast::<T>().read_unaligned() })
}

/// Structures of integers only, which any octets are a value of.
///
/// # Safety
/// Implement it for such structures only.
// SAFETY: the promise is the implementer's, as said above.
pub(crate) unsafe trait Plain {}
// SAFETY: integers only.
unsafe impl Plain for libc::in_pktinfo {}
// SAFETY: integers only.
unsafe impl Plain for libc::in6_pktinfo {}
// SAFETY: integers only.
unsafe impl Plain for libc::sock_extended_err {}
// SAFETY: integers only.
unsafe impl Plain for libc::c_int {}
// SAFETY: a union of structures of integers only.
unsafe impl Plain for Name {}

/// The kernel tells small numbers as an `int` or as a single octet.
fn integer(data: &[u8]) -> libc::c_int {
    read::<libc::c_int>(data).unwrap_or_else(|| data.first().copied().map_or(0, libc::c_int::from))
}

/// Octets for everything that a received message may carry: packet info, GRO, traffic class, hop limit, overflow.
const RECEIVED: usize = 192;
/// Octets for everything that a message to send may carry: packet info, GSO, traffic class, hop limit, don't fragment.
pub(crate) const SENT: usize = 144;
