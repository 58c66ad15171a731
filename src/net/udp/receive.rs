//! Receiving with `recvmmsg` and GRO.

use crate::net::udp::buffer::{Batch, PacketInfo, Received};
use crate::net::udp::icmp::{ErrorQueue, concerns_a_datagram};
use crate::net::udp::options::UdpOptions;
use crate::net::udp::sys::sockopt::{set, set_ip};
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;

/// State that a socket keeps between two receives.
#[derive(Debug)]
pub(crate) struct Receiver {
    /// The kernel's overflow counter when the kernel last reported it.
    overflow_count: u32,
}

impl Receiver {
    /// Sets the socket options that receiving needs. Each is optional: a kernel that lacks an
    /// option reports less.
    pub(crate) fn prepare(fd: RawFd, address: &SocketAddr, options: &UdpOptions) -> Receiver {
        let v6 = address.is_ipv6();
        let _ = set(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        // A socket bound to one address receives for that address only; asking would cost a control
        // message per packet.
        if address.ip().is_unspecified() {
            let _ = set_ip(fd, v6, libc::IP_PKTINFO, libc::IPV6_RECVPKTINFO, 1);
        }
        if options.receive_traffic_class {
            let _ = set_ip(fd, v6, libc::IP_RECVTOS, libc::IPV6_RECVTCLASS, 1);
        }
        if options.receive_hop_limit {
            let _ = set_ip(fd, v6, libc::IP_RECVTTL, libc::IPV6_RECVHOPLIMIT, 1);
        }
        if options.offload {
            let _ = set(fd, libc::SOL_UDP, libc::UDP_GRO, 1);
        }
        Receiver { overflow_count: 0 }
    }

    /// Receives into the free slots with one `recvmmsg`, or more if calls report ICMP errors
    /// instead of datagrams.
    pub(crate) fn receive(
        &mut self,
        fd: RawFd,
        errors: &mut ErrorQueue,
        batch: &mut Batch,
    ) -> io::Result<Received> {
        let first = batch.datagrams().len();
        let free = batch.free();
        let mut received = Received {
            datagrams: first..first,
            drained: false,
            errors: errors.is_pending(),
            overflowed: 0,
            calls: 0,
        };
        let used = batch.used();
        let Some(headers) = batch.headers.starting_at(used) else {
            return Ok(received);
        };
        while received.calls < MAX_CALLS {
            received.calls += 1;
            // SAFETY: `headers` points to `free` linked headers, and no reference into their memory
            // exists during the call.
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
                    self.commit(batch, &mut received);
                }
                received.datagrams.end = batch.datagrams().len();
                // An ICMP error that arrives during the call ends it early too. Datagrams may be
                // left then, but the arrival of the error is an event of its own, for which the
                // poller reports the socket again.
                received.drained = count < free;
                return Ok(received);
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    received.drained = true;
                    // A wake-up without a datagram: a send may have consumed the socket's pending
                    // error, which leaves the entry in the error queue as the only trace.
                    received.errors |= errors.is_enabled();
                    return Ok(received);
                }
                io::ErrorKind::Interrupted => {}
                // The kernel reports an ICMP error for an earlier datagram instead of receiving.
                // The call has cleared the pending error, so the next call receives.
                _ if concerns_a_datagram(&error) => {
                    errors.mark_pending();
                    received.errors = errors.is_enabled();
                }
                _ => return Err(error),
            }
        }
        Ok(received)
    }

    /// Adds the message in the first free slot to the batch.
    fn commit(&mut self, batch: &mut Batch, received: &mut Received) {
        let message = batch.headers.read(batch.used());
        let Some((message, source)) = message.and_then(|message| {
            let source = message.source.decode()?;
            Some((message, source))
        }) else {
            batch.occupy_slot();
            return;
        };
        if let Some(count) = message.overflow_count {
            received.overflowed += count.wrapping_sub(self.overflow_count);
            self.overflow_count = count;
        }
        let info = PacketInfo {
            source,
            local: message.local,
            traffic_class: message.traffic_class,
            hop_limit: message.hop_limit,
        };
        batch.commit_slot(message.length, message.segment_size, info);
    }
}

/// System calls of one receive. Without a limit a flood of ICMP errors could occupy the thread.
const MAX_CALLS: u32 = 8;
