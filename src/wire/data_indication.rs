//! Data indications: a STUN header and two attributes in front of application data from a peer. RFC
//! 8656 §11.3.
//!
//! The payload stays where the kernel wrote it. Only the octets in front of it are made here, so
//! that a relay can write them into the headroom of its receive buffer.

use crate::wire::message::TransactionId;
use crate::wire::registry::{AttributeType, Class, Method};
use crate::wire::{attribute, padded, writer};
use std::net::SocketAddr;

/// The octets in front of `length` octets of payload from `peer`, and how many of the array count:
/// 36 for IPv4, 48 for IPv6. They are the message header, XOR-PEER-ADDRESS, and the attribute
/// header of DATA. The payload must be padded with zeros to a multiple of four. Returns `None` if
/// the payload is too long for one message.
pub fn header(
    peer: SocketAddr,
    length: usize,
    transaction: &TransactionId,
) -> Option<([u8; LONGEST_HEADER], usize)> {
    let (address, address_length) = attribute::xor_address(peer, transaction);
    let attributes = 4 + address_length + 4;
    let total = u16::try_from(attributes + padded(length)).ok()?;
    let mut octets = [0; LONGEST_HEADER];
    let mut at = 0;
    let pieces: [&[u8]; 4] = [
        &writer::header(Class::Indication, Method::DATA, total, transaction),
        &attribute::header(AttributeType::XOR_PEER_ADDRESS, address_length as u16),
        address.get(..address_length)?,
        &attribute::header(AttributeType::DATA, length as u16),
    ];
    for piece in pieces {
        octets.get_mut(at..at + piece.len())?.copy_from_slice(piece);
        at += piece.len();
    }
    Some((octets, at))
}

/// Octets in front of a payload from an IPv6 peer.
pub const LONGEST_HEADER: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Message;

    #[test]
    fn header_and_padded_payload_form_a_message() {
        for peer in ["192.0.2.1:9", "[2001:db8::1]:9"] {
            let peer: SocketAddr = peer.parse().unwrap();
            let (head, length) = header(peer, 5, &[3; 12]).unwrap();
            assert_eq!(length, if peer.is_ipv4() { 36 } else { 48 });
            let mut octets = head[..length].to_vec();
            octets.extend(b"hello\0\0\0");
            let message = Message::parse(&octets).unwrap();
            assert_eq!(message.attribute(AttributeType::DATA), Some(&b"hello"[..]));
            let value = message.attribute(AttributeType::XOR_PEER_ADDRESS).unwrap();
            assert_eq!(attribute::read_xor_address(value, &[3; 12]), Some(peer));
        }
    }

    #[test]
    fn a_payload_that_no_length_field_can_hold_has_no_header() {
        let peer = "192.0.2.1:9".parse().unwrap();
        assert!(header(peer, 65_535, &[0; 12]).is_none());
        assert!(header(peer, 65_500, &[0; 12]).is_some());
    }
}
