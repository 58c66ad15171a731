//! Telling STUN, ChannelData and DTLS apart by the first octet.

use crate::wire::Malformed;
use crate::wire::channel_data::ChannelData;
use crate::wire::message::Message;

/// What one datagram, or one frame of a stream, is. RFC 7983 §7 and RFC 8656 §12: the first octet tells.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A STUN message, well-formed down to its attributes' lengths.
    Message(Message<'a>),
    /// Application data on a channel.
    ChannelData(ChannelData<'a>),
    /// A DTLS record (first octet 20 to 63).
    Dtls,
}

impl<'a> Packet<'a> {
    /// Tells what `octets` are by their first octet and reads them as that.
    ///
    /// # Errors
    /// [`Malformed`] when they are none of the three, or not a whole one.
    pub fn classify(octets: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        match octets.first() {
            None => Err(Malformed::Short),
            Some(0..=3) => Message::parse(octets).map(Packet::Message),
            Some(20..=63) => Ok(Packet::Dtls),
            Some(64..=127) => ChannelData::parse(octets).map(Packet::ChannelData),
            Some(_) => Err(Malformed::Unrecognized),
        }
    }
}
