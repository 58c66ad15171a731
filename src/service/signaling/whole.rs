//! A WebSocket's octets as they come in, watched for messages that are begun and never end.
//!
//! What has come of a message waits in memory until it is whole, and pongs between its fragments are signs of life: only
//! who looks at the frames (RFC 6455 section 5.2) can tell that somebody stays for the memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A stream of a client's frames that fails ([`io::ErrorKind::TimedOut`]) once more comes after a message that was begun
/// has not ended within a time. Where nothing more comes, that is silence, which is somebody else's.
pub struct Whole<S> {
    stream: S,
    within: Duration,
    frames: Frames,
    /// When the message began that is not whole.
    begun: Option<Instant>,
}

impl<S> Whole<S> {
    /// `stream`, from its first frame on, with so much time for each message.
    pub fn new(stream: S, within: Duration) -> Whole<S> {
        Whole {
            stream,
            within,
            frames: Frames::default(),
            begun: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Whole<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let ended = self
            .frames
            .take(into.filled().get(before..).unwrap_or_default());
        let now = Instant::now();
        let begun = self.begun.filter(|_| !ended).unwrap_or(now);
        self.begun = self.frames.is_within().then_some(begun);
        match self.begun {
            Some(begun) if now.duration_since(begun) > self.within => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Whole<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How far a stream of frames has come. What is no frame is for the WebSocket to find.
#[derive(Default)]
struct Frames {
    /// The head of the frame that comes, as far as it has.
    head: Vec<u8>,
    /// How much of its payload is still to come; none while the head does.
    payload: Option<u64>,
    /// Frames have come of a message whose last one has not.
    fragments: bool,
}

impl Frames {
    /// Goes on by what was read; tells whether a message ended in it.
    fn take(&mut self, mut octets: &[u8]) -> bool {
        let mut ended = false;
        loop {
            match self.payload {
                None => match octets.split_first() {
                    Some((octet, rest)) => {
                        self.head.push(*octet);
                        octets = rest;
                        self.payload = payload(&self.head);
                    }
                    None => return ended,
                },
                Some(0) => ended |= self.end(),
                Some(_) if octets.is_empty() => return ended,
                Some(left) => {
                    let taken = octets
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.payload = Some(left - taken as u64);
                    octets = octets.get(taken..).unwrap_or_default();
                }
            }
        }
    }

    /// Ends a frame; tells whether that ends a message. A control frame comes between those of one.
    fn end(&mut self) -> bool {
        let first = self.head.first().copied().unwrap_or_default();
        self.head.clear();
        self.payload = None;
        if first & CONTROL != 0 {
            return false;
        }
        self.fragments = first & LAST == 0;
        !self.fragments
    }

    /// Whether something has begun that has not ended.
    fn is_within(&self) -> bool {
        self.fragments || !self.head.is_empty()
    }
}

/// How long the payload is of the frame with this head; none while that is not whole.
fn payload(head: &[u8]) -> Option<u64> {
    let (second, rest) = head.get(1..)?.split_first()?;
    let (length, rest) = match second & 0x7f {
        126 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    (second & MASKED == 0 || rest.len() >= MASK).then_some(length)
}

/// The bit of a frame's first octet that it is the last of its message.
const LAST: u8 = 0x80;
/// The bit that it is no part of one.
const CONTROL: u8 = 0x08;
/// The bit of the second octet that the payload is masked, by so many octets before it.
const MASKED: u8 = 0x80;
const MASK: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A masked frame.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(MASKED | length as u8),
            126..65_536 => {
                frame.extend([&[MASKED | 126][..], &(length as u16).to_be_bytes()].concat())
            }
            _ => frame.extend([&[MASKED | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        frame.extend(vec![0xff; MASK + length]);
        frame
    }

    #[test]
    fn a_message_is_whole_with_its_last_octet_however_it_is_cut() {
        let (text, begin, go_on, end, pong) = (0x81, 0x01, 0x00, 0x80, 0x8a);
        for (sent, whole) in [
            (vec![frame(text, 0)], true),
            (
                vec![frame(text, 125), frame(text, 126), frame(text, 70_000)],
                true,
            ),
            (vec![frame(begin, 5)], false),
            (
                vec![
                    frame(begin, 5),
                    frame(pong, 0),
                    frame(go_on, 300),
                    frame(pong, 3),
                ],
                false,
            ),
            (
                vec![
                    frame(begin, 5),
                    frame(pong, 0),
                    frame(go_on, 300),
                    frame(end, 0),
                ],
                true,
            ),
            (vec![frame(pong, 7)], true),
        ] {
            let octets = sent.concat();
            for piece in [1, 7, 4096, octets.len()] {
                let mut frames = Frames::default();
                octets
                    .chunks(piece)
                    .for_each(|octets| _ = frames.take(octets));
                assert_eq!(!frames.is_within(), whole, "{sent:.20?} by {piece}");
            }
            let mut frames = Frames::default();
            frames.take(&octets[..octets.len() - 1]);
            assert!(frames.is_within(), "all but an octet");
        }
    }

    #[tokio::test]
    async fn pongs_keep_no_message_that_does_not_end() {
        for (within, kept) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
            let (mut near, far) = tokio::io::duplex(1024);
            let mut whole = Whole::new(far, within);
            let mut read = [0; 64];
            near.write_all(&frame(0x01, 5)).await.unwrap();
            assert!(whole.read(&mut read).await.is_ok());
            near.write_all(&[frame(0x80, 5), frame(0x01, 5)].concat())
                .await
                .unwrap();
            assert!(
                whole.read(&mut read).await.is_ok(),
                "one has ended, and the next begins"
            );
            near.write_all(&frame(0x8a, 0)).await.unwrap();
            let last = whole.read(&mut read).await.map_err(|error| error.kind());
            assert_eq!(
                last,
                if kept {
                    Ok(6)
                } else {
                    Err(io::ErrorKind::TimedOut)
                }
            );
        }
    }
}
