//! The PROXY protocol, versions 1 and 2: what a load balancer says first on a connection about whom it carries.
//! (The specification is HAProxy's `proxy-protocol.txt`.)

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What a balancer said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// It carries a client, from this address.
    Proxied(SocketAddr),
    /// It speaks for itself (`LOCAL`, a health check), or does not know whom it carries (`UNKNOWN`).
    Local,
}

/// Reads the header at the start of `octets`: its content and its length in octets, or `None` while it is incomplete.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for anything that is no PROXY header, and for one of more than [`LONGEST`] octets.
pub fn parse(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let begins = |signature: &[u8]| octets.iter().zip(signature).all(|(a, b)| a == b);
    if begins(SIGNATURE_2) {
        return version_2(octets);
    }
    if begins(SIGNATURE_1) {
        return version_1(octets);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// A line of text that ends in CR LF.
fn version_1(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let line = octets
        .get(..LONGEST_1.min(octets.len()))
        .unwrap_or_default();
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if octets.len() < LONGEST_1 {
            Ok(None)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        };
    };
    let text = line
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok())
        .unwrap_or_default();
    let origin = origin_of_line(text).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((origin, end + 2)))
}

fn origin_of_line(line: &str) -> Option<ProxyHeader> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyHeader::Local);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok()?;
    let _: u16 = words.next()?.parse().ok()?;
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none())
        .then(|| ProxyHeader::Proxied(SocketAddr::new(source.to_canonical(), port)))
}

/// Twelve fixed octets, version and command, family, a length, addresses, and what else the balancer wants to say.
fn version_2(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let Some([head @ .., high, low]) = octets.first_chunk::<HEAD_2>() else {
        return Ok(None);
    };
    let length = HEAD_2 + usize::from(u16::from_be_bytes([*high, *low]));
    let [.., command, family] = head;
    if length > LONGEST || !matches!(command, 0x20 | 0x21) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some(body) = octets.get(HEAD_2..length) else {
        return Ok(None);
    };
    let origin = match (command, family) {
        (0x21, 0x11) => {
            let ip = body
                .first_chunk::<4>()
                .map(|ip| IpAddr::V4(Ipv4Addr::from(*ip)));
            client(ip, body.get(8..10), body.len() >= 12)
        }
        (0x21, 0x21) => {
            let ip = body
                .first_chunk::<16>()
                .map(|ip| Ipv6Addr::from(*ip).to_canonical());
            client(ip, body.get(32..34), body.len() >= 36)
        }
        _ => Some(ProxyHeader::Local),
    };
    Ok(Some((origin.ok_or(io::ErrorKind::InvalidData)?, length)))
}

fn client(ip: Option<IpAddr>, port: Option<&[u8]>, whole: bool) -> Option<ProxyHeader> {
    let port = u16::from_be_bytes(*port?.first_chunk()?);
    whole.then_some(ProxyHeader::Proxied(SocketAddr::new(ip?, port)))
}

/// Octets of the longest header that is taken; those in use have at most a few hundred.
pub const LONGEST: usize = 2_048;
/// Octets of the longest header of version 1: "a 107-byte buffer is always enough".
const LONGEST_1: usize = 107;
/// Octets of version 2 before the addresses.
const HEAD_2: usize = 16;
/// How version 1 begins.
const SIGNATURE_1: &[u8] = b"PROXY ";
/// How version 2 begins.
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, body].concat()
    }

    fn from(text: &str) -> ProxyHeader {
        ProxyHeader::Proxied(text.parse().unwrap())
    }

    #[test]
    fn headers_are_read_whole_and_at_every_cut() {
        let ipv6 = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[9; 16],
            &[0x12, 0x34, 0, 80],
        ]
        .concat();
        let with_tlv = [
            &[192, 0, 2, 9, 10, 0, 0, 1, 0xc0, 1, 1, 0xbb][..],
            b"\x04\0\x02xx",
        ]
        .concat();
        let cases = [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(),
                from("192.0.2.1:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 3478\r\n".to_vec(),
                from("[2001:db8::7]:1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), ProxyHeader::Local),
            (
                b"PROXY UNKNOWN ffff::1 whatever\r\n".to_vec(),
                ProxyHeader::Local,
            ),
            (v2(0x21, 0x11, &with_tlv), from("192.0.2.9:49153")),
            (v2(0x21, 0x21, &ipv6), from("[2001:db8::7]:4660")),
            (v2(0x20, 0, &[]), ProxyHeader::Local),
            (v2(0x21, 0x31, &[0; 216]), ProxyHeader::Local),
        ];
        for (mut octets, origin) in cases {
            let length = octets.len();
            for end in 0..length {
                assert_eq!(parse(&octets[..end]).unwrap(), None, "{end} of {octets:?}");
            }
            octets.extend(b"\x16\x03\x01more");
            assert_eq!(parse(&octets).unwrap(), Some((origin, length)));
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        let longest = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 100]].concat();
        let huge = v2(0x21, 0x11, &[0; LONGEST]);
        let refused: [&[u8]; 9] = [
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            b"\x16\x03\x01",
            &longest,
            &huge[..16],
            &v2(0x21, 0x11, &[1; 8]),
        ];
        for octets in refused {
            assert!(parse(octets).is_err(), "{octets:?}");
        }
        assert!(parse(&v2(0x11, 0x11, &[0; 12])).is_err());
    }
}
