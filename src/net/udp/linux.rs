//! Linux: what a socket is set to, `recvmmsg` with GRO, the error queue. What it sends is in [`crate::net::udp::send_batch`].

use crate::net::udp::buffer::{Arrival, Batch, Received};
use crate::net::udp::cmsg::{Control, each, read};
use crate::net::udp::icmp::{IcmpError, IcmpOrigin, concerns_a_datagram};
use crate::net::udp::options::UdpOptions;
use crate::net::udp::sockaddr::{Name, v4_from_kernel};
use socket2::Socket;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::OnceLock;

/// What a batched socket remembers.
#[derive(Debug)]
pub(crate) struct State {
    /// Largest segment that GSO is used for; 0: not at all.
    pub(crate) gso: u32,
    /// The kernel's drop counter when it was last told.
    overflowed: u32,
    /// A call reported an ICMP error whose entry was not read yet.
    pub(crate) errors: bool,
    pub(crate) icmp_errors: bool,
    pub(crate) fragmentable: bool,
    /// What TTL, DSCP and ECN are set to on a socket whose datagrams do not carry them one by one; `None` on others.
    pub(crate) marks: Option<Marks>,
    /// The last destination that a datagram which must not be fragmented was too large for.
    pub(crate) too_large: Option<Box<SocketAddr>>,
}

/// What the network reads on a datagram: DSCP and ECN, and TTL or hop limit. 0 is the system's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) traffic_class: u8,
    pub(crate) hop_limit: u8,
}

