//! A client on a stream: TCP, and whatever is spoken inside it.

use crate::net::Batch;
use crate::net::tls::server::{TlsHandshake, TlsStream, is_acme_validation};
use crate::relay::client::stream::Stream;
use crate::relay::plan::ConnectionLimits;
use crate::turn::{Client, Instant, PayloadHeader, Transport};
use crate::wire::{padded, stream};
use std::future::Future;
use std::io::Write;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One client's connection.
///
/// It holds memory only for a message of which a part has arrived and for what the client has not taken yet; both are
/// bounded.
pub(crate) struct Conn {
    stream: Stream,
    /// Whose it is.
    pub(crate) client: Client,
    /// When it was opened, or last sent a whole message.
    pub(crate) active: Instant,
    /// It has sent a whole message.
    pub(crate) greeted: bool,
    /// A balancer has to say first whom it carries.
    pub(crate) balanced: bool,
    /// It waits in the list of connections to flush.
    pub(crate) touched: bool,
    waker: Waker,
    negotiating_since: Option<Instant>,
    /// The beginning of a message whose end has not arrived.
    partial: Vec<u8>,
    /// What has not been written yet; `written` octets of it have.
    output: Vec<u8>,
    written: usize,
    /// Octets that are still to come of the message that was being put into a TLS record.
    record: usize,
}

/// What a read brought.
pub(crate) enum Read {
    /// Octets in the batch, beginning with a message's first.
    Some(Range<usize>),
    /// Nothing for now.
    None,
    /// The client closed, or the connection failed.
    End,
}

/// How far TLS is.
pub(crate) enum Negotiated {
    /// It can be read: TLS is not spoken, or was agreed on before.
    Already,
    /// The client has to say more.
    InProgress,
    /// TLS has just been agreed on.
    Now {
        /// The server name that the client asked for.
        server_name: Option<String>,
        /// It came only to validate a name (ACME).
        validation: bool,
    },
    /// There will be no TLS.
    Failed,
}

/// Whether something found room in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It did.
    Taken,
    /// It did not.
    Full,
}

impl Conn {
    /// A new connection; `waker` enters it into the shard's queue.
    pub(crate) fn new(stream: Stream, client: Client, waker: Waker, now: Instant) -> Conn {
        Conn {
            stream,
            client,
            active: now,
            greeted: false,
            balanced: false,
            negotiating_since: None,
            touched: false,
            waker,
            partial: Vec::new(),
            output: Vec::new(),
            written: 0,
            record: 0,
        }
    }

