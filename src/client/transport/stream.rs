//! Whole STUN messages and ChannelData on a byte stream, TCP or TLS. RFC 8656 §12.5.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::Mutex;

use crate::wire::stream::frame;

/// A byte stream that is written and read in messages.
pub(crate) struct MessageStream {
    reader: Mutex<Reader>,
    writer: Mutex<WriteHalf<Box<dyn ByteStream>>>,
}

struct Reader {
    half: ReadHalf<Box<dyn ByteStream>>,
    /// Octets received that are not yet a whole message. Kept here so that a cancelled receive
    /// loses nothing.
    buffer: Vec<u8>,
}

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

impl MessageStream {
    pub(crate) fn new(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> MessageStream {
        let (half, writer) = split(Box::new(stream) as Box<dyn ByteStream>);
        let reader = Reader {
            half,
            buffer: Vec::new(),
        };
        MessageStream {
            reader: Mutex::new(reader),
            writer: Mutex::new(writer),
        }
    }

    /// Sends one message, padded to a multiple of four octets: ChannelData needs it, a STUN message
    /// has that length already.
    pub(crate) async fn send(&self, message: &[u8]) -> io::Result<()> {
        let padding = message.len().wrapping_neg() & 3;
        let mut writer = self.writer.lock().await;
        writer.write_all(message).await?;
        writer
            .write_all([0; 3].get(..padding).unwrap_or_default())
            .await?;
        writer.flush().await
    }

    /// Receives one message with its padding.
    pub(crate) async fn receive(&self) -> io::Result<Vec<u8>> {
        let Reader { half, buffer } = &mut *self.reader.lock().await;
        loop {
            let length = frame(buffer)
                .map_err(|malformed| io::Error::new(io::ErrorKind::InvalidData, malformed))?;
            if let Some(length) = length.filter(|length| *length <= buffer.len()) {
                let rest = buffer.split_off(length);
                return Ok(std::mem::replace(buffer, rest));
            }
            if half.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
