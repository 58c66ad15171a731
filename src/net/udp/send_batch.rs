//! Linux: `sendmmsg` with GSO.

use crate::net::udp::cmsg::Ancillary;
use crate::net::udp::icmp::concerns_a_datagram;
use crate::net::udp::linux::{IP_PMTUDISC_OMIT, Marks, State, set};
use crate::net::udp::sockaddr::Name;
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
use std::io;
use std::mem::zeroed;
use std::os::fd::RawFd;

/// Messages on their way into one `sendmmsg`.
pub(crate) struct Queue {
    messages: Vec<Message>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// One datagram, or several that leave as one GSO message.
struct Message {
    first: Transmit,
    name: Name,
    name_length: libc::socklen_t,
    control: Ancillary,
    /// Index of its first piece.
    pieces_from: usize,
    pieces: usize,
    /// Octets of each datagram but the last.
    segment: usize,
    datagrams: u64,
    total: usize,
    /// Another datagram may join.
    open: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            messages: Vec::with_capacity(MESSAGES),
            pieces: Vec::with_capacity(PIECES),
            headers: Vec::with_capacity(MESSAGES),
        }
    }
}

// SAFETY: the raw pointers in pieces and headers are written and used within one `send` and mean nothing outside it.
unsafe impl Send for Queue {}

