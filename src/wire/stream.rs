//! Framing on TCP and TLS: the length of the next message in a stream. RFC 8489 §6.2.2, RFC 8656
//! §12.5.

use crate::wire::registry::MAGIC_COOKIE;
use crate::wire::{Malformed, channel_data, padded};

/// The length in octets of the message at the start of `stream`, including padding. Returns `None`
/// if more octets are needed to know. The message may be incomplete: compare with `stream.len()`.
///
/// # Errors
/// [`Malformed`] if the octets cannot begin a message. The connection must then be closed, because
/// the start of the next message is unknown.
pub fn frame(stream: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some((&first, _)) = stream.split_first() else {
        return Ok(None);
    };
    let Some(&[n0, n1, l0, l1]) = stream.first_chunk() else {
        return if first < 0x80 {
            Ok(None)
        } else {
            Err(Malformed::Unrecognized)
        };
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    match n0 {
        0..=0x3f => {
            if length % 4 != 0 {
                return Err(Malformed::Length);
            }
            match stream.get(4..8) {
                Some(cookie) if cookie != MAGIC_COOKIE.to_be_bytes() => Err(Malformed::Cookie),
                _ => Ok(Some(20 + length)),
            }
        }
        _ if channel_data::NUMBERS_OF_RFC_5766.contains(&u16::from_be_bytes([n0, n1])) => {
            Ok(Some(padded(channel_data::HEADER + length)))
        }
        _ => Err(Malformed::Unrecognized),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_after_four_octets() {
        let mut message = vec![0, 1, 0, 4];
        message.extend(MAGIC_COOKIE.to_be_bytes());
        message.extend([0; 16]);
        for end in 0..4 {
            assert_eq!(frame(&message[..end]), Ok(None));
        }
        for end in 4..=message.len() {
            assert_eq!(frame(&message[..end]), Ok(Some(24)));
        }
    }

    #[test]
    fn the_length_of_channel_data_includes_padding() {
        assert_eq!(frame(&channel_data::header(0x4000, 5)), Ok(Some(12)));
        assert_eq!(frame(&channel_data::header(0x4fff, 0)), Ok(Some(4)));
    }

    #[test]
    fn other_protocols_are_detected_as_early_as_possible() {
        assert_eq!(frame(b"\xff"), Err(Malformed::Unrecognized));
        assert_eq!(frame(&[0x80, 0, 0, 0]), Err(Malformed::Unrecognized));
        assert_eq!(frame(&[0, 1, 0, 3]), Err(Malformed::Length));
        assert_eq!(frame(&[0, 1, 0, 0, 1, 2, 3, 4]), Err(Malformed::Cookie));
    }
}
