//! Parses STUN messages in place. RFC 8489 §5.

use crate::wire::registry::{AttributeType, Class, MAGIC_COOKIE, Method, method_and_class};
use crate::wire::{Malformed, padded};

/// The 96 bits that identify a transaction. RFC 8489 §5.
pub type TransactionId = [u8; 12];

/// A STUN message with a valid header and valid attribute lengths. The values of the attributes are
/// not checked.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    octets: &'a [u8],
    method: Method,
    class: Class,
    /// Offset of MESSAGE-INTEGRITY's header in words of 4 octets, 0 without one; likewise the next
    /// two. Attributes begin at whole words, and a message over TCP has up to 65,552 octets, whose
    /// offsets exceed 16 bits. Three `usize` would make every packet that is passed around larger.
    integrity: u16,
    integrity_sha256: u16,
    fingerprint: u16,
}

/// The method of a request, by the first two octets alone. Returns `None` for everything but a
/// request.
pub fn request_method(octets: &[u8]) -> Option<Method> {
    let kind = u16::from_be_bytes(*octets.first_chunk::<2>()?);
    let (method, class) = method_and_class(kind);
    (kind < 0x4000 && class == Class::Request).then_some(method)
}

impl<'a> Message<'a> {
    /// Parses a message that fills all of `octets`.
    ///
    /// # Errors
    /// [`Malformed`] if the header does not match the octets, the magic cookie is missing, an
    /// attribute exceeds the message, or FINGERPRINT is not the last attribute (RFC 8489 §14.7).
    pub fn parse(octets: &'a [u8]) -> Result<Self, Malformed> {
        let (header, attributes) = octets
            .split_first_chunk::<HEADER>()
            .ok_or(Malformed::Short)?;
        let [t0, t1, l0, l1, c0, c1, c2, c3, ..] = *header;
        if t0 & 0xc0 != 0 {
            return Err(Malformed::Unrecognized);
        }
        if u32::from_be_bytes([c0, c1, c2, c3]) != MAGIC_COOKIE {
            return Err(Malformed::Cookie);
        }
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if length % 4 != 0 {
            return Err(Malformed::Length);
        }
        match attributes.len() {
            available if available < length => return Err(Malformed::Short),
            available if available > length => return Err(Malformed::Long),
            _ => {}
        }
        let (method, class) = method_and_class(u16::from_be_bytes([t0, t1]));
        let mut message = Message {
            octets,
            method,
            class,
            integrity: 0,
            integrity_sha256: 0,
            fingerprint: 0,
        };
        message.scan(attributes)?;
        Ok(message)
    }

    /// Checks the lengths of all attributes and records the offsets of the integrity attributes.
    fn scan(&mut self, mut rest: &'a [u8]) -> Result<(), Malformed> {
        while !rest.is_empty() {
            let at = ((self.octets.len() - rest.len()) / WORD) as u16;
            let (kind, value, next) = split_attribute(rest).ok_or(Malformed::Length)?;
            if self.fingerprint != 0 {
                return Err(Malformed::AfterFingerprint);
            }
            let slot = match kind {
                AttributeType::MESSAGE_INTEGRITY => &mut self.integrity,
                AttributeType::MESSAGE_INTEGRITY_SHA256 => &mut self.integrity_sha256,
                AttributeType::FINGERPRINT => &mut self.fingerprint,
                _ => {
                    rest = next;
                    continue;
                }
            };
            if kind == AttributeType::FINGERPRINT && value.len() != 4 {
                return Err(Malformed::Length);
            }
            if *slot == 0 {
                *slot = at;
            }
            rest = next;
        }
        Ok(())
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The transaction id.
    pub fn transaction(&self) -> TransactionId {
        self.octets
            .get(8..HEADER)
            .and_then(|id| id.try_into().ok())
            .unwrap_or_default()
    }

    /// The whole message.
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// The attributes that count, in order. Attributes behind MESSAGE-INTEGRITY are not protected
    /// by it and are ignored, except MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 §14.5);
    /// likewise behind MESSAGE-INTEGRITY-SHA256 (§14.6).
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes {
            rest: self.octets.get(HEADER..).unwrap_or_default(),
            sealed: None,
        }
    }

    /// The value of the first attribute of a type: a repeated one does not count (RFC 8489 §14).
    pub fn attribute(&self, kind: AttributeType) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// Returns true if there is an attribute of this type that counts.
    pub fn has(&self, kind: AttributeType) -> bool {
        self.attribute(kind).is_some()
    }

    /// The range of an attribute's value in the octets of the message.
    pub fn range_of(&self, value: &[u8]) -> Option<std::ops::Range<usize>> {
        let start = (value.as_ptr() as usize).checked_sub(self.octets.as_ptr() as usize)?;
        (start + value.len() <= self.octets.len()).then(|| start..start + value.len())
    }

