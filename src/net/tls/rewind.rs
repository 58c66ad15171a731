//! A stream some of whose octets were read already: by who told what it is, or ahead of who asks for few at a time.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that first gives what was read of it before, and that may be read only so far.
#[derive(Debug)]
pub struct Rewind<S> {
    /// What was read and not yet given: `taken..end` of it.
    prefix: Vec<u8>,
    taken: usize,
    end: usize,
    allowance: Option<usize>,
    ahead: bool,
    stream: S,
}

impl<S> Rewind<S> {
    /// `prefix`, then what `stream` gives; after `allowance` octets in all (`None`: never) reading fails.
    pub fn new(prefix: Vec<u8>, stream: S, allowance: Option<usize>) -> Rewind<S> {
        Rewind {
            end: prefix.len(),
            prefix,
            taken: 0,
            allowance,
            ahead: false,
            stream,
        }
    }

    /// Reads as much as there is at once, however little is asked for. rustls asks for 4 KiB: a call for every three packets.
    #[must_use]
    pub fn with_read_ahead(self) -> Self {
        Rewind {
            ahead: true,
            ..self
        }
    }

    /// Lets it be read without end from here on.
    pub fn lift_limit(&mut self) {
        self.allowance = None;
    }

    /// Reads what the kernel has into the thread's scratch and gives what there is room for. Where more is left, the scratch
    /// stays here until that has been given too.
    fn read_ahead(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
    {
        let mut scratch = SCRATCH.take();
        scratch.resize(AHEAD, 0);
        let most = self.allowance.unwrap_or(AHEAD).min(AHEAD);
        let mut ahead = ReadBuf::new(scratch.get_mut(..most).unwrap_or_default());
        let outcome = Pin::new(&mut self.stream).poll_read(cx, &mut ahead);
        (self.taken, self.end) = (0, ahead.filled().len());
        self.prefix = scratch;
        self.give_prefix(buffer);
        outcome
    }

    fn give_prefix(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = self.prefix.get(self.taken..self.end).unwrap_or_default();
        let given = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..given).unwrap_or_default());
        self.taken += given;
        if self.taken >= self.end {
            let empty = std::mem::take(&mut self.prefix);
            if empty.len() == AHEAD {
                SCRATCH.set(empty);
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
        if self.allowance == Some(0) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a handshake without end",
            )));
        }
        if self.prefix.is_empty() {
            let read = match self.ahead {
                true => self.read_ahead(cx, buffer),
                false => Pin::new(&mut self.stream).poll_read(cx, buffer),
            };
            match read {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        } else {
            self.give_prefix(buffer);
        }
        let read = buffer.filled().len() - before;
        self.allowance = self.allowance.map(|left| left.saturating_sub(read));
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
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
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
    /// What is read ahead lands here, so that connections hold memory only while they have something.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Octets read ahead at most.
const AHEAD: usize = 64 << 10;

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
    fn the_prefix_comes_first_and_the_allowance_ends_it() {
        let mut stream = Rewind::new(b"abc".to_vec(), &b"defgh"[..], Some(6));
        assert_eq!(read(&mut stream, 2).unwrap(), b"ab");
        assert_eq!(read(&mut stream, 8).unwrap(), b"c");
        assert_eq!(read(&mut stream, 4).unwrap(), b"defg");
        assert!(read(&mut stream, 4).is_err());
        stream.lift_limit();
        assert_eq!(read(&mut stream, 4).unwrap(), b"h");
    }

    #[test]
    fn what_was_read_ahead_comes_in_order_and_a_handshake_reads_no_further_than_it_may() {
        let octets: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        let mut stream = Rewind::new(Vec::new(), &octets[..], Some(10)).with_read_ahead();
        assert_eq!(read(&mut stream, 4).unwrap(), &octets[..4]);
        assert_eq!(
            stream.stream.len(),
            octets.len() - 10,
            "not more than the allowance"
        );
        stream.lift_limit();
        let mut all = octets[..4].to_vec();
        while all.len() < octets.len() {
            all.extend(read(&mut stream, 4096).unwrap());
            assert!(stream.end - stream.taken <= AHEAD);
        }
        assert_eq!(all, octets);
        assert!(
            read(&mut stream, 1).unwrap().is_empty() && stream.prefix.capacity() == 0,
            "the end"
        );
    }
}
