//! Sending with `sendmmsg` and GSO.
//!
//! A send collects its datagrams into messages and flushes the messages when the arrays are full,
//! or when the next datagram needs other socket options. A message that the kernel refuses is
//! examined alone: [`Sender::recovery`] decides what happens to it, and the messages behind it are
//! sent by another `sendmmsg`.

use crate::net::udp::icmp::{ErrorQueue, concerns_a_datagram};
use crate::net::udp::options::UdpOptions;
use crate::net::udp::sys::cmsg::ControlMessages;
use crate::net::udp::sys::sockaddr::RawSocketAddr;
use crate::net::udp::sys::sockopt::{set, set_ip};
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;
use std::sync::OnceLock;

/// State that a socket keeps between two sends.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Largest segment that GSO is used for; 0 disables GSO.
    max_segment: u32,
    allow_fragmentation: bool,
    /// The fields that are set on the socket; `None` if each datagram carries its own.
    sticky_ip_fields: Option<IpFields>,
}

/// Fields of the IP header that a datagram may set; 0 stands for the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct IpFields {
    traffic_class: u8,
    hop_limit: u8,
}

/// What to do about a message that the kernel refused.
enum Recovery {
    /// The send buffer is full: drop this message and all later ones. Later ones would meet the
    /// same error, and a relay prefers loss to delay.
    DropRemaining,
    /// The error may belong to an earlier datagram: send the message once more.
    Retry,
    /// GSO cannot carry the message: send its datagrams one by one.
    SendUnsegmented,
    /// The message cannot be sent: continue with the next.
    Skip,
}

impl Sender {
    /// Sets the socket options that sending needs. Each is optional.
    pub(crate) fn prepare(fd: RawFd, is_ipv6: bool, options: &UdpOptions) -> Sender {
        if options.allow_fragmentation && !is_ipv6 {
            let _ = set(
                fd,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                IP_PMTUDISC_OMIT,
            );
        }
        // Setting the size to 0 changes nothing, but fails on a kernel without GSO.
        let supports_gso =
            || *SUPPORTS_GSO.get_or_init(|| set(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok());
        Sender {
            max_segment: if options.offload && supports_gso() {
                u32::MAX
            } else {
                0
            },
            allow_fragmentation: options.allow_fragmentation,
            sticky_ip_fields: options.sticky_ip_fields.then(IpFields::default),
        }
    }

    /// Sets the fields of the datagrams to be sent next on a socket with sticky fields.
    fn update_sticky_ip_fields(&mut self, fd: RawFd, is_ipv6: bool, fields: IpFields) {
        let Some(current) = self.sticky_ip_fields.as_mut().filter(|set| **set != fields) else {
            return;
        };
        if current.traffic_class != fields.traffic_class {
            let value = fields.traffic_class.into();
            let _ = set_ip(fd, is_ipv6, libc::IP_TOS, libc::IPV6_TCLASS, value);
        }
        if current.hop_limit != fields.hop_limit {
            let value = if fields.hop_limit == 0 {
                SYSTEM_DEFAULT
            } else {
                fields.hop_limit.into()
            };
            let _ = set_ip(fd, is_ipv6, libc::IP_TTL, libc::IPV6_UNICAST_HOPS, value);
        }
        *current = fields;
    }

    /// Sets DF for IPv4 datagrams, or restores what the options say. IPv4 has no control message
    /// for DF.
    fn set_ipv4_dont_fragment(&self, fd: RawFd, dont_fragment: bool) {
        let value = match (dont_fragment, self.allow_fragmentation) {
            (true, _) => libc::IP_PMTUDISC_DO,
            (false, true) => IP_PMTUDISC_OMIT,
            (false, false) => libc::IP_PMTUDISC_WANT,
        };
        let _ = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, value);
    }

    fn recovery(
        &mut self,
        error: &io::Error,
        message: &Message,
        is_retry: bool,
        errors: &mut ErrorQueue,
    ) -> Recovery {
        let code = error.raw_os_error().unwrap_or(0);
        let is_segmented = message.datagrams > 1;
        // EAGAIN: the socket's send buffer is full. ENOBUFS: the queue of the network interface is
        // full, which the kernel reports only to sockets with IP_RECVERR; on other sockets it drops
        // the packet silently.
        if code == libc::EAGAIN || code == libc::ENOBUFS {
            return Recovery::DropRemaining;
        }
        // EIO: the route's interface cannot compute the checksums of segments, so GSO will not work
        // for others either.
        if is_segmented && code == libc::EIO {
            self.max_segment = 0;
            return Recovery::SendUnsegmented;
        }
        // A segment exceeds the MTU of the path to this destination. GSO stays in use for smaller
        // segments, because other destinations have other paths.
        if is_segmented && (code == libc::EINVAL || code == libc::EMSGSIZE) {
            let smaller = (message.segment_size as u32).saturating_sub(1);
            self.max_segment = self.max_segment.min(smaller.max(ALWAYS_SEGMENTED));
            return Recovery::SendUnsegmented;
        }
        if code == libc::EMSGSIZE && message.first.dont_fragment {
            errors.record_oversized(message.first.to);
            return Recovery::Skip;
        }
        // A pending ICMP error fails the next send to any destination, and that failure clears
        // it. The second attempt can therefore fail only because of this message.
        if code == libc::EINTR || (concerns_a_datagram(error) && !is_retry) {
            errors.mark_pending();
            return Recovery::Retry;
        }
        Recovery::Skip
    }
}

