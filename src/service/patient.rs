//! A stream to somebody who has to read: what is written to it must get away in time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream whose writes fail once nothing of them has got away for a time: who asks and never reads must not keep a
/// connection. Reads are as they were.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since when nothing gets away; none while something does.
    stuck: Option<Pin<Box<Sleep>>>,
    endless: Endless,
}

/// Ends the patience of a stream that has become something with rules of its own.
#[derive(Clone, Default)]
pub struct Endless(Arc<AtomicBool>);

impl Endless {
    /// From here on the stream waits as long as it takes.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<S> Patient<S> {
    /// `stream`, with so much patience for whoever is to read.
    pub fn new(stream: S, patience: Duration) -> Patient<S> {
        Patient {
            stream,
            patience,
            stuck: None,
            endless: Endless::default(),
        }
    }

    /// What ends its patience.
    pub fn endless(&self) -> Endless {
        self.endless.clone()
    }

    /// Passes on what came of a write, unless it has been waited for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.endless.0.load(Ordering::Relaxed) {
            self.stuck = None;
            return written;
        }
        let patience = self.patience;
        ready!(
            self.stuck
                .get_or_insert_with(|| Box::pin(sleep(patience)))
                .as_mut()
                .poll(cx)
        );
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "nothing of an answer is read",
        )))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, octets);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_write_fails_that_nobody_takes() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = Patient::new(near, Duration::from_millis(20));
        patient.write_all(b"four").await.unwrap();
        assert_eq!(
            patient.write_all(b"more").await.unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();
        patient.write_all(b"more").await.unwrap();
    }

    #[tokio::test]
    async fn without_an_end_it_waits() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = Patient::new(near, Duration::ZERO);
        patient.endless().set();
        let written = tokio::spawn(async move { patient.write_all(b"eight oc").await });
        let mut read = [0; 8];
        tokio::task::yield_now().await;
        far.read_exact(&mut read).await.unwrap();
        written.await.unwrap().unwrap();
    }
}
