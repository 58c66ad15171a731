//! Two streams joined: what one end sends the other gets, as fast as it takes it and no faster. RFC 6062 §5.5.

use crate::relay::client::stream::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A client's connection and a peer's, joined. An end that stops sending stops one direction only.
pub(crate) struct Pair {
    client: Stream,
    peer: Stream,
    to_peer: Half,
    to_client: Half,
    waker: Waker,
}

/// One direction. It holds octets only while its reader takes none, and reads no more meanwhile.
#[derive(Default)]
struct Half {
    waiting: Vec<u8>,
    written: usize,
    /// The sender will send no more.
    ended: bool,
    /// So it is, and all that it sent has left.
    done: bool,
    /// The receiver has been told so.
    shut: bool,
    /// Octets carried since they were last asked for.
    carried: u64,
    /// Octets of what waits that are an answer of this server's, and so are not carried.
    answer: usize,
}

/// What a pair came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing more for now; the waker will tell.
    Idle,
    /// There may be more, and the waker will not tell.
    More,
    /// Both directions have ended, or an end has failed: it is to be closed, once whoever has to know does.
    Over,
}

impl Pair {
    /// Joins the two; `to_client` is what the client is owed already.
    pub(crate) fn new(client: Stream, peer: Stream, to_client: Vec<u8>, waker: Waker) -> Pair {
        let owed = Half {
            answer: to_client.len(),
            waiting: to_client,
            ..Half::default()
        };
        Pair {
            client,
            peer,
            to_peer: Half::default(),
            to_client: owed,
            waker,
        }
    }

    /// What the client sent before it was joined.
    pub(crate) fn owe_peer(&mut self, octets: &[u8]) {
        self.to_peer.waiting.extend_from_slice(octets);
    }

    /// Carries what can be carried, by way of `scratch`.
    pub(crate) fn pump(&mut self, scratch: &mut [u8]) -> Progress {
        let mut cx = Context::from_waker(&self.waker);
        let up = self
            .to_peer
            .pump(&mut cx, &mut self.client, &mut self.peer, scratch);
        let down = self
            .to_client
            .pump(&mut cx, &mut self.peer, &mut self.client, scratch);
        let (Ok(up), Ok(down)) = (up, down) else {
            return Progress::Over;
        };
        if self.to_peer.done && self.to_client.done {
            return Progress::Over;
        }
        self.to_peer.shut_down(&mut cx, &mut self.peer);
        self.to_client.shut_down(&mut cx, &mut self.client);
        if up == Progress::Idle && down == Progress::Idle {
            Progress::Idle
        } else {
            Progress::More
        }
    }

    /// Tells both ends that it is over.
    pub(crate) fn close(mut self) {
        // What has not left by now belongs to an end that has failed.
        let mut cx = Context::from_waker(Waker::noop());
        for end in [&mut self.client, &mut self.peer] {
            let _ = Pin::new(end).poll_shutdown(&mut cx);
        }
    }

    /// Octets carried to the peer and to the client since this was last asked.
    pub(crate) fn take_carried(&mut self) -> (u64, u64) {
        (
            std::mem::take(&mut self.to_peer.carried),
            std::mem::take(&mut self.to_client.carried),
        )
    }
}

impl Half {
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
        scratch: &mut [u8],
    ) -> io::Result<Progress> {
        for _ in 0..ROUNDS {
            if !self.write_waiting(cx, to)? {
                return Ok(Progress::Idle);
            }
            if self.ended {
                self.done = Pin::new(&mut *to).poll_flush(cx)?.is_ready();
                return Ok(Progress::Idle);
            }
            let mut buffer = ReadBuf::new(scratch);
            if Pin::new(&mut *from)
                .poll_read(cx, &mut buffer)?
                .is_pending()
            {
                let _ = Pin::new(&mut *to).poll_flush(cx)?;
                return Ok(Progress::Idle);
            }
            self.ended = buffer.filled().is_empty();
            self.carry(cx, to, buffer.filled())?;
        }
        Ok(Progress::More)
    }

    /// Writes what waits; `false` when the receiver takes no more for now.
    fn write_waiting(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> io::Result<bool> {
        while let Some(rest) = self
            .waiting
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match Pin::new(&mut *to).poll_write(cx, rest)? {
                Poll::Pending => return Ok(false),
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.written += count;
                    let answered = count.min(self.answer);
                    self.answer -= answered;
                    self.carried += (count - answered) as u64;
                }
            }
        }
        if self.waiting.capacity() > 0 {
            self.waiting = Vec::new();
            self.written = 0;
        }
        Ok(true)
    }

    /// Writes what was just read, and keeps what the receiver does not take.
    fn carry(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut Stream,
        mut octets: &[u8],
    ) -> io::Result<()> {
        while !octets.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, octets)? {
                Poll::Pending => {
                    self.waiting.extend_from_slice(octets);
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

    /// Tells the receiver that nothing more will come, if so it is.
    fn shut_down(&mut self, cx: &mut Context<'_>, to: &mut Stream) {
        // An end that is gone already needs not be told.
        if self.done && !self.shut && Pin::new(to).poll_shutdown(cx).is_ready() {
            self.shut = true;
        }
    }
}

/// Reads of one direction before others have their turn.
const ROUNDS: usize = 4;
