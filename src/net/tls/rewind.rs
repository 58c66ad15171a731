//! A stream some of whose octets were already read: by the code that distinguishes TLS from STUN,
//! or in advance for a reader that asks for few octets at a time.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that first returns octets which were read from it before.
#[derive(Debug)]
pub struct Rewind<S> {
    /// Octets that were read from `stream`; `next..end` have not been returned.
    prefix: Vec<u8>,
    next: usize,
    end: usize,
    /// Octets that may still be returned; `None` for any number.
    limit: Option<usize>,
    read_ahead: bool,
    stream: S,
}

impl<S> Rewind<S> {
    /// Returns `prefix`, then what `stream` returns.
    pub fn new(prefix: Vec<u8>, stream: S) -> Rewind<S> {
        Rewind {
            end: prefix.len(),
            prefix,
            next: 0,
            limit: None,
            read_ahead: false,
            stream,
        }
    }

    /// Makes reading fail after `octets` octets, the prefix included. Bounds what an
    /// unauthenticated client can make the server buffer: rustls collects a handshake message until
    /// it is complete.
    #[must_use]
    pub fn with_limit(self, octets: usize) -> Self {
        Rewind {
            limit: Some(octets),
            ..self
        }
    }

    /// Removes the limit.
    pub fn lift_limit(&mut self) {
        self.limit = None;
    }

    /// Reads up to 64 KiB at once from the stream, even if the reader asks for fewer octets. rustls
    /// asks for 4 KiB, which would take a system call for every three packets.
    #[must_use]
    pub fn with_read_ahead(self) -> Self {
        Rewind {
            read_ahead: true,
            ..self
        }
    }

    /// Reads into the thread's scratch memory and returns as much as fits into `buffer`. If octets
    /// are left, the connection keeps the scratch memory until they have been returned, and the
    /// thread allocates another.
    fn read_ahead(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut scratch = SCRATCH.take();
        scratch.resize(READ_AHEAD, 0);
        let length = self.limit.unwrap_or(READ_AHEAD).min(READ_AHEAD);
        let mut ahead = ReadBuf::new(scratch.get_mut(..length).unwrap_or_default());
        let outcome = Pin::new(&mut self.stream).poll_read(cx, &mut ahead);
        (self.next, self.end) = (0, ahead.filled().len());
        self.prefix = scratch;
        self.read_prefix(buffer);
        outcome
    }

    fn read_prefix(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = self.prefix.get(self.next..self.end).unwrap_or_default();
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        self.next += length;
        if self.next >= self.end {
            let prefix = std::mem::take(&mut self.prefix);
            // The first prefix came from the caller and is of another size.
            if prefix.len() == READ_AHEAD {
                SCRATCH.set(prefix);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewind<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.limit == Some(0) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the handshake exceeds its size limit",
            )));
        }
        if self.prefix.is_empty() {
            let read = if self.read_ahead {
                self.read_ahead(cx, buffer)
            } else {
                Pin::new(&mut self.stream).poll_read(cx, buffer)
            };
            match read {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return read,
            }
        } else {
            self.read_prefix(buffer);
        }
        let length = buffer.filled().len() - before;
        self.limit = self.limit.map(|limit| limit.saturating_sub(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewind<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

thread_local! {
    /// Memory to read ahead into. Shared by a thread's connections, so that an idle connection
    /// holds none.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Octets that are read ahead at most.
const READ_AHEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(stream: &mut Rewind<&[u8]>, room: usize) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; room];
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(outcome) => outcome.map(|()| buffer.filled().to_vec()),
            Poll::Pending => panic!("a slice is always ready"),
        }
    }

    #[test]
    fn the_prefix_comes_first_and_counts_toward_the_limit() {
        let mut stream = Rewind::new(b"abc".to_vec(), &b"defgh"[..]).with_limit(6);
        assert_eq!(read(&mut stream, 2).unwrap(), b"ab");
        assert_eq!(read(&mut stream, 8).unwrap(), b"c");
        assert_eq!(read(&mut stream, 4).unwrap(), b"defg");
        assert!(read(&mut stream, 4).is_err());
        stream.lift_limit();
        assert_eq!(read(&mut stream, 4).unwrap(), b"h");
    }

    #[test]
    fn read_ahead_keeps_the_order_and_the_limit_and_frees_its_memory_at_the_end() {
        let octets: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        let mut stream = Rewind::new(Vec::new(), &octets[..])
            .with_limit(10)
            .with_read_ahead();
        assert_eq!(read(&mut stream, 4).unwrap(), &octets[..4]);
        assert_eq!(stream.stream.len(), octets.len() - 10);
        stream.lift_limit();
        let mut all = octets[..4].to_vec();
        while all.len() < octets.len() {
            all.extend(read(&mut stream, 4096).unwrap());
            assert!(stream.end - stream.next <= READ_AHEAD);
        }
        assert_eq!(all, octets);
        assert!(read(&mut stream, 1).unwrap().is_empty());
        assert_eq!(stream.prefix.capacity(), 0);
    }
}
