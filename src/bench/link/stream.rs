//! A link over TCP or TLS: messages queued, written and cut from a non-blocking stream.

use crate::bench::link::nonblocking::ignore_would_block;
use crate::net::{Buffers, SendCounts, Transmit};
use crate::wire::stream;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// A TCP or TLS connection to the server.
pub struct StreamLink {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    /// The beginning of a message whose end has not been received.
    partial: Vec<u8>,
    send_queue: Vec<u8>,
    /// Octets of `send_queue` already written.
    written: usize,
}

impl StreamLink {
    /// Connects over TCP.
    pub(super) fn connect(server: SocketAddr, timeout: Duration) -> io::Result<StreamLink> {
        let socket = TcpStream::connect_timeout(&server, timeout)?;
        socket.set_nodelay(true)?;
        StreamLink::new(socket, None)
    }

    /// Connects over TLS; `host` is the name that the client asks for.
    pub(super) fn connect_tls(
        server: SocketAddr,
        host: &str,
        config: &Arc<ClientConfig>,
        timeout: Duration,
    ) -> io::Result<StreamLink> {
        let mut socket = TcpStream::connect_timeout(&server, timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(timeout))?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        StreamLink::new(socket, Some(tls))
    }

    fn new(socket: TcpStream, tls: Option<ClientConnection>) -> io::Result<StreamLink> {
        socket.set_nonblocking(true)?;
        Ok(StreamLink {
            socket,
            tls,
            partial: Vec::new(),
            send_queue: Vec::new(),
            written: 0,
        })
    }

    pub(super) fn send(&mut self, frames: &[Transmit], buffers: Buffers<'_>) -> SendCounts {
        let mut counts = SendCounts::default();
        for frame in frames {
            if self.send_queue.len() - self.written > SEND_QUEUE_LIMIT {
                counts.buffer_full += 1;
                continue;
            }
            self.send_queue
                .extend_from_slice(buffers.get(frame.payload));
            counts.datagrams += 1;
        }
        // An error of the connection shows at the next receive.
        let _ = self.flush();
        counts
    }

    /// Receives what fits into `octets`, and passes each message to `each`. Returns true once
    /// nothing is left.
    pub(super) fn receive(
        &mut self,
        octets: &mut [u8],
        each: &mut impl FnMut(&[u8]),
    ) -> io::Result<bool> {
        self.flush()?;
        let partial = self.partial.len();
        octets[..partial].copy_from_slice(&self.partial);
        let (read, drained) = self.read(&mut octets[partial..])?;
        let mut rest = &octets[..partial + read];
        while let Some(length) = stream::frame(rest).map_err(io::Error::other)? {
            let Some((message, after)) = rest.split_at_checked(length) else {
                break;
            };
            each(message);
            rest = after;
        }
        self.partial.clear();
        self.partial.extend_from_slice(rest);
        Ok(drained)
    }

    /// Writes until the queue is empty or the socket is full.
    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.write();
        if self.written == self.send_queue.len() || self.written > SEND_QUEUE_LIMIT {
            self.send_queue.drain(..self.written);
            self.written = 0;
        }
        outcome
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            while self.written < self.send_queue.len() {
                match self.socket.write(&self.send_queue[self.written..]) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => self.written += written,
                    Err(error) => return ignore_would_block(error),
                }
            }
            return Ok(());
        };
        loop {
            while tls.wants_write() {
                if let Err(error) = tls.write_tls(&mut self.socket) {
                    return ignore_would_block(error);
                }
            }
            let rest = &self.send_queue[self.written..];
            if rest.is_empty() {
                return Ok(());
            }
            self.written += tls.writer().write(&rest[..rest.len().min(TLS_CHUNK)])?;
        }
    }

    /// Reads what fits into `buffer`: the octets read, and whether nothing is left.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let Some(tls) = &mut self.tls else {
            return match self.socket.read(buffer) {
                Ok(0) => Err(closed()),
                Ok(read) => Ok((read, read < buffer.len())),
                Err(error) => ignore_would_block(error).map(|()| (0, true)),
            };
        };
        let mut filled = 0;
        loop {
            let drained = match tls.read_tls(&mut self.socket) {
                Ok(0) => return Err(closed()),
                Ok(_) => false,
                Err(error) => ignore_would_block(error).map(|()| true)?,
            };
            let decrypted = tls
                .process_new_packets()
                .map_err(io::Error::other)?
                .plaintext_bytes_to_read()
                .min(buffer.len() - filled);
            tls.reader()
                .read_exact(&mut buffer[filled..filled + decrypted])?;
            filled += decrypted;
            if drained || buffer.len() - filled < TLS_READ_ROOM {
                return Ok((filled, drained));
            }
        }
    }
}

impl AsRawFd for StreamLink {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server closed the connection",
    )
}

/// Octets that one receive can take, including a message that began earlier.
pub(super) const RECEIVE_BUFFER: usize = 256 << 10;
/// Octets that may wait for the socket. Beyond it messages are dropped and count as not sent.
const SEND_QUEUE_LIMIT: usize = 256 << 10;
/// Free octets that another read of TLS records may need.
const TLS_READ_ROOM: usize = 64 << 10;
/// Octets encrypted at once: one record.
const TLS_CHUNK: usize = 16 << 10;
