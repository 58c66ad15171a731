//! A deadline for each WebSocket message, from its first octet to its last.
//!
//! The fragments of an unfinished message are buffered until the last one arrives. Pongs may come
//! between them and keep the connection alive, and the WebSocket library reports only complete
//! messages; without this deadline a client could hold that memory for as long as it answers pings.
//! Only the frame headers (RFC 6455 section 5.2) show that a message has begun, so this stream
//! reads them on their way to the library.

use std::io;
use std::io::Cursor;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// A stream of frames. Reading fails with [`io::ErrorKind::TimedOut`] when octets arrive while a
/// message is unfinished for longer than the limit. A client that sends nothing at all is not its
/// concern.
pub(super) struct MessageDeadline<S> {
    stream: S,
    limit: Duration,
    progress: MessageProgress,
    /// When the unfinished message began.
    begun: Option<Instant>,
}

impl<S> MessageDeadline<S> {
    /// `stream` must be at the start of a frame.
    pub(super) fn new(stream: S, limit: Duration) -> MessageDeadline<S> {
        MessageDeadline {
            stream,
            limit,
            progress: MessageProgress::default(),
            begun: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MessageDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        let finished = self.progress.advance(read);
        let now = Instant::now();
        let begun = self.begun.filter(|_| !finished).unwrap_or(now);
        self.begun = self.progress.is_unfinished().then_some(begun);
        match self.begun {
            Some(begun) if now.duration_since(begun) > self.limit => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MessageDeadline<S> {
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

/// The position in a stream of frames. An invalid frame is left for the WebSocket library to
/// report.
#[derive(Default)]
struct MessageProgress {
    /// The header received so far; empty while a payload is received.
    header: Vec<u8>,
    /// The octets of the payload still to come, and what the end of the payload ends.
    payload: Option<(u64, FrameEnd)>,
    /// Fragments of a message have arrived, and the last one has not.
    fragmented: bool,
}

/// What ends with a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FrameEnd {
    Message,
    Fragment,
    /// A control frame may stand between the fragments of a message.
    Control,
}

impl MessageProgress {
    /// Advances over `octets`; returns true if a message ended in them.
    fn advance(&mut self, mut octets: &[u8]) -> bool {
        let mut finished = false;
        loop {
            match self.payload {
                Some((0, end)) => {
                    self.payload = None;
                    match end {
                        FrameEnd::Message => (self.fragmented, finished) = (false, true),
                        FrameEnd::Fragment => self.fragmented = true,
                        FrameEnd::Control => {}
                    }
                }
                Some((left, end)) => {
                    let skipped = octets
                        .len()
                        .min(usize::try_from(left).unwrap_or(usize::MAX));
                    if skipped == 0 {
                        return finished;
                    }
                    octets = octets.get(skipped..).unwrap_or_default();
                    self.payload = Some((left - skipped as u64, end));
                }
                None => {
                    let Some((octet, rest)) = octets.split_first() else {
                        return finished;
                    };
                    self.header.push(*octet);
                    octets = rest;
                    // An error is an invalid opcode, after which the library closes the connection.
                    let Ok(parsed) = FrameHeader::parse(&mut Cursor::new(&self.header)) else {
                        return finished;
                    };
                    if let Some((header, length)) = parsed {
                        self.header.clear();
                        let end = match header.opcode {
                            OpCode::Control(_) => FrameEnd::Control,
                            OpCode::Data(_) if header.is_final => FrameEnd::Message,
                            OpCode::Data(_) => FrameEnd::Fragment,
                        };
                        self.payload = Some((length, end));
                    }
                }
            }
        }
    }

    /// Returns true if a header, a payload or a fragmented message has begun and not ended.
    fn is_unfinished(&self) -> bool {
        self.fragmented || !self.header.is_empty() || self.payload.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A masked frame.
    fn frame(first: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(0x80 | length as u8),
            126..65_536 => frame.extend([&[0xfe][..], &(length as u16).to_be_bytes()].concat()),
            _ => frame.extend([&[0xff][..], &(length as u64).to_be_bytes()].concat()),
        }
        frame.extend(vec![0xff; 4 + length]);
        frame
    }

    #[test]
    fn a_message_ends_with_its_last_octet_however_the_stream_is_cut() {
        let (text, begin, middle, end, pong) = (0x81, 0x01, 0x00, 0x80, 0x8a);
        for (frames, finished) in [
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
                    frame(middle, 300),
                    frame(pong, 3),
                ],
                false,
            ),
            (
                vec![
                    frame(begin, 5),
                    frame(pong, 0),
                    frame(middle, 300),
                    frame(end, 0),
                ],
                true,
            ),
            (vec![frame(pong, 7)], true),
        ] {
            let octets = frames.concat();
            for size in [1, 7, 4096, octets.len()] {
                let mut progress = MessageProgress::default();
                octets
                    .chunks(size)
                    .for_each(|octets| _ = progress.advance(octets));
                assert_eq!(
                    !progress.is_unfinished(),
                    finished,
                    "{frames:.20?} by {size}"
                );
            }
            let mut progress = MessageProgress::default();
            progress.advance(&octets[..octets.len() - 1]);
            assert!(progress.is_unfinished(), "the last octet is missing");
        }
    }

    #[tokio::test]
    async fn pongs_do_not_extend_the_deadline_of_a_message() {
        for (limit, accepted) in [(Duration::ZERO, false), (Duration::from_secs(60), true)] {
            let (mut near, far) = tokio::io::duplex(1024);
            let mut stream = MessageDeadline::new(far, limit);
            let mut buffer = [0; 64];
            near.write_all(&frame(0x01, 5)).await.unwrap();
            assert!(stream.read(&mut buffer).await.is_ok());
            let next_message = [frame(0x80, 5), frame(0x01, 5)].concat();
            near.write_all(&next_message).await.unwrap();
            assert!(
                stream.read(&mut buffer).await.is_ok(),
                "a new message has a new deadline"
            );
            near.write_all(&frame(0x8a, 0)).await.unwrap();
            let read = stream.read(&mut buffer).await.map_err(|error| error.kind());
            let expected = if accepted {
                Ok(6)
            } else {
                Err(io::ErrorKind::TimedOut)
            };
            assert_eq!(read, expected);
        }
    }
}
