//! A client's connection over TCP or TLS.

use crate::net::Batch;
use crate::net::tls::server::{TlsHandshake, TlsStream, is_acme_validation};
use crate::relay::client::handshake_limit::HandshakePermit;
use crate::relay::io::stream::Stream;
use crate::relay::plan::ConnectionLimits;
use crate::turn::{Client, Instant, PayloadHeader, Transport};
use crate::wire::{PacketKind, padded, stream};
use std::future::Future;
use std::io;
use std::io::Write;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection.
///
/// It holds memory only for a partly received message and for output that the client has not read
/// yet; both are bounded.
pub(crate) struct Connection {
    stream: Stream,
    client: Client,
    /// When the connection was opened, or last received a complete message.
    active: Instant,
    has_received_message: bool,
    /// A load balancer sends a PROXY header first.
    expects_proxy_header: bool,
    /// In the list of connections to flush.
    is_dirty: bool,
    waker: Waker,
    handshake: Option<Handshake>,
    /// The beginning of a message whose end has not arrived.
    partial: Vec<u8>,
    output: Vec<u8>,
    /// Octets of `output` that are written already.
    written: usize,
    /// Octets of the current message that did not fit into the last TLS record.
    unsealed: usize,
}

/// A TLS handshake in progress.
struct Handshake {
    started: Instant,
    /// Held until the handshake ends.
    _permit: HandshakePermit,
}

/// What one read returned.
pub(crate) enum Read {
    /// Octets in the batch; the first one begins a message.
    Octets(Range<usize>),
    Blocked,
    /// The client closed the connection, or the connection failed.
    Ended,
}

/// The state of the TLS handshake.
pub(crate) enum HandshakeState {
    /// None, or completed earlier: the connection can be read.
    NotInProgress,
    InProgress,
    /// Completed now.
    Completed {
        /// SNI.
        server_name: Option<String>,
        /// The connection only validates a domain for ACME (TLS-ALPN-01).
        is_acme_validation: bool,
    },
    Failed,
}

/// A message at the beginning of received octets.
pub(crate) enum NextMessage {
    /// Complete, with its length including padding.
    Complete(usize),
    /// Stored until the rest arrives.
    Incomplete,
    Malformed,
}

/// Whether output was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    Yes,
    /// The limit of unread output would be exceeded.
    OutputFull,
}

impl Connection {
    /// A connection that was just accepted; `waker` marks it as ready.
    pub(crate) fn new(
        stream: TcpStream,
        client: Client,
        expects_proxy_header: bool,
        waker: Waker,
        now: Instant,
    ) -> Connection {
        Connection {
            stream: Stream::Tcp(stream),
            client,
            active: now,
            has_received_message: false,
            expects_proxy_header,
            is_dirty: false,
            waker,
            handshake: None,
            partial: Vec::new(),
            output: Vec::new(),
            written: 0,
            unsealed: 0,
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(crate) fn expects_proxy_header(&self) -> bool {
        self.expects_proxy_header
    }

    /// The PROXY header was received.
    pub(crate) fn end_proxy_header(&mut self) {
        self.expects_proxy_header = false;
    }

    pub(crate) fn has_received_message(&self) -> bool {
        self.has_received_message
    }

    /// Marks the connection for the next flush; false if it is marked already.
    pub(crate) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.is_dirty, true)
    }

    /// Reads once into the next slot of the batch, behind the stored beginning of a message.
    pub(crate) fn read(&mut self, batch: &mut Batch) -> Read {
        let slot = batch.free_slot();
        let Some((head, space)) = slot.split_at_mut_checked(self.partial.len()) else {
            return Read::Ended;
        };
        head.copy_from_slice(&self.partial);
        let mut buffer = ReadBuf::new(space);
        let mut cx = Context::from_waker(&self.waker);
        let outcome = Pin::new(&mut self.stream).poll_read(&mut cx, &mut buffer);
        let read = buffer.filled().len();
        match outcome {
            Poll::Pending => Read::Blocked,
            Poll::Ready(Ok(())) if read > 0 => {
                let length = self.partial.len() + read;
                self.partial.clear();
                let start = batch.occupy_slot();
                Read::Octets(start..start + length)
            }
            Poll::Ready(_) => Read::Ended,
        }
    }

