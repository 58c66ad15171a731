//! A UDP socket that a runtime watches: received from when it is ready, and polled with a waker of the caller's. For sockets
//! that collect no ICMP errors; those are in [`crate::net::udp::poller`].

use crate::net::udp::buffer::{Batch, Received};
use crate::net::udp::socket::UdpSocket;
use std::io;
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A watched socket, and whom to wake when it has something.
pub struct PolledSocket {
    socket: AsyncFd<UdpSocket>,
    waker: Waker,
}

/// What a receive left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Nothing; the waker will tell of more.
    Armed,
    /// It may have more, and the waker will not tell.
    Ready,
}

impl PolledSocket {
    /// Has `socket` watched by the runtime that the caller is in.
    ///
    /// # Errors
    /// When the runtime cannot watch one more descriptor.
    pub fn new(socket: UdpSocket, waker: Waker) -> io::Result<PolledSocket> {
        // SAFETY: `UdpSocket` owns its descriptor, always names the same one, and closes it when dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        let port = PolledSocket { socket, waker };
        if port.arm() == Readiness::Ready {
            port.waker.wake_by_ref();
        }
        Ok(port)
    }

    /// Receives what fits into the batch; `None` when the socket is not ready.
    ///
    /// # Errors
    /// Those of [`UdpSocket::receive`]; the socket stays ready, and the waker will not tell.
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
        let rest = self.arm();
        Ok(Some((received, rest)))
    }

    /// The socket, to send with.
    pub fn socket(&mut self) -> &mut UdpSocket {
        self.socket.get_mut()
    }

    /// Asks to be told of what comes next.
    fn arm(&self) -> Readiness {
        let mut cx = Context::from_waker(&self.waker);
        match self.socket.poll_read_ready(&mut cx) {
            Poll::Pending => Readiness::Armed,
            Poll::Ready(_) => Readiness::Ready,
        }
    }
}
