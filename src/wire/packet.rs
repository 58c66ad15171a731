//! Distinguishing STUN, ChannelData and DTLS by the first octet.

use crate::wire::Malformed;
use crate::wire::channel_data::ChannelData;
use crate::wire::message::Message;

/// The protocol of a datagram, or of a frame of a stream, by its first octet. RFC 7983 §7, RFC 8656
/// §12.
///
/// This is the only place that interprets a first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// STUN and TURN messages: 0 to 3.
    Stun,
    /// DTLS records: 20 to 63.
    Dtls,
    /// ChannelData messages: 64 to 127. RFC 8656 uses 64 to 79, RFC 5766 used all of them.
    ChannelData,
    /// Every other protocol.
    Unknown,
}

impl PacketKind {
    /// The kind of a packet that starts with `first`.
    pub const fn of(first: u8) -> PacketKind {
        match first {
            0..=3 => PacketKind::Stun,
            20..=63 => PacketKind::Dtls,
            64..=127 => PacketKind::ChannelData,
            4..=19 | 128..=255 => PacketKind::Unknown,
        }
    }
}

/// One datagram, or one frame of a stream, parsed in place.
#[derive(Debug)]
pub enum Packet<'a> {
    /// A STUN message whose header and attribute lengths are valid.
    Message(Message<'a>),
    /// Application data on a channel.
    ChannelData(ChannelData<'a>),
    /// A DTLS record, which is not parsed here.
    Dtls,
}

impl<'a> Packet<'a> {
    /// Parses `octets` as the kind of packet that the first octet indicates.
    ///
    /// # Errors
    /// [`Malformed`] if they are of no known kind, or not one complete packet of that kind.
    pub fn classify(octets: &'a [u8]) -> Result<Packet<'a>, Malformed> {
        let first = *octets.first().ok_or(Malformed::Short)?;
        match PacketKind::of(first) {
            PacketKind::Stun => Message::parse(octets).map(Packet::Message),
            PacketKind::Dtls => Ok(Packet::Dtls),
            PacketKind::ChannelData => ChannelData::parse(octets).map(Packet::ChannelData),
            PacketKind::Unknown => Err(Malformed::Unrecognized),
        }
    }
}