    /// Finds the first message in received octets, or stores the octets as the beginning of one.
    pub(crate) fn next_message(&mut self, octets: &[u8], now: Instant) -> NextMessage {
        // Before its first STUN message a client has no channel, and the methods of HTTP look like
        // ChannelData.
        let is_stun = |first: &u8| PacketKind::of(*first) == PacketKind::Stun;
        let may_begin = self.has_received_message || octets.first().is_none_or(is_stun);
        match stream::frame(octets) {
            Ok(Some(length)) if may_begin && length <= octets.len() => {
                self.active = now;
                self.has_received_message = true;
                NextMessage::Complete(length)
            }
            Ok(_) if may_begin => {
                self.store_partial(octets);
                NextMessage::Incomplete
            }
            Ok(_) | Err(_) => NextMessage::Malformed,
        }
    }

    /// Stores the beginning of a message for the next read.
    pub(crate) fn store_partial(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(octets);
        }
    }

    /// Queues a relayed payload behind its header, unless more than `limit` octets would be unread
    /// then.
    pub(crate) fn queue_payload(
        &mut self,
        header: &PayloadHeader,
        payload: &[u8],
        limit: usize,
        pool: &mut BufferPool,
    ) -> Queued {
        let length = header.octets().len() + payload.len();
        if self.unread_output() + padded(length) > limit {
            return Queued::OutputFull;
        }
        self.prepare_output(pool);
        self.output.extend_from_slice(header.octets());
        self.output.extend_from_slice(payload);
        // RFC 8656 §12.5: over a stream ChannelData is padded too. The payload of a Data indication
        // always is.
        self.output
            .extend_from_slice([0; 3].get(..padded(length) - length).unwrap_or_default());
        Queued::Yes
    }

    /// Queues a complete message, unless more than `limit` octets would be unread then.
    pub(crate) fn queue_message(
        &mut self,
        message: &[u8],
        limit: usize,
        pool: &mut BufferPool,
    ) -> Queued {
        if self.unread_output() + message.len() > limit {
            return Queued::OutputFull;
        }
        self.prepare_output(pool);
        self.output.extend_from_slice(message);
        Queued::Yes
    }

    /// Writes output as far as the client reads it; returns the number of writes.
    ///
    /// # Errors
    /// The connection failed.
    pub(crate) fn flush(&mut self, pool: &mut BufferPool) -> io::Result<u64> {
        self.is_dirty = false;
        let mut writes = 0;
        let mut cx = Context::from_waker(&self.waker);
        while let Some(rest) = self
            .output
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            let outcome = match &mut self.stream {
                Stream::Tls(stream) => write_records(stream, rest, &mut self.unsealed, &mut cx),
                stream => Pin::new(stream).poll_write(&mut cx, rest),
            };
            match outcome {
                Poll::Pending => return Ok(writes),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.written += written?,
            }
            writes += 1;
        }
        self.written = 0;
        pool.put(std::mem::take(&mut self.output));
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(&mut cx) {
            return Err(error);
        }
        Ok(writes)
    }

    /// Returns true if the octets of the client arrive inside TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        !matches!(self.stream, Stream::Tcp(_))
    }

    pub(crate) fn is_in_handshake(&self) -> bool {
        self.handshake.is_some()
    }

    /// When the connection is to be closed unless a message arrives.
    pub(crate) fn idle_deadline(&self, limits: &ConnectionLimits) -> Instant {
        match &self.handshake {
            Some(handshake) => handshake.started + limits.handshakes.timeout,
            None => self.active + limits.idle_timeout,
        }
    }

    pub(crate) fn start_handshake(
        &mut self,
        permit: HandshakePermit,
        now: Instant,
        accept: impl FnOnce(TcpStream) -> TlsHandshake,
    ) {
        if let Stream::Tcp(stream) = std::mem::replace(&mut self.stream, Stream::Closed) {
            self.stream = Stream::Handshake(Box::new(accept(stream)));
            self.handshake = Some(Handshake {
                started: now,
                _permit: permit,
            });
        }
    }

    pub(crate) fn poll_handshake(&mut self, now: Instant) -> HandshakeState {
        let Stream::Handshake(handshake) = &mut self.stream else {
            return HandshakeState::NotInProgress;
        };
        match Pin::new(handshake.as_mut()).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Pending => HandshakeState::InProgress,
            Poll::Ready(Err(error)) => {
                tracing::debug!(client = %self.client.five_tuple.client, %error, "TLS handshake failed");
                self.stream = Stream::Closed;
                HandshakeState::Failed
            }
            Poll::Ready(Ok(mut stream)) => {
                stream.get_mut().0.lift_limit();
                let server_name = stream.get_ref().1.server_name().map(str::to_owned);
                let is_acme_validation = is_acme_validation(&stream);
                self.stream = Stream::Tls(Box::new(stream));
                self.handshake = None;
                self.active = now;
                self.client.five_tuple.transport = Transport::Tls;
                HandshakeState::Completed {
                    server_name,
                    is_acme_validation,
                }
            }
        }
    }

    /// Sends a TLS close_notify. The connection is closed when it is dropped.
    pub(crate) fn shut_down(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            // The alert is dropped if the socket's send buffer is full.
            let _ = Pin::new(stream.as_mut()).poll_shutdown(&mut Context::from_waker(&self.waker));
        }
    }

    /// The stream, and the output that is not written yet.
    pub(crate) fn into_parts(mut self) -> (Stream, Vec<u8>) {
        self.output.drain(..self.written);
        (self.stream, self.output)
    }

    fn unread_output(&self) -> usize {
        self.output.len() - self.written
    }

    fn prepare_output(&mut self, pool: &mut BufferPool) {
        if self.output.capacity() == 0 {
            self.output = pool.get();
        } else if self.written > self.output.len() / 2 {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Seals messages into TLS records, one message in each, as far as rustls has room for them, and
/// writes all records at once; returns the number of sealed octets. Some clients (coturn's) expect
/// one message in each record. `unsealed` is the rest of a message that did not fit the last time.
fn write_records(
    stream: &mut TlsStream,
    messages: &[u8],
    unsealed: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut sealed = 0;
    while let Some(rest) = messages.get(sealed..).filter(|rest| !rest.is_empty()) {
        let length = match *unsealed {
            0 => stream::frame(rest).ok().flatten().unwrap_or(rest.len()),
            rest => rest,
        };
        let message = rest.get(..length).unwrap_or(rest);
        let written = stream.get_mut().1.writer().write(message)?;
        sealed += written;
        *unsealed = message.len() - written;
        if *unsealed > 0 {
            break;
        }
    }
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending if sealed == 0 => Poll::Pending,
        // The flush made room: seal more in the next iteration.
        Poll::Ready(Ok(())) if sealed == 0 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(sealed)),
    }
}

/// Spare output buffers: a connection without unread output holds none.
#[derive(Default)]
pub(crate) struct BufferPool {
    buffers: Vec<Vec<u8>>,
}

impl BufferPool {
    fn get(&mut self) -> Vec<u8> {
        self.buffers
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(INITIAL_CAPACITY))
    }

    fn put(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= MAX_POOLED_CAPACITY && self.buffers.len() < MAX_POOLED {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}

/// Octets.
const INITIAL_CAPACITY: usize = 4 << 10;
/// Octets; larger buffers are freed.
const MAX_POOLED_CAPACITY: usize = 256 << 10;
const MAX_POOLED: usize = 64;