    /// The value of an attribute as UTF-8 text. Returns `None` if it is absent or not UTF-8.
    pub fn text(&self, kind: AttributeType) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(kind)?).ok()
    }

    /// Offset and value of MESSAGE-INTEGRITY.
    pub(super) fn integrity(&self) -> Option<(usize, &'a [u8])> {
        self.attribute_at(self.integrity)
    }

    /// Offset and value of MESSAGE-INTEGRITY-SHA256.
    pub(super) fn integrity_sha256(&self) -> Option<(usize, &'a [u8])> {
        self.attribute_at(self.integrity_sha256)
    }

    /// Offset and value of FINGERPRINT.
    pub(super) fn fingerprint(&self) -> Option<(usize, &'a [u8])> {
        self.attribute_at(self.fingerprint)
    }

    /// Returns true if there is a FINGERPRINT; [`super::integrity::fingerprint_matches`] checks it.
    pub fn has_fingerprint(&self) -> bool {
        self.fingerprint != 0
    }

    fn attribute_at(&self, word: u16) -> Option<(usize, &'a [u8])> {
        if word == 0 {
            return None;
        }
        let at = usize::from(word) * WORD;
        let (_, value, _) = split_attribute(self.octets.get(at..)?)?;
        Some((at, value))
    }
}

/// Iterates over the attributes of a message that count, as type and value without padding.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
    sealed: Option<AttributeType>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (AttributeType, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (kind, value, rest) = split_attribute(self.rest)?;
            self.rest = rest;
            match (self.sealed, kind) {
                (_, AttributeType::FINGERPRINT) | (None, _) => {}
                (
                    Some(AttributeType::MESSAGE_INTEGRITY),
                    AttributeType::MESSAGE_INTEGRITY_SHA256,
                ) => {}
                _ => continue,
            }
            if matches!(
                kind,
                AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256
            ) {
                self.sealed = Some(kind);
            }
            return Some((kind, value));
        }
    }
}

/// The first attribute in `octets`: type, value, and the octets behind its padding.
fn split_attribute(octets: &[u8]) -> Option<(AttributeType, &[u8], &[u8])> {
    let (&[t0, t1, l0, l1], rest) = octets.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let value = rest.get(..length)?;
    let rest = rest.get(padded(length)..)?;
    Some((AttributeType(u16::from_be_bytes([t0, t1])), value, rest))
}

/// Octets of the header.
pub const HEADER: usize = 20;

/// Octets to which attributes are aligned. RFC 8489 §14.
const WORD: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;

    fn request(attributes: &[(AttributeType, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[7; 12]);
        for (kind, value) in attributes {
            writer.attribute(*kind, value);
        }
        writer.finish();
        out
    }

    #[test]
    fn attributes_are_in_order_and_without_padding() {
        let octets = request(&[
            (AttributeType::USERNAME, b"abc"),
            (AttributeType::DATA, b""),
        ]);
        let message = Message::parse(&octets).unwrap();
        let all: Vec<_> = message.attributes().collect();
        assert_eq!(
            all,
            [
                (AttributeType::USERNAME, &b"abc"[..]),
                (AttributeType::DATA, &b""[..])
            ]
        );
        assert_eq!(message.transaction(), [7; 12]);
        assert_eq!(
            (message.method(), message.class()),
            (Method::ALLOCATE, Class::Request)
        );
    }

    #[test]
    fn attributes_behind_message_integrity_do_not_count() {
        let octets = request(&[
            (AttributeType::MESSAGE_INTEGRITY, &[0; 20]),
            (AttributeType::LIFETIME, &[0; 4]),
            (AttributeType::MESSAGE_INTEGRITY_SHA256, &[0; 32]),
            (AttributeType::USERNAME, b"late"),
            (AttributeType::FINGERPRINT, &[0; 4]),
        ]);
        let message = Message::parse(&octets).unwrap();
        assert!(!message.has(AttributeType::LIFETIME) && !message.has(AttributeType::USERNAME));
        assert!(
            message.has(AttributeType::MESSAGE_INTEGRITY_SHA256)
                && message.has(AttributeType::FINGERPRINT)
        );
    }

    #[test]
    fn every_truncation_and_extension_is_malformed() {
        let octets = request(&[
            (AttributeType::USERNAME, b"abc"),
            (AttributeType::REALM, b"hairpin"),
        ]);
        for end in 0..octets.len() {
            assert!(Message::parse(&octets[..end]).is_err(), "{end}");
        }
        let mut longer = octets.clone();
        longer.push(0);
        assert_eq!(Message::parse(&longer).unwrap_err(), Malformed::Long);
    }

    #[test]
    fn an_attribute_that_exceeds_the_message_is_malformed() {
        let mut octets = request(&[(AttributeType::USERNAME, b"abcd")]);
        octets[23] = 9;
        assert_eq!(Message::parse(&octets).unwrap_err(), Malformed::Length);
    }

    #[test]
    fn fingerprint_must_be_last() {
        let octets = request(&[
            (AttributeType::FINGERPRINT, &[0; 4]),
            (AttributeType::DATA, b""),
        ]);
        assert_eq!(
            Message::parse(&octets).unwrap_err(),
            Malformed::AfterFingerprint
        );
    }
}
