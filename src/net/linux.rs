//! Linux: `recvmmsg` with GRO, `sendmmsg` with GSO, the error queue.

use super::address::{Name, v4_from_kernel};
use super::buffer::{Arrival, Batch, Received};
use super::control::{Ancillary, Control, each, read};
use super::icmp::{IcmpError, Origin, concerns_a_datagram};
use super::options::Options;
use super::outgoing::{Octets, Outgoing, Sent};
use socket2::Socket;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

/// What a batched socket remembers.
#[derive(Debug)]
pub(super) struct State {
    /// Largest segment that GSO is used for; 0: not at all.
    gso: u32,
    /// The kernel's drop counter when it was last told.
    overflowed: u32,
    /// A call reported an ICMP error whose entry was not read yet.
    errors: bool,
    icmp_errors: bool,
    fragmentable: bool,
    /// The last destination that a datagram which must not be fragmented was too large for.
    too_large: Option<SocketAddr>,
}

impl State {
    /// Sets what a batched socket needs. All of it is optional: what this kernel lacks is done without.
    pub(super) fn prepare(socket: &Socket, address: &SocketAddr, options: &Options) -> State {
        let fd = socket.as_raw_fd();
        let v6 = address.is_ipv6();
        let _ = set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        if address.ip().is_unspecified() {
            let _ = either(fd, v6, libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO, 1);
        }
        if options.traffic_class {
            let _ = either(fd, v6, libc::IP_RECVTOS, libc::IPV6_RECVTCLASS, 1);
        }
        if options.hop_limit {
            let _ = either(fd, v6, libc::IP_RECVTTL, libc::IPV6_RECVHOPLIMIT, 1);
        }
        if options.icmp_errors {
            let _ = either(fd, v6, libc::IP_RECVERR, libc::IPV6_RECVERR, 1);
            // Without it a pending error wakes nobody who waits for readability.
            let _ = set(fd, libc::SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1);
        }
        if options.fragmentable && !v6 {
            let _ = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, IP_PMTUDISC_OMIT);
        }
        let gso = options.offload && set(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        if options.offload {
            let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        State {
            gso: if gso { u32::MAX } else { 0 },
            overflowed: 0,
            errors: false,
            icmp_errors: options.icmp_errors,
            fragmentable: options.fragmentable,
            too_large: None,
        }
    }

    /// One `recvmmsg` into the free slots (more only where pending errors come first).
    pub(super) fn receive(&mut self, fd: RawFd, batch: &mut Batch) -> io::Result<Received> {
        let first = batch.datagrams().len();
        let free = batch.free();
        let mut received =
            Received { datagrams: first..first, drained: false, errors: self.errors, overflowed: 0, calls: 0 };
        let Some(headers) = batch.headers.from(batch.used()) else {
            return Ok(received);
        };
        while received.calls < ATTEMPTS {
            received.calls += 1;
            // SAFETY: `headers` points to `free` linked headers, whose storage nothing else refers to during the call.
            let count = unsafe {
                libc::recvmmsg(fd, headers, free as libc::c_uint, libc::MSG_DONTWAIT as _, std::ptr::null_mut())
            };
            if let Ok(count) = usize::try_from(count) {
                for _ in 0..count {
                    self.take(batch, &mut received);
                }
                received.datagrams.end = batch.datagrams().len();
                received.drained = count < free;
                return Ok(received);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    received.drained = true;
                    // Woken for nothing: there may be an entry in the error queue whose error a send took.
                    received.errors |= self.icmp_errors;
                    return Ok(received);
                }
                io::ErrorKind::Interrupted => {}
                _ if concerns_a_datagram(&error) => {
                    self.errors = self.icmp_errors;
                    received.errors = self.icmp_errors;
                }
                _ => return Err(error),
            }
        }
        Ok(received)
    }

    fn take(&mut self, batch: &mut Batch, received: &mut Received) {
        let arrived = batch.headers.read(batch.used());
        let Some((arrived, source)) = arrived.and_then(|a| a.name.decode().map(|source| (a, source))) else {
            batch.occupy();
            return;
        };
        if let Some(overflowed) = arrived.overflow {
            received.overflowed += overflowed.wrapping_sub(self.overflowed);
            self.overflowed = overflowed;
        }
        let arrival = Arrival {
            source,
            local: arrived.local,
            traffic_class: arrived.traffic_class,
            hop_limit: arrived.hop_limit,
        };
        batch.take(arrived.length, arrived.segment, arrival);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors
    }

    /// Empties the error queue into `into`.
    pub(super) fn errors(&mut self, fd: RawFd, into: &mut Vec<IcmpError>) {
        self.errors = false;
        for _ in 0..ERRORS {
            match next_error(fd) {
                Ok(Some(error)) => {
                    let error = self.complete(error);
                    // A send tries twice what cannot leave, and the kernel notes both.
                    if error.origin != Origin::Local || into.last() != Some(&error) {
                        into.push(error);
                    }
                }
                Ok(None) => {}
                Err(_) => return,
            }
        }
        self.errors = true;
    }