/// Datagrams that one `sendmmsg` will send.
pub(crate) struct SendBatch {
    messages: Vec<Message>,
    parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// One datagram, or several that are sent as one GSO message.
struct Message {
    first: Transmit,
    destination: RawSocketAddr,
    destination_length: libc::socklen_t,
    control: ControlMessages,
    /// Index of the message's first part.
    first_part: usize,
    part_count: usize,
    /// Octets of each datagram, except that the last may be shorter.
    segment_size: usize,
    datagrams: u64,
    total_length: usize,
    /// The last datagram is not shorter than the others, so another may follow.
    is_open: bool,
}

impl Default for SendBatch {
    fn default() -> Self {
        SendBatch {
            messages: Vec::with_capacity(MAX_MESSAGES),
            parts: Vec::with_capacity(MAX_PARTS),
            headers: Vec::with_capacity(MAX_MESSAGES),
        }
    }
}

// SAFETY: the raw pointers in `parts` and `headers` are written and used within one `send`; between
// sends both are empty.
unsafe impl Send for SendBatch {}

impl SendBatch {
    /// Sends all datagrams in order.
    pub(crate) fn send<'a>(
        &mut self,
        fd: RawFd,
        sender: &mut Sender,
        errors: &mut ErrorQueue,
        transmits: impl Iterator<Item = &'a Transmit>,
        buffers: Buffers<'_>,
    ) -> SendCounts {
        let mut counts = SendCounts::default();
        for transmit in transmits {
            if !self.accepts(transmit, sender) {
                counts += self.flush(fd, sender, errors);
            }
            self.push(transmit, buffers, sender.max_segment);
        }
        counts += self.flush(fd, sender, errors);
        counts
    }

    /// Returns true if there is room for `transmit`, and if it needs the same socket options as the
    /// others.
    fn accepts(&self, transmit: &Transmit, sender: &Sender) -> bool {
        let same_options = self.messages.last().is_none_or(|last| {
            last.first.dont_fragment == transmit.dont_fragment
                && (sender.sticky_ip_fields.is_none()
                    || IpFields::of(&last.first) == IpFields::of(transmit))
        });
        same_options
            && self.messages.len() < MAX_MESSAGES
            && self.parts.len() + PARTS_PER_DATAGRAM <= MAX_PARTS
    }

    fn push(&mut self, transmit: &Transmit, buffers: Buffers<'_>, max_segment: u32) {
        let length = transmit.length();
        if let Some(last) = self.messages.last_mut()
            && last.admits(transmit, length, max_segment)
        {
            last.part_count += push_parts(&mut self.parts, transmit, buffers);
            last.datagrams += 1;
            last.total_length += length;
            last.is_open = length == last.segment_size;
            return;
        }
        let first_part = self.parts.len();
        let part_count = push_parts(&mut self.parts, transmit, buffers);
        let (destination, destination_length) = RawSocketAddr::encode(&transmit.to);
        self.messages.push(Message {
            first: *transmit,
            destination,
            destination_length,
            control: ControlMessages::empty(),
            first_part,
            part_count,
            segment_size: length,
            datagrams: 1,
            total_length: length,
            is_open: length > 0,
        });
    }

    fn flush(&mut self, fd: RawFd, sender: &mut Sender, errors: &mut ErrorQueue) -> SendCounts {
        let Some(first) = self.messages.first().map(|message| message.first) else {
            return SendCounts::default();
        };
        sender.update_sticky_ip_fields(fd, first.to.is_ipv6(), IpFields::of(&first));
        let needs_df = first.dont_fragment && first.to.is_ipv4();
        if needs_df {
            sender.set_ipv4_dont_fragment(fd, true);
        }
        let counts = self.send_simple(fd, sender, errors).unwrap_or_else(|| {
            self.link_headers(sender);
            self.send_messages(fd, sender, errors)
        });
        if needs_df {
            sender.set_ipv4_dont_fragment(fd, false);
        }
        self.messages.clear();
        self.parts.clear();
        self.headers.clear();
        counts
    }

