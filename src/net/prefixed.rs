//! A stream some of whose octets were read already.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that first gives what was read of it before, and that may be read only so far.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Vec<u8>,
    taken: usize,
    allowance: Option<usize>,
    stream: S,
}

impl<S> Prefixed<S> {
    /// `prefix`, then what `stream` gives; after `allowance` octets in all (`None`: never) reading fails.
    pub fn new(prefix: Vec<u8>, stream: S, allowance: Option<usize>) -> Prefixed<S> {
        Prefixed { prefix, taken: 0, allowance, stream }
    }

    /// Lets it be read without end from here on.
    pub fn trust(&mut self) {
        self.allowance = None;
    }

    fn give_prefix(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = self.prefix.get(self.taken..).unwrap_or_default();
        let given = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..given).unwrap_or_default());
        self.taken += given;
        if self.taken >= self.prefix.len() {
            self.prefix = Vec::new();
            self.taken = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.allowance == Some(0) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a handshake without end")));
        }
        if self.prefix.is_empty() {
            match Pin::new(&mut self.stream).poll_read(cx, buffer) {
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

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn read(stream: &mut Prefixed<&[u8]>, room: usize) -> io::Result<Vec<u8>> {
        let mut octets = vec![0; room];
        let mut buffer = ReadBuf::new(&mut octets);
        match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(outcome) => outcome.map(|()| buffer.filled().to_vec()),
            Poll::Pending => panic!("a slice is always ready"),
        }
    }

    #[test]
    fn the_prefix_comes_first_and_the_allowance_ends_it() {
        let mut stream = Prefixed::new(b"abc".to_vec(), &b"defgh"[..], Some(6));
        assert_eq!(read(&mut stream, 2).unwrap(), b"ab");
        assert_eq!(read(&mut stream, 8).unwrap(), b"c");
        assert_eq!(read(&mut stream, 4).unwrap(), b"defg");
        assert!(read(&mut stream, 4).is_err());
        stream.trust();
        assert_eq!(read(&mut stream, 4).unwrap(), b"h");
    }
}
