//! Many UDP sockets behind one registration with a tokio runtime.
//!
//! A tokio registration takes more memory than everything else that an idle relay socket needs.
//! Relay sockets therefore are registered with an epoll instance (kqueue on other systems) of their
//! own, and only that instance with tokio.

use crate::net::udp::socket::UdpSocket;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::os::fd::AsRawFd;
use std::task::Context;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// A set of sockets. A socket leaves it when it is closed.
///
/// Readiness is edge-triggered: a socket is reported once when something arrives. The caller
/// receives until the socket is drained, or remembers that it is not.
pub struct Poller {
    selector: AsyncFd<Poll>,
    events: Events,
}

impl Poller {
    /// An empty set, registered with the current runtime.
    ///
    /// # Errors
    /// If there are no free descriptors, or the runtime cannot register another one.
    pub fn new() -> io::Result<Poller> {
        // SAFETY: a `Poll` owns its descriptor, always returns the same one, and closes it when
        // dropped.
        let selector = unsafe {
            AsyncFd::register_with_interest(Poll::new()?, tokio::io::Interest::READABLE)
        }?;
        Ok(Poller {
            selector,
            events: Events::with_capacity(MAX_EVENTS),
        })
    }

    /// Adds a socket; `id` is what [`Poller::for_each_ready`] reports.
    ///
    /// # Errors
    /// If the system limit of registrations is reached (`fs.epoll.max_user_watches`).
    pub fn add(&self, socket: &UdpSocket, id: u32) -> io::Result<()> {
        let token = Token(id as usize);
        self.selector.get_ref().registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            interest(),
        )
    }

    /// Calls `visit` with the id of each socket that has become readable. Wakes the task of `cx`
    /// when another one does.
    pub fn for_each_ready(&mut self, cx: &mut Context<'_>, mut visit: impl FnMut(u32)) {
        while let std::task::Poll::Ready(Ok(mut guard)) = self.selector.poll_read_ready_mut(cx) {
            let Ok(()) = guard
                .get_inner_mut()
                .poll(&mut self.events, Some(Duration::ZERO))
            else {
                return;
            };
            let mut count = 0;
            for event in &self.events {
                visit(event.token().0 as u32);
                count += 1;
            }
            // A full list may not be the whole list, and tokio reports the selector only on its
            // next edge: it stays marked as readable until a list comes back with room to spare.
            if count < MAX_EVENTS {
                guard.clear_ready();
            }
        }
    }
}

fn interest() -> Interest {
    // With SO_SELECT_ERR_QUEUE, Linux reports an entry in the error queue as EPOLLPRI.
    #[cfg(target_os = "linux")]
    return Interest::READABLE | Interest::PRIORITY;
    #[cfg(not(target_os = "linux"))]
    return Interest::READABLE;
}

/// Sockets reported by one call of the system.
const MAX_EVENTS: usize = 256;