    /// Sends a single datagram without control messages by `sendto`, which takes a tenth less time
    /// than `sendmmsg`. Returns `None` if the batch is anything else, or if the kernel refused the
    /// datagram: then the general path sends it again and finds out why.
    fn send_simple(
        &self,
        fd: RawFd,
        sender: &Sender,
        errors: &mut ErrorQueue,
    ) -> Option<SendCounts> {
        let ([message], [part]) = (self.messages.as_slice(), self.parts.as_slice()) else {
            return None;
        };
        if message.datagrams != 1 || message.first.from.is_some() || message.first.dont_fragment {
            return None;
        }
        if sender.sticky_ip_fields.is_none() && IpFields::of(&message.first) != IpFields::default()
        {
            return None;
        }
        let destination = (&raw const message.destination).cast();
        // SAFETY: the part lies in a buffer that `send` borrows, and the destination outlives the
        // call.
        let count = unsafe {
            libc::sendto(
                fd,
                part.iov_base,
                part.iov_len,
                libc::MSG_DONTWAIT,
                destination,
                message.destination_length,
            )
        };
        if count >= 0 {
            return Some(SendCounts {
                datagrams: 1,
                octets: message.total_length as u64,
                calls: 1,
                ..SendCounts::default()
            });
        }
        // If this was the error of an earlier datagram, it is cleared now, and the second attempt
        // will not see it.
        if concerns_a_datagram(&io::Error::last_os_error()) {
            errors.mark_pending();
        }
        None
    }

    /// Builds the kernel's headers. They point into `messages` and `parts`, which therefore must be
    /// complete.
    fn link_headers(&mut self, sender: &Sender) {
        let parts = self.parts.as_mut_ptr();
        for message in &mut self.messages {
            message.push_control_messages(sender);
            // SAFETY: all fields of a message header are integers and raw pointers, for which zero
            // is a value.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut message.destination).cast();
            header.msg_hdr.msg_namelen = message.destination_length;
            header.msg_hdr.msg_iov = parts.wrapping_add(message.first_part);
            header.msg_hdr.msg_iovlen = message.part_count as _;
            message.control.attach_to(&mut header.msg_hdr);
            self.headers.push(header);
        }
    }