impl Queue {
    /// Sends all, in order.
    pub(crate) fn send<'a>(
        &mut self,
        fd: RawFd,
        state: &mut State,
        outgoing: impl Iterator<Item = &'a Transmit>,
        octets: Buffers<'_>,
    ) -> SendCounts {
        let mut sent = SendCounts::default();
        for item in outgoing {
            if !self.fits(item, state) {
                sent += self.flush(fd, state);
            }
            self.push(item, octets, state.gso);
        }
        sent += self.flush(fd, state);
        sent
    }

    /// Whether there is room, and what is set per socket (DF on IPv4, the marks of a steady one) is right for this datagram.
    fn fits(&self, item: &Transmit, state: &State) -> bool {
        let same = self.messages.last().is_none_or(|last| {
            last.first.dont_fragment == item.dont_fragment
                && (state.marks.is_none() || marks(&last.first) == marks(item))
        });
        same && self.messages.len() < MESSAGES && self.pieces.len() + 3 <= PIECES
    }

    fn push(&mut self, item: &Transmit, octets: Buffers<'_>, gso: u32) {
        let length = item.length();
        if let Some(last) = self.messages.last_mut()
            && last.admits(item, length, gso)
        {
            last.pieces += pieces(&mut self.pieces, item, octets);
            last.datagrams += 1;
            last.total += length;
            last.open = length == last.segment;
            return;
        }
        let pieces_from = self.pieces.len();
        let count = pieces(&mut self.pieces, item, octets);
        let (name, name_length) = Name::encode(&item.to);
        self.messages.push(Message {
            first: *item,
            name,
            name_length,
            control: Ancillary::empty(),
            pieces_from,
            pieces: count,
            segment: length,
            datagrams: 1,
            total: length,
            open: length > 0,
        });
    }

    fn flush(&mut self, fd: RawFd, state: &mut State) -> SendCounts {
        if let Some(first) = self.messages.first().filter(|_| state.marks.is_some()) {
            state.mark(fd, first.first.to.is_ipv6(), marks(&first.first));
        }
        let unfragmented = self
            .messages
            .first()
            .is_some_and(|m| m.first.dont_fragment && m.first.to.is_ipv4());
        if unfragmented {
            let _ = set(
                fd,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_DO,
            );
        }
        let sent = self.alone(fd, state).unwrap_or_else(|| {
            self.link(state.marks.is_some());
            self.transmit(fd, state)
        });
        if unfragmented {
            let usual = if state.fragmentable {
                IP_PMTUDISC_OMIT
            } else {
                libc::IP_PMTUDISC_WANT
            };
            let _ = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, usual);
        }
        self.messages.clear();
        self.pieces.clear();
        self.headers.clear();
        sent
    }

    /// Sends a datagram that has nothing about it and nothing beside it by the simplest call, which takes a tenth less
    /// than `sendmmsg`. `None` for all others, and when it was refused: then the other way finds out why.
    fn alone(&mut self, fd: RawFd, state: &mut State) -> Option<SendCounts> {
        let ([message], [piece]) = (self.messages.as_slice(), self.pieces.as_slice()) else {
            return None;
        };
        if message.datagrams != 1 || message.first.from.is_some() || message.first.dont_fragment {
            return None;
        }
        if state.marks.is_none() && marks(&message.first) != Marks::default() {
            return None;
        }
        let name = (&raw const message.name).cast();
        // SAFETY: the piece lies in a store that `send` borrows, and the name outlives the call.
        let count = unsafe {
            libc::sendto(
                fd,
                piece.iov_base,
                piece.iov_len,
                libc::MSG_DONTWAIT,
                name,
                message.name_length,
            )
        };
        if count >= 0 {
            return Some(SendCounts {
                datagrams: 1,
                octets: message.total as u64,
                calls: 1,
                ..SendCounts::default()
            });
        }
        // The refusal may have been an earlier datagram's, and taken the error with it.
        state.errors |= state.icmp_errors && concerns_a_datagram(&io::Error::last_os_error());
        None
    }

    /// Builds the kernel's headers, now that nothing moves any more.
    fn link(&mut self, marked: bool) {
        let pieces = self.pieces.as_mut_ptr();
        for message in &mut self.messages {
            message.annotate(marked);
            // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a value.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut message.name).cast();
            header.msg_hdr.msg_namelen = message.name_length;
            header.msg_hdr.msg_iov = pieces.wrapping_add(message.pieces_from);
            header.msg_hdr.msg_iovlen = message.pieces as _;
            if message.control.length > 0 {
                header.msg_hdr.msg_control = message.control.octets.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = message.control.length as _;
            }
            self.headers.push(header);
        }
    }

    fn transmit(&mut self, fd: RawFd, state: &mut State) -> SendCounts {
        let mut sent = SendCounts::default();
        let mut at = 0;
        let mut again = false;
        while let Some(rest) = self.headers.get_mut(at..).filter(|rest| !rest.is_empty()) {
            sent.calls += 1;
            // SAFETY: the headers were linked by `link` to messages and pieces that did not move since, and the pieces lie in
            // the stores that `send` borrows.
            let count = unsafe {
                libc::sendmmsg(
                    fd,
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                )
            };
            if count > 0 {
                for message in self.messages.iter().skip(at).take(count as usize) {
                    sent.datagrams += message.datagrams;
                    sent.octets += message.total as u64;
                }
                at += count as usize;
                again = false;
                // The kernel stopped short: what stopped it may have been a pending ICMP error, which is cleared now.
                state.errors |= state.icmp_errors && at < self.headers.len();
                continue;
            }
            let error = io::Error::last_os_error();
            let Some(message) = self.messages.get(at) else {
                break;
            };
            match state.verdict(&error, message, again) {
                Verdict::Full => {
                    sent.buffer_full += self
                        .messages
                        .iter()
                        .skip(at)
                        .map(|message| message.datagrams)
                        .sum::<u64>();
                    break;
                }
                Verdict::Again => again = true,
                Verdict::Apart => {
                    sent += apart(fd, message, &self.pieces, state.marks.is_some());
                    at += 1;
                    again = false;
                }
                Verdict::Lost => {
                    sent.failed += message.datagrams;
                    at += 1;
                    again = false;
                }
            }
        }
        sent
    }
}

impl Message {
    fn admits(&self, item: &Transmit, length: usize, gso: u32) -> bool {
        self.open
            && length > 0
            && length <= self.segment
            && self.segment <= gso as usize
            && self.datagrams < SEGMENTS
            && self.total + length <= GSO_OCTETS
            && self.first.shares_gso_message(item)
    }

    /// Writes what goes with it beside its octets; `marked`: the socket bears its marks.
    fn annotate(&mut self, marked: bool) {
        let v6 = self.first.to.is_ipv6();
        if self.datagrams > 1 {
            self.control.segment(self.segment as u16);
        }
        if let Some(from) = self.first.from.filter(|from| from.is_ipv6() == v6) {
            self.control.source(from);
        }
        if self.first.traffic_class != 0 && !marked {
            self.control.traffic_class(v6, self.first.traffic_class);
        }
        if self.first.hop_limit != 0 && !marked {
            self.control.hop_limit(v6, self.first.hop_limit);
        }
        if self.first.dont_fragment && v6 {
            self.control.dont_fragment_v6();
        }
    }
}

/// What a refused message means.
enum Verdict {
    /// The send buffer is full: what is left of the batch is dropped.
    Full,
    /// The error was that of an earlier datagram: the same once more.
    Again,
    /// GSO cannot carry it: its datagrams one by one.
    Apart,
    /// This one cannot be sent.
    Lost,
}