    /// Reads once into the batch's next slot, behind what had arrived of a message before.
    pub(crate) fn read(&mut self, batch: &mut Batch) -> Read {
        let slot = batch.free_slot();
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
                let start = batch.occupy_slot();
                Read::Some(start..start + length)
            }
            Poll::Ready(_) => Read::End,
        }
    }

    /// Keeps the beginning of a message for the next read.
    pub(crate) fn keep(&mut self, beginning: &[u8]) {
        if beginning.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(beginning);
        }
    }

    /// Queues a relayed payload behind its header, unless more than `limit` octets would wait then.
    pub(crate) fn relay(
        &mut self,
        header: &PayloadHeader,
        payload: &[u8],
        limit: usize,
        pool: &mut Pool,
    ) -> Room {
        let length = header.octets().len() + payload.len();
        if self.waiting() + padded(length) > limit {
            return Room::Full;
        }
        self.begin(pool);
        self.output.extend_from_slice(header.octets());
        self.output.extend_from_slice(payload);
        // RFC 8656 §12.5: over a stream ChannelData is padded too; a Data indication's payload always is.
        self.output
            .extend_from_slice([0; 3].get(..padded(length) - length).unwrap_or_default());
        Room::Taken
    }

    /// Queues an answer, unless more than `limit` octets would wait then.
    pub(crate) fn answer(&mut self, message: &[u8], limit: usize, pool: &mut Pool) -> Room {
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
    pub(crate) fn flush(&mut self, pool: &mut Pool) -> std::io::Result<u64> {
        let mut writes = 0;
        let mut cx = Context::from_waker(&self.waker);
        while let Some(rest) = self
            .output
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let outcome = match &mut self.stream {
                Stream::Tls(stream) => records(stream, rest, &mut self.record, &mut cx),
                stream => Pin::new(stream).poll_write(&mut cx, rest),
            };
            match outcome {
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
    pub(crate) fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// Whether it is TCP and nothing else.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_))
    }

    /// Whether TLS is being negotiated.
    pub(crate) fn is_negotiating(&self) -> bool {
        self.negotiating_since.is_some()
    }

    /// When it is to be closed if nothing more happens.
    pub(crate) fn deadline(&self, limits: &ConnectionLimits) -> Instant {
        match self.negotiating_since {
            Some(since) => since + limits.handshakes.timeout,
            None => self.active + limits.idle_timeout,
        }
    }

    /// Begins TLS.
    pub(crate) fn secure(&mut self, now: Instant, accept: impl FnOnce(TcpStream) -> TlsHandshake) {
        if let Stream::Tcp(stream) = std::mem::replace(&mut self.stream, Stream::Gone) {
            self.stream = Stream::Handshake(Box::new(accept(stream)));
            self.negotiating_since = Some(now);
        }
    }

    /// Goes on with TLS.
    pub(crate) fn negotiate(&mut self, now: Instant) -> Negotiated {
        let Stream::Handshake(handshake) = &mut self.stream else {
            return Negotiated::Already;
        };
        match Pin::new(handshake.as_mut()).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => Negotiated::InProgress,
            Poll::Ready(Err(error)) => {
                tracing::debug!(client = %self.client.five_tuple.client, %error, "no TLS");
                self.stream = Stream::Gone;
                Negotiated::Failed
            }
            Poll::Ready(Ok(mut secured)) => {
                secured.get_mut().0.lift_limit();
                let server_name = secured.get_ref().1.server_name().map(str::to_owned);
                let validation = is_acme_validation(&secured);
                self.stream = Stream::Tls(Box::new(secured));
                self.negotiating_since = None;
                self.active = now;
                self.client.five_tuple.transport = Transport::Tls;
                Negotiated::Now {
                    server_name,
                    validation,
                }
            }
        }
    }

    /// Tells the client, where TLS has a word for it, that the connection ends here.
    pub(crate) fn farewell(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            // One that does not take it at once goes without.
            let _ = Pin::new(stream.as_mut()).poll_shutdown(&mut Context::from_waker(&self.waker));
        }
    }

    /// The stream, and what waits to be written to it.
    pub(crate) fn into_parts(mut self) -> (Stream, Vec<u8>) {
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

/// Puts messages into TLS records, one each, as far as there is room for them, and writes all of these at once; tells how many
/// octets were taken. Some clients (coturn's) take a record for a message.
fn records(
    stream: &mut TlsStream,
    messages: &[u8],
    begun: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let mut taken = 0;
    while let Some(rest) = messages.get(taken..).filter(|rest| !rest.is_empty()) {
        let length = match *begun {
            0 => stream::frame(rest).ok().flatten().unwrap_or(rest.len()),
            left => left,
        };
        let message = rest.get(..length).unwrap_or(rest);
        let written = stream.get_mut().1.writer().write(message)?;
        taken += written;
        *begun = message.len() - written;
        if *begun > 0 {
            break;
        }
    }
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending if taken == 0 => Poll::Pending,
        // There is room again, and next time something is taken.
        Poll::Ready(Ok(())) if taken == 0 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        _ => Poll::Ready(Ok(taken)),
    }
}

/// Output buffers that nobody needs at the moment: connections that wait for nothing hold none.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        self.buffers
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(FIRST))
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