    /// The kernel names only the address of a datagram that was too large to leave; the port is known here.
    fn complete(&self, mut error: IcmpError) -> IcmpError {
        if let Some(too_large) = self.too_large
            && error.origin == Origin::Local
            && error.destination.ip() == too_large.ip()
        {
            error.destination = too_large;
        }
        error
    }
}

/// One entry of the error queue; `None` for an entry that is no ICMP error.
fn next_error(fd: RawFd) -> io::Result<Option<IcmpError>> {
    let mut name = Name::empty();
    let mut control = Control::<512>::empty();
    // SAFETY: all fields of a message header are integers and raw pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = Name::SIZE;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<Control<512>>() as _;
    // SAFETY: name and control buffers are ours, of the lengths told, and outlive the call; there is no payload buffer.
    let count = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = None;
    // SAFETY: the call succeeded, so the header describes what the kernel wrote into our buffer.
    unsafe {
        each(&header, |level, kind, data| {
            let ours = matches!(
                (level, kind),
                (libc::IPPROTO_IP, libc::IP_RECVERR) | (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
            );
            if ours && let Some(entry) = read::<libc::sock_extended_err>(data) {
                let reporter = data.get(size_of::<libc::sock_extended_err>()..).and_then(reporter);
                found = Some((entry, reporter));
            }
        });
    }
    Ok(found.zip(name.decode()).and_then(|((entry, reporter), to)| interpret(&entry, reporter, to)))
}

fn interpret(entry: &libc::sock_extended_err, reporter: Option<IpAddr>, destination: SocketAddr) -> Option<IcmpError> {
    let too_large = entry.ee_errno == libc::EMSGSIZE as u32;
    let mtu = if too_large { entry.ee_info } else { 0 };
    let (origin, kind, code) = match entry.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => (Origin::V4, entry.ee_type, entry.ee_code),
        libc::SO_EE_ORIGIN_ICMP6 => (Origin::V6, entry.ee_type, entry.ee_code),
        libc::SO_EE_ORIGIN_LOCAL if too_large && destination.is_ipv4() => (Origin::Local, 3, 4),
        libc::SO_EE_ORIGIN_LOCAL if too_large => (Origin::Local, 2, 0),
        _ => return None,
    };
    Some(IcmpError { destination, origin, kind, code, mtu, reporter })
}

/// The node that sent the error. Its address may come without the padding of a full name.
fn reporter(data: &[u8]) -> Option<IpAddr> {
    let family = data.first_chunk::<2>().map(|octets| libc::c_int::from(u16::from_ne_bytes(*octets)))?;
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(v4_from_kernel(libc::in_addr { s_addr: u32::from_ne_bytes(octets) })))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = data.get(8..24)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// Messages on their way into one `sendmmsg`.
pub(super) struct Queue {
    messages: Vec<Message>,
    pieces: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

/// One datagram, or several that leave as one GSO message.
struct Message {
    first: Outgoing,
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
    pub(super) fn send<'a>(
        &mut self,
        fd: RawFd,
        state: &mut State,
        outgoing: impl Iterator<Item = &'a Outgoing>,
        octets: Octets<'_>,
    ) -> Sent {
        let mut sent = Sent::default();
        for item in outgoing {
            if !self.fits(item) {
                sent += self.flush(fd, state);
            }
            self.push(item, octets, state.gso);
        }
        sent += self.flush(fd, state);
        sent
    }

    /// Whether there is room, and the socket's DF setting (IPv4 has it per socket only) is the one for this datagram.
    fn fits(&self, item: &Outgoing) -> bool {
        let same = self.messages.last().is_none_or(|last| last.first.dont_fragment == item.dont_fragment);
        same && self.messages.len() < MESSAGES && self.pieces.len() + 3 <= PIECES
    }