impl State {
    fn verdict(&mut self, error: &io::Error, message: &Message, again: bool) -> Verdict {
        let code = error.raw_os_error().unwrap_or(0);
        let train = message.datagrams > 1;
        if code == libc::EAGAIN || code == libc::ENOBUFS {
            return Verdict::Full;
        }
        if train && code == libc::EIO {
            self.gso = 0;
            return Verdict::Apart;
        }
        if train && (code == libc::EINVAL || code == libc::EMSGSIZE) {
            // A segment that exceeds some path's MTU: only large ones are given up for the other destinations.
            self.gso = self
                .gso
                .min((message.segment as u32).saturating_sub(1).max(GSO_SURE));
            return Verdict::Apart;
        }
        if code == libc::EMSGSIZE && message.first.dont_fragment {
            self.too_large = Some(Box::new(message.first.to));
            self.errors = self.icmp_errors;
            return Verdict::Lost;
        }
        if code == libc::EINTR || (concerns_a_datagram(error) && !again) {
            self.errors |= self.icmp_errors;
            return Verdict::Again;
        }
        Verdict::Lost
    }
}

/// What the network shall read on it.
fn marks(item: &Transmit) -> Marks {
    Marks {
        traffic_class: item.traffic_class,
        hop_limit: item.hop_limit,
    }
}

/// Appends the pieces of one datagram that are not empty.
fn pieces(into: &mut Vec<libc::iovec>, item: &Transmit, octets: Buffers<'_>) -> usize {
    let before = into.len();
    for octets in [
        octets.get(item.header),
        octets.get(item.payload),
        item.zeros(),
    ] {
        if !octets.is_empty() {
            into.push(libc::iovec {
                iov_base: octets.as_ptr().cast_mut().cast(),
                iov_len: octets.len(),
            });
        }
    }
    into.len() - before
}

/// Sends the datagrams of a GSO message one by one.
fn apart(fd: RawFd, message: &Message, pieces: &[libc::iovec], marked: bool) -> SendCounts {
    let mut sent = SendCounts::default();
    let pieces = pieces.iter().skip(message.pieces_from).take(message.pieces);
    let mut one = Vec::with_capacity(2);
    let mut length = 0;
    let mut left = message.datagrams;
    let mut rest = message.total;
    for piece in pieces {
        one.push(*piece);
        length += piece.iov_len;
        if length >= message.segment.min(rest) {
            sent += single(fd, message, &mut one, (length, marked));
            rest -= length.min(rest);
            left = left.saturating_sub(1);
            one.clear();
            length = 0;
        }
    }
    sent.failed += left;
    sent
}

fn single(
    fd: RawFd,
    message: &Message,
    pieces: &mut [libc::iovec],
    (length, marked): (usize, bool),
) -> SendCounts {
    let mut name = message.name;
    let mut alone = Message {
        name,
        control: Ancillary::empty(),
        datagrams: 1,
        ..*message
    };
    alone.annotate(marked);
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = message.name_length;
    header.msg_iov = pieces.as_mut_ptr();
    header.msg_iovlen = pieces.len() as _;
    if alone.control.length > 0 {
        header.msg_control = alone.control.octets.as_mut_ptr().cast();
        header.msg_controllen = alone.control.length as _;
    }
    let mut sent = SendCounts {
        calls: 1,
        ..SendCounts::default()
    };
    // SAFETY: name, pieces and control outlive the call, and the pieces lie in the stores that `send` borrows.
    let count = unsafe { libc::sendmsg(fd, &header, libc::MSG_DONTWAIT) };
    if count >= 0 {
        sent.datagrams = 1;
        sent.octets = length as u64;
    } else if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        sent.buffer_full = 1;
    } else {
        sent.failed = 1;
    }
    sent
}

/// Messages of one `sendmmsg`.
const MESSAGES: usize = 128;
/// Pieces of one `sendmmsg`; the kernel's own limit is 1024 per message.
const PIECES: usize = 1024;
/// Datagrams of one GSO message that every kernel takes.
const SEGMENTS: u64 = 64;
/// Octets of one GSO message.
const GSO_OCTETS: usize = 65_507;
/// Segments that fit into every path worth the name: GSO is never given up for these because of one destination.
const GSO_SURE: u32 = 1_200;
