//! Writes STUN messages: header and attributes are appended to a buffer of the caller.

use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::integrity;
use crate::wire::integrity::Key;
use crate::wire::message::{HEADER, TransactionId};
use crate::wire::registry::{AttributeType, Class, ErrorCode, MAGIC_COOKIE, Method, message_type};
use std::net::SocketAddr;
use std::ops::Range;

/// A message at the end of a buffer. Its length field is correct after every call.
///
/// An attribute for which the length field has no room is left out. Payloads are not written here,
/// so no message of a server comes near that length.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'a> Writer<'a> {
    /// Begins a message at the end of `out`.
    pub fn new(
        out: &'a mut Vec<u8>,
        class: Class,
        method: Method,
        transaction: &TransactionId,
    ) -> Self {
        let start = out.len();
        out.extend_from_slice(&header(class, method, 0, transaction));
        Writer {
            out,
            start,
            transaction: *transaction,
        }
    }

    /// Appends an attribute, padded with zeros.
    pub fn attribute(&mut self, kind: AttributeType, value: &[u8]) -> &mut Self {
        let room = usize::from(u16::MAX).checked_sub(self.length() + 8);
        if room.is_none_or(|room| value.len() > room) {
            // The value of a seal was computed over the length that the message would have.
            self.set_length(self.length());
            return self;
        }
        self.out
            .extend_from_slice(&attribute::header(kind, value.len() as u16));
        self.out.extend_from_slice(value);
        let padding = value.len().wrapping_neg() & 3;
        self.out
            .extend_from_slice([0; 3].get(..padding).unwrap_or_default());
        self.set_length(self.length());
        self
    }

    /// Appends a 32-bit number: LIFETIME, CONNECTION-ID.
    pub fn number(&mut self, kind: AttributeType, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an address in plain form: MAPPED-ADDRESS, RESPONSE-ORIGIN, OTHER-ADDRESS,
    /// ALTERNATE-SERVER.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (octets, length) = attribute::address(address);
        self.attribute(kind, octets.get(..length).unwrap_or_default())
    }

    /// Appends an address XORed with magic cookie and transaction id. RFC 8489 §14.2.
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (octets, length) = attribute::xor_address(address, &self.transaction);
        self.attribute(kind, octets.get(..length).unwrap_or_default())
    }

    /// Appends ERROR-CODE with a reason phrase, which may be empty. RFC 8489 §14.8.
    pub fn error_code(&mut self, code: ErrorCode, reason: &str) -> &mut Self {
        let mut value = [0; 4 + MAX_REASON];
        let reason = reason
            .as_bytes()
            .get(..reason.len().min(MAX_REASON))
            .unwrap_or_default();
        let (number, text) = value.split_at_mut(4);
        number.copy_from_slice(&[0, 0, (code.0 / 100) as u8, (code.0 % 100) as u8]);
        if let Some(text) = text.get_mut(..reason.len()) {
            text.copy_from_slice(reason);
        }
        self.attribute(
            AttributeType::ERROR_CODE,
            value.get(..4 + reason.len()).unwrap_or_default(),
        )
    }

    /// Appends ADDRESS-ERROR-CODE: why a dual allocation has no address of `family`. RFC 8656
    /// §18.12.
    pub fn address_error_code(&mut self, family: Family, code: ErrorCode) -> &mut Self {
        let value = [family.code(), 0, (code.0 / 100) as u8, (code.0 % 100) as u8];
        let mut octets = value.to_vec();
        octets.extend_from_slice(code.name().unwrap_or_default().as_bytes());
        self.attribute(AttributeType::ADDRESS_ERROR_CODE, &octets)
    }

    /// Appends a list of 16-bit numbers: UNKNOWN-ATTRIBUTES. RFC 8489 §14.9.
    pub fn types(&mut self, kind: AttributeType, types: &[AttributeType]) -> &mut Self {
        let octets: Vec<u8> = types.iter().flat_map(|t| t.0.to_be_bytes()).collect();
        self.attribute(kind, &octets)
    }

    /// Appends MESSAGE-INTEGRITY over everything written so far. RFC 8489 §14.5.
    pub fn integrity(&mut self, key: &Key) -> &mut Self {
        let sealed = self.sealing(20, |covered| integrity::sha1(key, covered));
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &sealed)
    }

    /// Appends MESSAGE-INTEGRITY-SHA256, not truncated, over everything written so far. RFC 8489
    /// §14.6.
    pub fn integrity_sha256(&mut self, key: &Key) -> &mut Self {
        let sealed = self.sealing(32, |covered| integrity::sha256(key, covered));
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &sealed)
    }

    /// Appends FINGERPRINT, which must be the last attribute. RFC 8489 §14.7.
    pub fn fingerprint(&mut self) -> &mut Self {
        let sealed = self.sealing(4, integrity::crc);
        self.attribute(AttributeType::FINGERPRINT, &sealed.to_be_bytes())
    }

    /// Ends the message. Returns its range in the buffer.
    pub fn finish(self) -> Range<usize> {
        self.start..self.out.len()
    }

    /// Computes the value of an integrity attribute, over the message with the length field that
    /// includes that attribute.
    fn sealing<T>(&mut self, length: usize, seal: impl FnOnce(&[u8]) -> T) -> T {
        self.set_length(self.length() + 4 + length);
        seal(self.out.get(self.start..).unwrap_or_default())
    }

    /// Octets of the attributes so far.
    fn length(&self) -> usize {
        self.out.len() - self.start - HEADER
    }

    fn set_length(&mut self, length: usize) {
        if let Some(field) = self.out.get_mut(self.start + 2..self.start + 4) {
            field.copy_from_slice(&(length as u16).to_be_bytes());
        }
    }
}

/// The header of a message with `length` octets of attributes.
pub fn header(
    class: Class,
    method: Method,
    length: u16,
    transaction: &TransactionId,
) -> [u8; HEADER] {
    let mut octets = [0; HEADER];
    let (head, id) = octets.split_at_mut(8);
    let [t0, t1] = message_type(method, class).to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    let [c0, c1, c2, c3] = MAGIC_COOKIE.to_be_bytes();
    head.copy_from_slice(&[t0, t1, l0, l1, c0, c1, c2, c3]);
    id.copy_from_slice(transaction);
    octets
}

/// Octets of the longest reason phrase that is written; the RFC allows 127 characters.
const MAX_REASON: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn oversized_attributes_are_left_out_of_a_valid_message() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, &[0; 12]);
        writer
            .attribute(AttributeType::DATA, &[1; 65_000])
            .attribute(AttributeType::DATA, &[1; 1_000]);
        writer.finish();
        assert_eq!(Message::parse(&out).unwrap().attributes().count(), 1);
    }

    #[test]
    fn seals_without_room_are_left_out_of_a_valid_message() {
        let key = Key::from_octets(b"secret").unwrap();
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, &[0; 12]);
        writer.attribute(AttributeType::DATA, &[1; 65_516]);
        writer.integrity(&key).integrity_sha256(&key);
        writer.finish();
        assert_eq!(Message::parse(&out).unwrap().attributes().count(), 1);
    }
}
