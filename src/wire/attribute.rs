//! Typed values of attributes: addresses, families, and the small ones of TURN. Reading gives `None` for a value of the
//! wrong shape; what that means is the protocol's business.

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

    /// The family's number.
    pub const fn code(self) -> u8 {
        match self {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// The other one.
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

/// The header in front of an attribute's value of `length` octets.
pub const fn header(kind: AttributeType, length: u16) -> [u8; 4] {
    let [t0, t1] = kind.0.to_be_bytes();
    let [l0, l1] = length.to_be_bytes();
    [t0, t1, l0, l1]
}

/// An address as MAPPED-ADDRESS writes it: octets, of which the second value says how many count (8 or 20).
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

/// An address as XOR-MAPPED-ADDRESS writes it, as [`address`] does. RFC 8489 §14.2.
pub fn xor_address(plain: SocketAddr, transaction: &TransactionId) -> ([u8; 20], usize) {
    address(xor(plain, transaction))
}

/// Reads MAPPED-ADDRESS and its like. RFC 8489 §14.1.
pub fn read_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], rest) = value.split_first_chunk()?;
    let ip = match (family, rest.len()) {
        (1, 4) => IpAddr::from(<[u8; 4]>::try_from(rest).ok()?),
        (2, 16) => IpAddr::from(<[u8; 16]>::try_from(rest).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes([p0, p1])))
}

/// Reads XOR-MAPPED-ADDRESS and its like. RFC 8489 §14.2.
pub fn read_xor_address(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    Some(xor(read_address(value)?, transaction))
}

/// Reads a 32-bit number: LIFETIME, CONNECTION-ID.
pub fn read_number(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// Reads CHANNEL-NUMBER: 16 bits and 16 that are reserved. RFC 8656 §18.1.
pub fn read_channel_number(value: &[u8]) -> Option<u16> {
    let &[n0, n1, _, _] = value else { return None };
    Some(u16::from_be_bytes([n0, n1]))
}

/// Reads the first of four octets, the rest being reserved: REQUESTED-TRANSPORT, REQUESTED-ADDRESS-FAMILY.
pub fn read_first_of_four(value: &[u8]) -> Option<u8> {
    let &[first, _, _, _] = value else {
        return None;
    };
    Some(first)
}

/// Reads EVEN-PORT: whether the next-higher port is to be reserved. RFC 8656 §18.6.
pub fn read_even_port(value: &[u8]) -> Option<bool> {
    let &[bits] = value else { return None };
    Some(bits & 0x80 != 0)
}

/// Reads ERROR-CODE's number. RFC 8489 §14.8.
pub fn read_error_code(value: &[u8]) -> Option<ErrorCode> {
    let &[_, _, class, number] = value.first_chunk()?;
    Some(ErrorCode(u16::from(class & 7) * 100 + u16::from(number)))
}

/// The ICMP attribute's value: type, code, and the error's own data, for [`AttributeType::ICMP`]. RFC 8656 §18.13. The
/// figure there draws the type 7 bits wide and the code 9, though both are octets and the text gives no widths; what reads
/// and writes the attribute today takes an octet for each, as in ICMP itself and in the drafts.
pub const fn icmp(kind: u8, code: u8, data: [u8; 4]) -> [u8; 8] {
    let [d0, d1, d2, d3] = data;
    [0, 0, kind, code, d0, d1, d2, d3]
}

/// XOR with cookie and transaction id is its own inverse.
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
    fn xor_addresses_are_read_as_they_are_written() {
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
    fn a_family_must_have_its_length() {
        assert_eq!(read_address(&[0, 1, 0, 0, 1, 2, 3]), None);
        assert_eq!(read_address(&[0, 2, 0, 0, 1, 2, 3, 4]), None);
        assert_eq!(read_address(&[0, 3, 0, 0, 1, 2, 3, 4]), None);
    }

    #[test]
    fn an_error_code_is_hundreds_and_rest() {
        assert_eq!(
            read_error_code(&[0, 0, 4, 38]),
            Some(ErrorCode::STALE_NONCE)
        );
    }
}
