//! Splices two streams: copies the octets of each to the other, with backpressure. RFC 6062 §5.5.

use crate::relay::io::stream::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection and a peer's. If one end shuts down its sending side, only that direction
/// ends.
pub(crate) struct Splice {
    client: Stream,
    peer: Stream,
    to_peer: Direction,
    to_client: Direction,
    waker: Waker,
}

/// One direction. It buffers octets only while the receiver blocks, and reads nothing meanwhile.
#[derive(Default)]
struct Direction {
    buffer: Vec<u8>,
    /// Octets of `buffer` that are written already.
    written: usize,
    /// The sender will send no more.
    at_end: bool,
    /// At the end, and everything was written and flushed.
    is_complete: bool,
    /// The receiver's connection is shut down for writing.
    is_shut_down: bool,
    /// Octets carried since the traffic was last taken.
    carried: u64,
    /// Octets of the buffer that are a response of this server, and not traffic.
    response: usize,
}

/// Octets that a data connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamTraffic {
    pub(crate) to_peer: u64,
    pub(crate) to_client: u64,
}

impl StreamTraffic {
    pub(crate) fn total(&self) -> u64 {
        self.to_peer + self.to_client
    }
}

/// The result of moving octets between the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PumpOutcome {
    /// Both directions wait for a stream; the waker is registered.
    Blocked,
    /// There may be more, and no waker is registered.
    Unfinished,
    /// Both directions have ended, or a stream failed.
    Ended,
}

impl Splice {
    /// `response` is still to be written to the client.
    pub(crate) fn new(client: Stream, peer: Stream, response: Vec<u8>, waker: Waker) -> Splice {
        Splice {
            client,
            peer,
            to_peer: Direction::default(),
            to_client: Direction {
                response: response.len(),
                buffer: response,
                ..Direction::default()
            },
            waker,
        }
    }

    /// Queues octets that were read from the client before.
    pub(crate) fn queue_to_peer(&mut self, octets: &[u8]) {
        self.to_peer.buffer.extend_from_slice(octets);
    }

    /// Carries octets both ways through `scratch`.
    pub(crate) fn pump(&mut self, scratch: &mut [u8]) -> PumpOutcome {
        let mut cx = Context::from_waker(&self.waker);
        let to_peer = self
            .to_peer
            .pump(&mut cx, &mut self.client, &mut self.peer, scratch);
        let to_client = self
            .to_client
            .pump(&mut cx, &mut self.peer, &mut self.client, scratch);
        let (Ok(to_peer), Ok(to_client)) = (to_peer, to_client) else {
            return PumpOutcome::Ended;
        };
        if self.to_peer.is_complete && self.to_client.is_complete {
            return PumpOutcome::Ended;
        }
        self.to_peer.shut_down(&mut cx, &mut self.peer);
        self.to_client.shut_down(&mut cx, &mut self.client);
        if to_peer == PumpOutcome::Blocked && to_client == PumpOutcome::Blocked {
            PumpOutcome::Blocked
        } else {
            PumpOutcome::Unfinished
        }
    }

    /// Shuts both streams down.
    pub(crate) fn close(mut self) {
        // Only a stream that failed has output left by now.
        let mut cx = Context::from_waker(Waker::noop());
        for stream in [&mut self.client, &mut self.peer] {
            let _ = Pin::new(stream).poll_shutdown(&mut cx);
        }
    }

    /// The octets carried since the last call.
    pub(crate) fn take_traffic(&mut self) -> StreamTraffic {
        StreamTraffic {
            to_peer: std::mem::take(&mut self.to_peer.carried),
            to_client: std::mem::take(&mut self.to_client.carried),
        }
    }
}

impl Direction {
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        scratch: &mut [u8],
    ) -> io::Result<PumpOutcome> {
        for _ in 0..MAX_READS {
            if !self.write_buffer(cx, to)? {
                return Ok(PumpOutcome::Blocked);
            }
            if self.at_end {
                self.is_complete = Pin::new(&mut *to).poll_flush(cx)?.is_ready();
                return Ok(PumpOutcome::Blocked);
            }
            let mut buffer = ReadBuf::new(scratch);
            if Pin::new(&mut *from)
                .poll_read(cx, &mut buffer)?
                .is_pending()
            {
                let _ = Pin::new(&mut *to).poll_flush(cx)?;
                return Ok(PumpOutcome::Blocked);
            }
            self.at_end = buffer.filled().is_empty();
            self.write_through(cx, to, buffer.filled())?;
        }
        Ok(PumpOutcome::Unfinished)
    }

    /// Writes the buffer; false if the receiver blocks.
    fn write_buffer(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> io::Result<bool> {
        while let Some(rest) = self
            .buffer
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *to).poll_write(cx, rest)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.written += count;
                    let of_response = count.min(self.response);
                    self.response -= of_response;
                    self.carried += (count - of_response) as u64;
                }
            }
        }
        if self.buffer.capacity() > 0 {
            self.buffer = Vec::new();
            self.written = 0;
        }
        Ok(true)
    }

    /// Writes what was just read, and buffers the rest if the receiver blocks.
    fn write_through(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        mut octets: &[u8],
    ) -> io::Result<()> {
        while !octets.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, octets)? {
                Poll::Pending => {
                    self.buffer.extend_from_slice(octets);
                    return Ok(());
                }
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    octets = octets.get(count..).unwrap_or_default();
                    self.carried += count as u64;
                }
            }
        }
        Ok(())
    }

    /// Shuts the receiver's connection down for writing once this direction is complete.
    fn shut_down(&mut self, cx: &mut Context<'_>, to: &mut Stream) {
        // An error means that the receiver closed the connection, which is as good.
        if self.is_complete && !self.is_shut_down && Pin::new(to).poll_shutdown(cx).is_ready() {
            self.is_shut_down = true;
        }
    }
}

/// Reads of one direction in one pump.
const MAX_READS: usize = 4;
