//! The protocol of a connection, detected by its first octet: TLS and TURN share their ports, and
//! TLS may carry HTTP.
//!
//! ```text
//!   accepted ─▶ (PROXY header) ─┬─ 0..3 ──▶ STUN and TURN
//!                               └─ 22 ────▶ TLS ─┬─ 0..3 ──▶ STUN and TURN
//!                                                └─ A..Z ──▶ HTTP: passed to the web service
//! ```
//!
//! ChannelData (64 to 127) cannot be first, because a channel is bound by a STUN message. So an
//! octet from 65 to 90 at the beginning means HTTP, whose methods begin with capital letters.

use crate::wire::PacketKind;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamProtocol {
    Turn,
    Tls,
    Http,
    Unknown,
}

impl StreamProtocol {
    /// Detects the protocol by the first octets; `encrypted` if they were received inside TLS.
    pub(crate) fn of(octets: &[u8], encrypted: bool) -> StreamProtocol {
        let Some(&first) = octets.first() else {
            return StreamProtocol::Turn;
        };
        match (PacketKind::of(first), first) {
            (PacketKind::Stun, _) => StreamProtocol::Turn,
            (PacketKind::Dtls, TLS_HANDSHAKE) if !encrypted => StreamProtocol::Tls,
            (PacketKind::ChannelData, b'A'..=b'Z') if encrypted => StreamProtocol::Http,
            (PacketKind::Dtls | PacketKind::ChannelData | PacketKind::Unknown, _) => {
                StreamProtocol::Unknown
            }
        }
    }
}

/// Returns true if a datagram consists of DTLS records. RFC 7983 §7.
pub(crate) fn is_dtls(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| PacketKind::of(*first) == PacketKind::Dtls)
}

/// The content type of a TLS record that holds handshake messages.
const TLS_HANDSHAKE: u8 = 22;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_octet_tells_the_protocol() {
        for (octets, encrypted, protocol) in [
            (&b"\x00\x01"[..], false, StreamProtocol::Turn),
            (b"\x00\x01", true, StreamProtocol::Turn),
            (b"", false, StreamProtocol::Turn),
            (b"\x16\x03\x01", false, StreamProtocol::Tls),
            (b"\x16\x03\x01", true, StreamProtocol::Unknown),
            (b"GET /", true, StreamProtocol::Http),
            (b"GET /", false, StreamProtocol::Unknown),
            (b"\x40\x00", false, StreamProtocol::Unknown),
            (b"\xff", true, StreamProtocol::Unknown),
        ] {
            let found = StreamProtocol::of(octets, encrypted);
            assert_eq!(found, protocol, "{octets:?} encrypted: {encrypted}");
        }
    }
}
