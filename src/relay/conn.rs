//! A client on a stream: TCP, and whatever is spoken inside it.

use super::outbox::Header;
use super::stream::Stream;
use crate::net::Batch;
use crate::turn::{Client, Instant};
use crate::wire::padded;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One client's connection.
///
/// It holds memory only for a message of which a part has arrived and for what the client has not taken yet; both are
/// bounded.
pub(super) struct Conn {
    stream: Stream,
    /// Whose it is.
    pub(super) client: Client,
    /// When it was opened, or last sent a whole message.
    pub(super) active: Instant,
    /// It has sent a whole message.
    pub(super) greeted: bool,
    /// It waits in the list of connections to flush.
    pub(super) touched: bool,
    waker: Waker,
    /// The beginning of a message whose end has not arrived.
    partial: Vec<u8>,
    /// What has not been written yet; `written` octets of it have.
    output: Vec<u8>,
    written: usize,
}

/// What a read brought.
pub(super) enum Read {
    /// Octets in the batch, beginning with a message's first.
    Some(Range<usize>),
    /// Nothing for now.
    None,
    /// The client closed, or the connection failed.
    End,
}

/// Whether something found room in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// It did.
    Taken,
    /// It did not.
    Full,
}

impl Conn {
    /// A new connection; `waker` enters it into the shard's queue.
    pub(super) fn new(stream: Stream, client: Client, waker: Waker, now: Instant) -> Conn {
        Conn {
            stream,
            client,
            active: now,
            greeted: false,
            touched: false,
            waker,
            partial: Vec::new(),
            output: Vec::new(),
            written: 0,
        }
    }

    /// Reads once into the batch's next slot, behind what had arrived of a message before.
    pub(super) fn read(&mut self, batch: &mut Batch) -> Read {
        let slot = batch.vacant();
        let Some((head, space)) = slot.split_at_mut_checked(self.partial.len()) else {
            return Read::End;
        };
        head.copy_from_slice(&self.partial);
        let mut buffer = ReadBuf::new(space);
        let mut cx = Context::from_waker(&self.waker);
        let outcome = Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer);
        let read = buffer.filled().len();
        match outcome {
            Poll::Pending => Read::None,
            Poll::Ready(Ok(())) if read > 0 => {
                let length = self.partial.len() + read;
                self.partial.clear();
                let start = batch.occupy();
                Read::Some(start..start + length)
            }
            Poll::Ready(_) => Read::End,
        }
    }

    /// Keeps the beginning of a message for the next read.
    pub(super) fn keep(&mut self, beginning: &[u8]) {
        if beginning.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(beginning);
        }
    }

    /// Queues a relayed payload behind its header, unless more than `limit` octets would wait then.
    pub(super) fn relay(&mut self, header: &Header, payload: &[u8], limit: usize, pool: &mut Pool) -> Room {
        let length = header.octets().len() + payload.len();
        if self.waiting() + padded(length) > limit {
            return Room::Full;
        }
        self.begin(pool);
        self.output.extend_from_slice(header.octets());
        self.output.extend_from_slice(payload);
        // RFC 8656 §12.5: over a stream ChannelData is padded too; a Data indication's payload always is.
        self.output.extend_from_slice([0; 3].get(..padded(length) - length).unwrap_or_default());
        Room::Taken
    }

    /// Queues an answer, unless more than `limit` octets would wait then.
    pub(super) fn answer(&mut self, message: &[u8], limit: usize, pool: &mut Pool) -> Room {
        if self.waiting() + message.len() > limit {
            return Room::Full;
        }
        self.begin(pool);
        self.output.extend_from_slice(message);
        Room::Taken
    }

    /// Writes what waits, as far as the client takes it, and tells how many writes that took.
    ///
    /// # Errors
    /// When the connection has failed.
    pub(super) fn flush(&mut self, pool: &mut Pool) -> std::io::Result<u64> {
        let mut writes = 0;
        let mut cx = Context::from_waker(&self.waker);
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match Pin::new(&mut self.stream).poll_write(&mut cx, rest) {
                Poll::Pending => return Ok(writes),
                Poll::Ready(Ok(0)) => return Err(std::io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.written += written?,
            }
            writes += 1;
        }
        self.written = 0;
        pool.give(std::mem::take(&mut self.output));
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(&mut cx) {
            return Err(error);
        }
        Ok(writes)
    }

    /// Octets that the client has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// The stream, and what waits to be written to it.
    pub(super) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        self.output.drain(..self.written);
        (self.stream, self.output)
    }

    fn begin(&mut self, pool: &mut Pool) {
        if self.output.capacity() == 0 {
            self.output = pool.take();
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Output buffers that nobody needs at the moment: connections that wait for nothing hold none.
#[derive(Default)]
pub(super) struct Pool {
    buffers: Vec<Vec<u8>>,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(FIRST))
    }

    fn give(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 && buffer.capacity() <= LARGEST && self.buffers.len() < SPARE {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// Capacity of a new output buffer, in octets.
const FIRST: usize = 4 << 10;
/// Larger buffers are not kept.
const LARGEST: usize = 256 << 10;
/// Buffers that are kept.
const SPARE: usize = 64;