    fn push(&mut self, item: &Outgoing, octets: Octets<'_>, gso: u32) {
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

    fn flush(&mut self, fd: RawFd, state: &mut State) -> Sent {
        let unfragmented = self.messages.first().is_some_and(|m| m.first.dont_fragment && m.first.to.is_ipv4());
        if unfragmented {
            let _ = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO);
        }
        self.link();
        let sent = self.transmit(fd, state);
        if unfragmented {
            let usual = if state.fragmentable { IP_PMTUDISC_OMIT } else { libc::IP_PMTUDISC_WANT };
            let _ = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, usual);
        }
        self.messages.clear();
        self.pieces.clear();
        self.headers.clear();
        sent
    }

    /// Builds the kernel's headers, now that nothing moves any more.
    fn link(&mut self) {
        let pieces = self.pieces.as_mut_ptr();
        for message in &mut self.messages {
            message.annotate();
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

    fn transmit(&mut self, fd: RawFd, state: &mut State) -> Sent {
        let mut sent = Sent::default();
        let mut at = 0;
        let mut again = false;
        while let Some(rest) = self.headers.get_mut(at..).filter(|rest| !rest.is_empty()) {
            sent.calls += 1;
            // SAFETY: the headers were linked by `link` to messages and pieces that did not move since, and the pieces lie in
            // the stores that `send` borrows.
            let count =
                unsafe { libc::sendmmsg(fd, rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT as _) };
            if count > 0 {
                for message in self.messages.iter().skip(at).take(count as usize) {
                    sent.packets += message.datagrams;
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
                    sent.dropped += self.messages.iter().skip(at).map(|message| message.datagrams).sum::<u64>();
                    break;
                }
                Verdict::Again => again = true,
                Verdict::Apart => {
                    sent += apart(fd, message, &self.pieces);
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
    fn admits(&self, item: &Outgoing, length: usize, gso: u32) -> bool {
        self.open
            && length > 0
            && length <= self.segment
            && self.segment <= gso as usize
            && self.datagrams < SEGMENTS
            && self.total + length <= GSO_OCTETS
            && self.first.alike(item)
    }

    fn annotate(&mut self) {
        let v6 = self.first.to.is_ipv6();
        if self.datagrams > 1 {
            self.control.segment(self.segment as u16);
        }
        if let Some(from) = self.first.from.filter(|from| from.is_ipv6() == v6) {
            self.control.source(from);
        }
        if self.first.traffic_class != 0 {
            self.control.traffic_class(v6, self.first.traffic_class);
        }
        if self.first.hop_limit != 0 {
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
            self.gso = self.gso.min((message.segment as u32).saturating_sub(1).max(GSO_SURE));
            return Verdict::Apart;
        }
        if code == libc::EMSGSIZE && message.first.dont_fragment {
            self.too_large = Some(message.first.to);
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

/// Appends the pieces of one datagram that are not empty.
fn pieces(into: &mut Vec<libc::iovec>, item: &Outgoing, octets: Octets<'_>) -> usize {
    let before = into.len();
    for octets in [octets.get(item.header), octets.get(item.payload), item.zeros()] {
        if !octets.is_empty() {
            into.push(libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() });
        }
    }
    into.len() - before
}

/// Sends the datagrams of a GSO message one by one.
fn apart(fd: RawFd, message: &Message, pieces: &[libc::iovec]) -> Sent {
    let mut sent = Sent::default();
    let pieces = pieces.iter().skip(message.pieces_from).take(message.pieces);
    let mut one = Vec::with_capacity(2);
    let mut length = 0;
    let mut left = message.datagrams;
    let mut rest = message.total;
    for piece in pieces {
        one.push(*piece);
        length += piece.iov_len;
        if length >= message.segment.min(rest) {
            sent += single(fd, message, &mut one, length);
            rest -= length.min(rest);
            left = left.saturating_sub(1);
            one.clear();
            length = 0;
        }
    }
    sent.failed += left;
    sent
}

fn single(fd: RawFd, message: &Message, pieces: &mut [libc::iovec], length: usize) -> Sent {
    let mut name = message.name;
    let mut alone = Message { name, control: Ancillary::empty(), datagrams: 1, ..*message };
    alone.annotate();
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
    let mut sent = Sent { calls: 1, ..Sent::default() };
    // SAFETY: name, pieces and control outlive the call, and the pieces lie in the stores that `send` borrows.
    let count = unsafe { libc::sendmsg(fd, &header, libc::MSG_DONTWAIT) };
    if count >= 0 {
        sent.packets = 1;
        sent.octets = length as u64;
    } else if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock {
        sent.dropped = 1;
    } else {
        sent.failed = 1;
    }
    sent
}

fn either(fd: RawFd, v6: bool, four: libc::c_int, six: libc::c_int, value: libc::c_int) -> io::Result<()> {
    if v6 { set(fd, libc::IPPROTO_IPV6, six, value) } else { set(fd, libc::IPPROTO_IP, four, value) }
}

fn set(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` octets of `value`, which outlives the call.
    let outcome = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Calls of one receive, so that a flood of ICMP errors cannot hold the thread.
const ATTEMPTS: u32 = 8;
/// Entries of the error queue read at once.
const ERRORS: usize = 64;
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
/// `linux/socket.h`; not in libc for every architecture.
const SO_SELECT_ERR_QUEUE: libc::c_int = 45;
/// Never set DF, fragment at the interface's MTU only (`linux/in.h`). Unlike `IP_PMTUDISC_DONT` it lets ICMP
/// "fragmentation needed" for those datagrams that did have DF set appear in the error queue.
const IP_PMTUDISC_OMIT: libc::c_int = 5;
