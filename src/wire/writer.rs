//! STUN messages, written in place: a header and attributes appended to a buffer that the caller keeps.

use crate::wire::attribute;
use crate::wire::attribute::Family;
use crate::wire::integrity;
use crate::wire::integrity::Key;
use crate::wire::message::{HEADER, TransactionId};
use crate::wire::registry::{AttributeType, Class, ErrorCode, MAGIC_COOKIE, Method, message_type};
use std::net::SocketAddr;
use std::ops::Range;

/// One message under construction at the end of a buffer. The header's length field is right after every call.
///
/// A value that would make the message longer than its length field can say is left out: nothing that Hairpin writes
/// comes near, since payloads do not pass through here.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    transaction: TransactionId,
}

impl<'a> Writer<'a> {
    /// Starts a message behind whatever `out` holds.
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
        let Some(room) = usize::from(u16::MAX).checked_sub(self.length() + 8) else {
            return self;
        };
        if value.len() > room {
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

    /// Appends an address as it is: MAPPED-ADDRESS, RESPONSE-ORIGIN, OTHER-ADDRESS, ALTERNATE-SERVER.
    pub fn address(&mut self, kind: AttributeType, address: SocketAddr) -> &mut Self {
        let (octets, length) = attribute::address(address);
        self.attribute(kind, octets.get(..length).unwrap_or_default())
    }

    /// Appends an address XORed with cookie and transaction id. RFC 8489 §14.2.
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

    /// Appends ADDRESS-ERROR-CODE: why the other half of a dual allocation failed. RFC 8656 §18.12.
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

    /// Seals what is written so far with MESSAGE-INTEGRITY. RFC 8489 §14.5.
    pub fn integrity(&mut self, key: &Key) -> &mut Self {
        let sealed = self.sealing(20, |covered| integrity::sha1(key, covered));
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &sealed)
    }

    /// Seals what is written so far with MESSAGE-INTEGRITY-SHA256, in full length. RFC 8489 §14.6.
    pub fn integrity_sha256(&mut self, key: &Key) -> &mut Self {
        let sealed = self.sealing(32, |covered| integrity::sha256(key, covered));
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &sealed)
    }

    /// Ends the message with FINGERPRINT. RFC 8489 §14.7.
    pub fn fingerprint(&mut self) -> &mut Self {
        let sealed = self.sealing(4, integrity::crc);
        self.attribute(AttributeType::FINGERPRINT, &sealed.to_be_bytes())
    }

    /// Where in the buffer the message stands.
    pub fn finish(self) -> Range<usize> {
        self.start..self.out.len()
    }

    /// Computes a seal over the message with the length field that it will have once the seal is appended.
    fn sealing<T>(&mut self, length: usize, seal: impl FnOnce(&[u8]) -> T) -> T {
        self.set_length(self.length() + 4 + length);
        seal(self.out.get(self.start..).unwrap_or_default())
    }

    /// Octets of attributes so far.
    fn length(&self) -> usize {
        self.out.len() - self.start - HEADER
    }

    fn set_length(&mut self, length: usize) {
        if let Some(field) = self.out.get_mut(self.start + 2..self.start + 4) {
            field.copy_from_slice(&(length as u16).to_be_bytes());
        }
    }
}

/// A message's header with `length` octets of attributes behind it.
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

/// The longest reason phrase that is written, in octets; the RFC allows 127 characters.
const MAX_REASON: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn oversized_values_are_left_out_and_the_message_stays_sound() {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, Method::BINDING, &[0; 12]);
        writer
            .attribute(AttributeType::DATA, &[1; 65_000])
            .attribute(AttributeType::DATA, &[1; 1_000]);
        writer.finish();
        assert_eq!(Message::parse(&out).unwrap().attributes().count(), 1);
    }
}
