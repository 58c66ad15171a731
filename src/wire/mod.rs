//! The encoding of STUN, TURN and ChannelData messages, without their meaning.
//!
//! Messages are parsed and written in place: a [`Message`] borrows the datagram that contains it, a
//! [`Writer`] appends to a buffer of its caller. Parsing neither allocates nor panics, whatever the
//! octets are; octets that cannot be parsed are [`Malformed`].
//!
//! ```text
//!   stream ─► stream::frame ─┐ one message
//!                            ▼
//!   datagram ────► Packet::classify ─┬─ 0..3 ────► Message ─► attributes ─► attribute (typed values)
//!                    (first octet)   │                │                 └─► integrity (HMAC, CRC)
//!                                    ├─ 64..127 ──► ChannelData ─► number, payload
//!                                    ├─ 20..63 ───► Dtls
//!                                    └─ other ────► Malformed
//!
//!   Writer ─► STUN message          data_indication, channel_data ─► the octets in front of a payload
//! ```
//!
//! [`client_prefix`], the part of an address that identifies a client, is here because every floor
//! above limits clients.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod attribute;
pub mod channel_data;
pub mod client_prefix;
pub mod data_indication;
pub mod integrity;
pub mod message;
pub mod packet;
pub mod registry;
pub mod stream;
pub mod writer;

pub use crate::wire::channel_data::ChannelData;
pub use crate::wire::message::{Message, TransactionId, request_method};
pub use crate::wire::packet::{Packet, PacketKind};
pub use crate::wire::registry::{AttributeType, Class, ErrorCode, Method};
pub use crate::wire::writer::Writer;

/// Why octets could not be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer octets than the header, or than the header's length field says.
    Short,
    /// More octets than the header's length field says.
    Long,
    /// A first octet that belongs to no supported protocol.
    Unrecognized,
    /// No magic cookie: RFC 3489, or another protocol.
    Cookie,
    /// A length that is not a multiple of four, or an attribute that exceeds the message.
    Length,
    /// An attribute after FINGERPRINT.
    AfterFingerprint,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "shorter than its header says",
            Malformed::Long => "longer than its header says",
            Malformed::Unrecognized => "neither STUN nor ChannelData",
            Malformed::Cookie => "no magic cookie",
            Malformed::Length => "an invalid length",
            Malformed::AfterFingerprint => "an attribute after FINGERPRINT",
        })
    }
}

impl std::error::Error for Malformed {}

/// `length` rounded up to the next multiple of four, as attributes and ChannelData on streams are
/// padded.
pub const fn padded(length: usize) -> usize {
    (length + 3) & !3
}
