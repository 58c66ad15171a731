//! The values of attributes: addresses, families, numbers. The functions that parse return `None`
//! for a value of the wrong length or form.

use crate::wire::message::TransactionId;
use crate::wire::registry::{AttributeType, ErrorCode, MAGIC_COOKIE};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address family as STUN writes it. RFC 8489 §14.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, 0x01.
    V4,
    /// IPv6, 0x02.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Family {
        if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// The number of the family.
    pub const fn code(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// The other family.
    pub const fn other(self) -> Family {
        match self {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        }
    }

    /// The family with this number.
    pub const fn from_code(code: u8) -> Option<Family> {
        match code {
            1 => Some(Family::V4),
            2 => Some(Family::V6),
            _ => None,
        }
    }
}

/// The header of an attribute with a value of `length` octets.
pub const fn header(kind: AttributeType, length: u16) -> [u8; 4] {
    let [t0, t1] = kind.0.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [t0, t1, l0, l1]
}

/// The value of MAPPED-ADDRESS, and how many of the octets count (8 or 20).
pub fn address(address: SocketAddr) -> ([u8; 20], usize) {
    let mut octets = [0; 20];
    let (head, tail) = octets.split_at_mut(4);
    let [p0, p1] = address.port().to_be_bytes();
    head.copy_from_slice(&[0, Family::of(address.ip()).code(), p0, p1]);
    let length = match address.ip() {
        IpAddr::V4(ip) => {
            if let Some(place) = tail.first_chunk_mut() {
                *place = ip.octets();
            }
            8
        }
        IpAddr::V6(ip) => {
            tail.copy_from_slice(&ip.octets());
            20
        }
    };
    (octets, length)
}

/// The value of XOR-MAPPED-ADDRESS, like [`address`]. RFC 8489 §14.2.
pub fn xor_address(plain: SocketAddr, transaction: &TransactionId) -> ([u8; 20], usize) {
    address(xor(plain, transaction))
}

/// Parses MAPPED-ADDRESS and attributes of the same form. RFC 8489 §14.1.
pub fn read_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], rest) = value.split_first_chunk()?;
    let ip = match (family, rest.len()) {
        (1, 4) => IpAddr::from(<[u8; 4]>::try_from(rest).ok()?),
        (2, 16) => IpAddr::from(<[u8; 16]>::try_from(rest).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

/// Parses XOR-MAPPED-ADDRESS and attributes of the same form. RFC 8489 §14.2.
pub fn read_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    Some(xor(read_address(value)?, transaction))
}

/// Parses a 32-bit number: LIFETIME, CONNECTION-ID.
pub fn read_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Parses CHANNEL-NUMBER: 16 bits, then 16 reserved bits. RFC 8656 §18.1.
pub fn read_channel_number(value: &[u8]) -> Option<u16> {
    let &[n0, n1, _, _] = value else { return None };
    Some(u16::from_be_bytes([n0, n1]))
}

/// Parses four octets of which only the first is not reserved: REQUESTED-TRANSPORT,
/// REQUESTED-ADDRESS-FAMILY.
pub fn read_first_of_four(value: &[u8]) -> Option<u8> {
    let &[first, _, _, _] = value else {
        return None;
    };
    Some(first)
}

/// Parses EVEN-PORT. Returns true if the next port is to be reserved. RFC 8656 §18.6.
pub fn read_even_port(value: &[u8]) -> Option<bool> {
    let &[bits] = value else { return None };
    Some(bits & 0x80 != 0)
}

/// Parses the number in ERROR-CODE. RFC 8489 §14.8.
pub fn read_error_code(value: &[u8]) -> Option<ErrorCode> {
    let &[_, _, class, number] = value.first_chunk()?;
    Some(ErrorCode(u16::from(class & 7) * 100 + u16::from(number)))
}

/// The value of [`AttributeType::ICMP`]: type, code and error data. RFC 8656 §18.13. The figure in
/// the RFC draws the type 7 and the code 9 bits wide. Implementations use an octet for each, as
/// ICMP itself does.
pub const fn icmp(kind: u8, code: u8, data: [u8; 4]) -> [u8; 8] {
    let [d0, d1, d2, d3] = data;
    [0, 0, kind, code, d0, d1, d2, d3]
}

/// XORs an address with magic cookie and transaction id; this is its own inverse.
fn xor(address: SocketAddr, transaction: &TransactionId) -> SocketAddr {
    let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
    let ip = match address.ip() {
        IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE)),
        IpAddr::V6(ip) => {
            let mut id = [0; 16];
            let (_, low) = id.split_at_mut(4);
            low.copy_from_slice(transaction);
            let pad = u128::from(MAGIC_COOKIE) << 96 | u128::from_be_bytes(id);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() ^ pad))
        }
    };
    SocketAddr::new(ip, port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xor_addresses_are_parsed_as_written() {
        for text in [
            "192.0.2.1:32853",
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
            "0.0.0.0:0",
        ] {
            let plain: SocketAddr = text.parse().unwrap();
            let (octets, length) = xor_address(plain, &[9; 12]);
            assert_eq!(read_xor_address(&octets[..length], &[9; 12]), Some(plain));
        }
    }

    #[test]
    fn the_length_of_an_address_must_match_its_family() {
        assert_eq!(read_address(&[0, 1, 0, 0, 1, 2, 3]), None);
        assert_eq!(read_address(&[0, 2, 0, 0, 1, 2, 3, 4]), None);
        assert_eq!(read_address(&[0, 3, 0, 0, 1, 2, 3, 4]), None);
    }

    #[test]
    fn an_error_code_has_a_class_and_a_number() {
        assert_eq!(
            read_error_code(&[0, 0, 4, 38]),
            Some(ErrorCode::STALE_NONCE)
        );
    }
}