    fn send_messages(
        &mut self,
        fd: RawFd,
        sender: &mut Sender,
        errors: &mut ErrorQueue,
    ) -> SendCounts {
        let mut counts = SendCounts::default();
        let mut next = 0;
        let mut is_retry = false;
        while let Some(rest) = self.headers.get_mut(next..).filter(|rest| !rest.is_empty()) {
            counts.calls += 1;
            // SAFETY: `link_headers` linked the headers to messages and parts that have not moved
            // since, and the parts lie in the buffers that `send` borrows.
            let count = unsafe {
                libc::sendmmsg(
                    fd,
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if count > 0 {
                for message in self.messages.iter().skip(next).take(count as usize) {
                    counts.datagrams += message.datagrams;
                    counts.octets += message.total_length as u64;
                }
                next += count as usize;
                is_retry = false;
                // `sendmmsg` discards the error that ended it early. It may have been a pending
                // ICMP error.
                if next < self.headers.len() {
                    errors.mark_pending();
                }
                continue;
            }
            let error = io::Error::last_os_error();
            let Some(message) = self.messages.get(next) else {
                break;
            };
            match sender.recovery(&error, message, is_retry, errors) {
                Recovery::DropRemaining => {
                    let remaining = self.messages.iter().skip(next);
                    counts.buffer_full += remaining.map(|message| message.datagrams).sum::<u64>();
                    break;
                }
                Recovery::Retry => {
                    is_retry = true;
                    continue;
                }
                Recovery::SendUnsegmented => {
                    counts += send_unsegmented(fd, sender, message, &self.parts);
                }
                Recovery::Skip => counts.failed += message.datagrams,
            }
            next += 1;
            is_retry = false;
        }
        counts
    }
}

impl Message {
    /// Returns true if a datagram may be appended to the message.
    fn admits(&self, transmit: &Transmit, length: usize, max_segment: u32) -> bool {
        self.is_open
            // An empty datagram would vanish: a message is cut by length.
            && length > 0
            && length <= self.segment_size
            && self.segment_size <= max_segment as usize
            && self.datagrams < MAX_SEGMENTS
            && self.total_length + length <= MAX_GSO_LENGTH
            && self.first.shares_gso_message(transmit)
    }

    fn push_control_messages(&mut self, sender: &Sender) {
        let is_sticky = sender.sticky_ip_fields.is_some();
        let is_ipv6 = self.first.to.is_ipv6();
        if self.datagrams > 1 {
            self.control.push_segment_size(self.segment_size as u16);
        }
        if let Some(from) = self.first.from.filter(|from| from.is_ipv6() == is_ipv6) {
            self.control.push_source(from);
        }
        if self.first.traffic_class != 0 && !is_sticky {
            self.control
                .push_traffic_class(is_ipv6, self.first.traffic_class);
        }
        if self.first.hop_limit != 0 && !is_sticky {
            self.control.push_hop_limit(is_ipv6, self.first.hop_limit);
        }
        if self.first.dont_fragment && is_ipv6 {
            self.control.push_ipv6_dont_fragment();
        }
    }
}

impl IpFields {
    fn of(transmit: &Transmit) -> IpFields {
        IpFields {
            traffic_class: transmit.traffic_class,
            hop_limit: transmit.hop_limit,
        }
    }
}

/// Appends the parts of a datagram that are not empty, and returns their number.
fn push_parts(parts: &mut Vec<libc::iovec>, transmit: &Transmit, buffers: Buffers<'_>) -> usize {
    let before = parts.len();
    for octets in [
        buffers.get(transmit.header),
        buffers.get(transmit.payload),
        transmit.padding(),
    ] {
        if !octets.is_empty() {
            parts.push(libc::iovec {
                iov_base: octets.as_ptr().cast_mut().cast(),
                iov_len: octets.len(),
            });
        }
    }
    parts.len() - before
}

/// Sends the datagrams of a GSO message one by one. May allocate, because it runs only after GSO
/// has failed.
fn send_unsegmented(
    fd: RawFd,
    sender: &Sender,
    message: &Message,
    parts: &[libc::iovec],
) -> SendCounts {
    let mut counts = SendCounts::default();
    let parts = parts.iter().skip(message.first_part);
    let mut datagram = Vec::with_capacity(PARTS_PER_DATAGRAM);
    let mut length = 0;
    let mut datagrams_left = message.datagrams;
    let mut octets_left = message.total_length;
    for part in parts.take(message.part_count) {
        datagram.push(*part);
        length += part.iov_len;
        if length >= message.segment_size.min(octets_left) {
            counts += send_datagram(fd, sender, message, &mut datagram);
            octets_left -= length.min(octets_left);
            datagrams_left = datagrams_left.saturating_sub(1);
            datagram.clear();
            length = 0;
        }
    }
    counts.failed += datagrams_left;
    counts
}

/// Sends one datagram of a GSO message.
fn send_datagram(
    fd: RawFd,
    sender: &Sender,
    message: &Message,
    parts: &mut [libc::iovec],
) -> SendCounts {
    let mut single = Message {
        control: ControlMessages::empty(),
        datagrams: 1,
        ..*message
    };
    single.push_control_messages(sender);
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a
    // value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut single.destination).cast();
    header.msg_namelen = single.destination_length;
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = parts.len() as _;
    single.control.attach_to(&mut header);
    let mut counts = SendCounts {
        calls: 1,
        ..SendCounts::default()
    };
    // SAFETY: destination, parts and control messages outlive the call, and the parts lie in the
    // buffers that `send` borrows.
    let count = unsafe { libc::sendmsg(fd, &header, libc::MSG_DONTWAIT) };
    if let Ok(octets) = u64::try_from(count) {
        counts.datagrams = 1;
        counts.octets = octets;
    } else if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        counts.buffer_full = 1;
    } else {
        counts.failed = 1;
    }
    counts
}

/// Depends on the kernel only, so the first socket finds out for all.
static SUPPORTS_GSO: OnceLock<bool> = OnceLock::new();
/// Header, payload, and padding.
const PARTS_PER_DATAGRAM: usize = 3;
/// Messages of one `sendmmsg`.
const MAX_MESSAGES: usize = 128;
/// Parts of one `sendmmsg`. The kernel accepts as many in a single message (`UIO_MAXIOV`).
const MAX_PARTS: usize = 1024;
/// Datagrams of one GSO message. Newer kernels accept 128.
const MAX_SEGMENTS: u64 = 64;
/// Octets of one GSO message: the largest UDP payload over IPv4.
const MAX_GSO_LENGTH: usize = 65_507;
/// Segments of up to this many octets fit the MTU of all common paths. GSO stays in use for them
/// even if the path to one destination has a smaller MTU.
const ALWAYS_SEGMENTED: u32 = 1_200;
/// The TTL or hop limit that restores the system's default.
const SYSTEM_DEFAULT: libc::c_int = -1;
/// Sends with DF clear, fragments at the interface's MTU only, and adopts no path MTU from ICMP
/// errors (`linux/in.h`; libc lacks it). Unlike with `IP_PMTUDISC_DONT`, "fragmentation needed"
/// errors for datagrams that did have DF set still reach the error queue.
const IP_PMTUDISC_OMIT: libc::c_int = 5;
