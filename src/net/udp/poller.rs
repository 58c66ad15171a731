//! Many UDP sockets that a runtime watches as one. A runtime's own record of a descriptor takes more memory than all that
//! an idle relay socket needs besides, so these have a selector of their own, and only that one is the runtime's.

use crate::net::udp::socket::UdpSocket;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::task::Context;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// The sockets that were added and not closed since. Each is told of once when something comes (edge-triggered): whoever
/// is told receives until the socket is drained, or remembers that it is not.
pub struct Poller {
    selector: AsyncFd<Poll>,
    events: Events,
}

impl Poller {
    /// Watches nothing yet, in the runtime that the caller is in.
    ///
    /// # Errors
    /// Out of descriptors, or the runtime cannot watch one more.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: a `Poll` owns its descriptor, always names the same one, and closes it when dropped.
        let selector = unsafe {
            AsyncFd::register_with_interest(Poll::new()?, tokio::io::Interest::READABLE)
        }?;
        Ok(Poller {
            selector,
            events: Events::with_capacity(EVENTS),
        })
    }

    /// Watches a socket until it is closed, under a number of the caller's.
    ///
    /// # Errors
    /// When the system has no room for one more.
    pub fn add(&self, socket: &UdpSocket, number: u32) -> io::Result<()> {
        let token = Token(number as usize);
        self.selector.get_ref().registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            interest(),
        )
    }

    /// Tells the numbers of the sockets that something has come to; who asks is woken for the next.
    pub fn for_each_ready(&mut self, cx: &mut Context<'_>, mut tell: impl FnMut(u32)) {
        while let std::task::Poll::Ready(Ok(mut guard)) = self.selector.poll_read_ready_mut(cx) {
            let Ok(()) = guard
                .get_inner_mut()
                .poll(&mut self.events, Some(Duration::ZERO))
            else {
                return;
            };
            let mut told = 0;
            for event in &self.events {
                tell(event.token().0 as u32);
                told += 1;
            }
            // A full list may not be all. One that is not leaves nothing behind, so the next event wakes the runtime.
            if told < EVENTS {
                guard.clear_ready();
            }
        }
    }
}

/// Priority is how Linux tells, of a socket that selects for its error queue, that an ICMP error waits.
fn interest() -> Interest {
    #[cfg(target_os = "linux")]
    return Interest::READABLE | Interest::PRIORITY;
    #[cfg(not(target_os = "linux"))]
    return Interest::READABLE;
}

/// Sockets that are told of at once.
const EVENTS: usize = 256;
