//! Octets and messages: what STUN, TURN and ChannelData look like on the wire, and nothing about what they mean.
//!
//! Everything here reads in place and writes in place: a [`Message`] borrows the datagram it was found in, a [`Writer`]
//! appends to a buffer that its caller keeps. Nothing allocates, nothing panics, whatever the octets say; what cannot be
//! read is [`Malformed`], with a name.
//!
//! ```text
//!            first two bits          00            01              else
//!   octets ──► Packet::classify ──► Message    ChannelData     Other (DTLS, TLS, noise)
//!                                      │            │
//!                                 attributes    number, payload        stream: where one ends on TCP
//!                                      │
//!                     attribute (typed values), integrity (who wrote it)
//! ```
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

/// Why octets could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Fewer octets than a header has, or than the header promises.
    Short,
    /// More octets than the header promises.
    Long,
    /// A first octet that belongs to no protocol we speak.
    Unrecognized,
    /// The magic cookie is missing: RFC 3489, or noise.
    Cookie,
    /// A length that is not a multiple of four, or an attribute that runs over the end.
    Length,
    /// An attribute after FINGERPRINT.
    AfterFingerprint,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Short => "shorter than its header promises",
            Malformed::Long => "longer than its header promises",
            Malformed::Unrecognized => "neither STUN nor ChannelData",
            Malformed::Cookie => "no magic cookie",
            Malformed::Length => "a length that does not fit",
            Malformed::AfterFingerprint => "an attribute after FINGERPRINT",
        })
    }
}

impl std::error::Error for Malformed {}

/// `length` rounded up to the next multiple of four, as attributes and ChannelData on streams are padded.
pub const fn padded(length: usize) -> usize {
    (length + 3) & !3
}