impl State {
    /// Sets what a batched socket needs. All of it is optional: what this kernel lacks is done without.
    pub(crate) fn prepare(socket: &Socket, address: &SocketAddr, options: &UdpOptions) -> State {
        let fd = socket.as_raw_fd();
        let v6 = address.is_ipv6();
        let _ = set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        if address.ip().is_unspecified() {
            let _ = either(fd, v6, libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO, 1);
        }
        if options.receive_traffic_class {
            let _ = either(fd, v6, libc::IP_RECVTOS, libc::IPV6_RECVTCLASS, 1);
        }
        if options.receive_hop_limit {
            let _ = either(fd, v6, libc::IP_RECVTTL, libc::IPV6_RECVHOPLIMIT, 1);
        }
        if options.receive_icmp_errors {
            let _ = either(fd, v6, libc::IP_RECVERR, libc::IPV6_RECVERR, 1);
            // Without it a pending error wakes nobody who waits for readability.
            let _ = set(fd, libc::SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1);
        }
        if options.allow_fragmentation && !v6 {
            let _ = set(
                fd,
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                IP_PMTUDISC_OMIT,
            );
        }
        let gso = options.offload
            && *HAS_GSO.get_or_init(|| set(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok());
        if options.offload {
            let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        State {
            gso: if gso { u32::MAX } else { 0 },
            overflowed: 0,
            errors: false,
            icmp_errors: options.receive_icmp_errors,
            fragmentable: options.allow_fragmentation,
            marks: options.sticky_ip_fields.then(Marks::default),
            too_large: None,
        }
    }

    /// Sets the marks that what is sent next shall bear.
    pub(crate) fn mark(&mut self, fd: RawFd, v6: bool, marks: Marks) {
        let Some(set) = self.marks.as_mut().filter(|set| **set != marks) else {
            return;
        };
        if set.traffic_class != marks.traffic_class {
            let _ = either(
                fd,
                v6,
                libc::IP_TOS,
                libc::IPV6_TCLASS,
                marks.traffic_class.into(),
            );
        }
        if set.hop_limit != marks.hop_limit {
            let value = if marks.hop_limit == 0 {
                SYSTEMS_OWN
            } else {
                marks.hop_limit.into()
            };
            let _ = either(fd, v6, libc::IP_TTL, libc::IPV6_UNICAST_HOPS, value);
        }
        *set = marks;
    }

    /// One `recvmmsg` into the free slots (more only where pending errors come first).
    pub(crate) fn receive(&mut self, fd: RawFd, batch: &mut Batch) -> io::Result<Received> {
        let first = batch.datagrams().len();
        let free = batch.free();
        let mut received = Received {
            datagrams: first..first,
            drained: false,
            errors: self.errors,
            overflowed: 0,
            calls: 0,
        };
        let Some(headers) = batch.headers.from(batch.used()) else {
            return Ok(received);
        };
        while received.calls < ATTEMPTS {
            received.calls += 1;
            // SAFETY: `headers` points to `free` linked headers, whose storage nothing else refers to during the call.
            let count = unsafe {
                libc::recvmmsg(
                    fd,
                    headers,
                    free as libc::c_uint,
                    libc::MSG_DONTWAIT as _,
                    std::ptr::null_mut(),
                )
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
        let Some((arrived, source)) =
            arrived.and_then(|a| a.name.decode().map(|source| (a, source)))
        else {
            batch.occupy_slot();
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

    pub(crate) fn has_errors(&self) -> bool {
        self.errors
    }

    /// Empties the error queue into `into`.
    pub(crate) fn errors(&mut self, fd: RawFd, into: &mut Vec<IcmpError>) {
        self.errors = false;
        for _ in 0..ERRORS {
            match next_error(fd) {
                Ok(Some(error)) => {
                    let error = self.complete(error);
                    // A send tries twice what cannot leave, and the kernel notes both.
                    if error.origin != IcmpOrigin::Local || into.last() != Some(&error) {
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
        if let Some(too_large) = self.too_large.as_deref()
            && error.origin == IcmpOrigin::Local
            && error.destination.ip() == too_large.ip()
        {
            error.destination = *too_large;
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
                let reporter = data
                    .get(size_of::<libc::sock_extended_err>()..)
                    .and_then(reporter);
                found = Some((entry, reporter));
            }
        });
    }
    Ok(found
        .zip(name.decode())
        .and_then(|((entry, reporter), to)| interpret(&entry, reporter, to)))
}

fn interpret(
    entry: &libc::sock_extended_err,
    reporter: Option<IpAddr>,
    destination: SocketAddr,
) -> Option<IcmpError> {
    let too_large = entry.ee_errno == libc::EMSGSIZE as u32;
    let mtu = if too_large { entry.ee_info } else { 0 };
    let (origin, kind, code) = match entry.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => (IcmpOrigin::V4, entry.ee_type, entry.ee_code),
        libc::SO_EE_ORIGIN_ICMP6 => (IcmpOrigin::V6, entry.ee_type, entry.ee_code),
        libc::SO_EE_ORIGIN_LOCAL if too_large && destination.is_ipv4() => (IcmpOrigin::Local, 3, 4),
        libc::SO_EE_ORIGIN_LOCAL if too_large => (IcmpOrigin::Local, 2, 0),
        _ => return None,
    };
    Some(IcmpError {
        destination,
        origin,
        kind,
        code,
        mtu,
        reporter,
    })
}

/// The node that sent the error. Its address may come without the padding of a full name.
fn reporter(data: &[u8]) -> Option<IpAddr> {
    let family = data
        .first_chunk::<2>()
        .map(|octets| libc::c_int::from(u16::from_ne_bytes(*octets)))?;
    match family {
        libc::AF_INET => {
            let octets: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(v4_from_kernel(libc::in_addr {
                s_addr: u32::from_ne_bytes(octets),
            })))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = data.get(8..24)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// Asks for a buffer of more octets than the system lets everybody have, which takes CAP_NET_ADMIN.
pub(crate) fn force_buffer(socket: &Socket, octets: usize, option: libc::c_int) {
    let octets = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX / 2);
    let _ = set(socket.as_raw_fd(), libc::SOL_SOCKET, option, octets);
}

fn either(
    fd: RawFd,
    v6: bool,
    four: libc::c_int,
    six: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    if v6 {
        set(fd, libc::IPPROTO_IPV6, six, value)
    } else {
        set(fd, libc::IPPROTO_IP, four, value)
    }
}

pub(crate) fn set(
    fd: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` octets of `value`, which outlives the call.
    let outcome = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether this kernel segments what is sent: asked once.
static HAS_GSO: OnceLock<bool> = OnceLock::new();
/// The hop limit that stands for the system's default.
const SYSTEMS_OWN: libc::c_int = -1;
/// Calls of one receive, so that a flood of ICMP errors cannot hold the thread.
const ATTEMPTS: u32 = 8;
/// Entries of the error queue read at once.
const ERRORS: usize = 64;
/// `linux/socket.h`; not in libc for every architecture.
const SO_SELECT_ERR_QUEUE: libc::c_int = 45;
/// Never set DF, fragment at the interface's MTU only (`linux/in.h`). Unlike `IP_PMTUDISC_DONT` it lets ICMP
/// "fragmentation needed" for those datagrams that did have DF set appear in the error queue.
pub(crate) const IP_PMTUDISC_OMIT: libc::c_int = 5;
