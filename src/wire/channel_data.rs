//! ChannelData messages: a header of four octets, then application data. RFC 8656 §12.4.

use crate::wire::Malformed;
use std::ops::RangeInclusive;

/// A ChannelData message, parsed in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel number, 0x4000 to 0x4FFF, or to 0x7FFF from a client of RFC 5766.
    pub number: u16,
    /// The application data, without padding.
    pub payload: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Parses the message at the start of `octets`. Octets behind it are padding and are ignored
    /// (RFC 8656 §12.5).
    ///
    /// # Errors
    /// [`Malformed::Unrecognized`] for an invalid channel number, [`Malformed::Short`] if there are
    /// fewer octets than the length field says.
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, rest) = octets
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Short)?;
        let [n0, n1, l0, l1] = *header;
        let number = u16::from_be_bytes([n0, n1]);
        if !NUMBERS_OF_RFC_5766.contains(&number) {
            return Err(Malformed::Unrecognized);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let payload = rest.get(..length).ok_or(Malformed::Short)?;
        Ok(ChannelData { number, payload })
    }
}

/// The header of a ChannelData message with `length` octets of payload.
pub const fn header(number: u16, length: u16) -> [u8; HEADER] {
    let [n0, n1] = number.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [n0, n1, l0, l1]
}

/// Octets of the header.
pub const HEADER: usize = 4;
/// The valid channel numbers. RFC 8656 §12.
pub const NUMBERS: RangeInclusive<u16> = 0x4000..=0x4fff;
/// The channel numbers that were valid before. RFC 5766 §11.
pub const NUMBERS_OF_RFC_5766: RangeInclusive<u16> = 0x4000..=0x7fff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_parsed_without_its_padding() {
        let mut octets = header(0x4001, 3).to_vec();
        octets.extend(b"abc\0");
        let read = ChannelData::parse(&octets).unwrap();
        assert_eq!((read.number, read.payload), (0x4001, &b"abc"[..]));
    }

    #[test]
    fn reserved_numbers_and_short_payloads_are_malformed() {
        assert_eq!(
            ChannelData::parse(&header(0x8000, 0)),
            Err(Malformed::Unrecognized)
        );
        assert_eq!(
            ChannelData::parse(&header(0x3fff, 0)),
            Err(Malformed::Unrecognized)
        );
        assert_eq!(
            ChannelData::parse(&header(0x4000, 1)),
            Err(Malformed::Short)
        );
        assert_eq!(ChannelData::parse(&[0x40, 0, 0]), Err(Malformed::Short));
    }
}
