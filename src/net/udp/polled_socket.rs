//! A UDP socket that is registered with a tokio runtime.
//!
//! It is registered for readability only, so it must not collect ICMP errors: nothing would report
//! its error queue. The sockets of a [`Poller`](crate::net::udp::poller::Poller) may collect them.

use crate::net::udp::buffer::{Batch, Received};
use crate::net::udp::socket::UdpSocket;
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket, and the waker that the runtime wakes when the socket becomes readable.
pub struct PolledSocket {
    socket: AsyncFd<UdpSocket>,
    waker: Waker,
}

/// State of a socket after a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The socket is empty. The waker is woken when the next datagram arrives.
    Armed,
    /// The socket may have more datagrams. No wake-up will follow, so the caller has to receive
    /// again by itself.
    Ready,
}

impl PolledSocket {
    /// Registers `socket` with the current runtime.
    ///
    /// # Errors
    /// If the runtime cannot register another descriptor.
    pub fn new(socket: UdpSocket, waker: Waker) -> io::Result<PolledSocket> {
        // SAFETY: `UdpSocket` owns its descriptor, always returns the same one, and closes it when
        // dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let polled = PolledSocket { socket, waker };
        if polled.arm() == Readiness::Ready {
            polled.waker.wake_by_ref();
        }
        Ok(polled)
    }

    /// Receives into the free slots of `batch`; `None` if the socket is not readable.
    ///
    /// # Errors
    /// The errors of [`UdpSocket::receive`]. The socket stays ready then, and no wake-up will
    /// follow.
    pub fn receive(&mut self, batch: &mut Batch) -> io::Result<Option<(Received, Readiness)>> {
        let mut cx = Context::from_waker(&self.waker);
        let Poll::Ready(guard) = self.socket.poll_read_ready_mut(&mut cx) else {
            return Ok(None);
        };
        let mut guard = guard?;
        let received = guard.get_inner_mut().receive(batch)?;
        if !received.drained {
            return Ok(Some((received, Readiness::Ready)));
        }
        guard.clear_ready();
        let readiness = self.arm();
        Ok(Some((received, readiness)))
    }

    /// The socket, for sending.
    pub fn socket(&mut self) -> &mut UdpSocket {
        self.socket.get_mut()
    }

    /// Registers the waker for the next datagram. `clear_ready` alone does not: tokio stores a
    /// waker only when a poll returns `Pending`.
    fn arm(&self) -> Readiness {
        let mut cx = Context::from_waker(&self.waker);
        match self.socket.poll_read_ready(&mut cx) {
            Poll::Pending => Readiness::Armed,
            Poll::Ready(_) => Readiness::Ready,
        }
    }
}
