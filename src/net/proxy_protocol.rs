//! The PROXY protocol, versions 1 and 2: the header with which a load balancer begins a connection,
//! to report the address of the client. Specified by `proxy-protocol.txt` of HAProxy.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The content of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection of a client with this address.
    Proxied(SocketAddr),
    /// A connection of the balancer itself, such as a health check (`LOCAL`), or of a client whose
    /// address the balancer does not report (`UNKNOWN`).
    Local,
}

/// Parses the header at the start of `octets`. Returns its content and its length, or `None` while
/// it is incomplete.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if `octets` cannot become a PROXY header, or if the header is
/// longer than [`MAX_LENGTH`]. Reported as early as possible, so that other clients are refused at
/// their first octets.
pub fn parse(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let matches_start_of = |signature: &[u8]| octets.iter().zip(signature).all(|(a, b)| a == b);
    if matches_start_of(SIGNATURE_V2) {
        return parse_v2(octets);
    }
    if matches_start_of(SIGNATURE_V1) {
        return parse_v1(octets);
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Version 1 is a line of text that ends with CR LF.
fn parse_v1(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let start = octets
        .get(..MAX_LENGTH_V1.min(octets.len()))
        .unwrap_or_default();
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        return if octets.len() < MAX_LENGTH_V1 {
            Ok(None)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        };
    };
    let line = start
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok())
        .unwrap_or_default();
    let header = parse_line(line).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Some((header, end + 2)))
}

fn parse_line(line: &str) -> Option<ProxyHeader> {
    let mut words = line.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    // The rest of an UNKNOWN line has no meaning.
    if family == "UNKNOWN" {
        return Some(ProxyHeader::Local);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let source_port: u16 = words.next()?.parse().ok()?;
    let _destination_port: u16 = words.next()?.parse().ok()?;
    let is_of_family = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (is_of_family && words.next().is_none())
        .then(|| ProxyHeader::Proxied(SocketAddr::new(source.to_canonical(), source_port)))
}

/// Version 2 is binary: the signature, version and command, family, the length of the rest,
/// addresses, and extensions.
fn parse_v2(octets: &[u8]) -> io::Result<Option<(ProxyHeader, usize)>> {
    let Some([head @ .., high, low]) = octets.first_chunk::<FIXED_LENGTH_V2>() else {
        return Ok(None);
    };
    let length = FIXED_LENGTH_V2 + usize::from(u16::from_be_bytes([*high, *low]));
    let [.., command, family] = head;
    if length > MAX_LENGTH || !matches!(*command, LOCAL | PROXY) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some(body) = octets.get(FIXED_LENGTH_V2..length) else {
        return Ok(None);
    };
    // Both addresses come before both ports.
    let header = match (*command, *family) {
        (PROXY, TCP_OVER_IPV4) => {
            let ip = body
                .first_chunk::<4>()
                .map(|ip| IpAddr::V4(Ipv4Addr::from(*ip)));
            proxied(ip, body.get(8..10), body.len() >= 12)
        }
        (PROXY, TCP_OVER_IPV6) => {
            let ip = body
                .first_chunk::<16>()
                .map(|ip| Ipv6Addr::from(*ip).to_canonical());
            proxied(ip, body.get(32..34), body.len() >= 36)
        }
        // The specification leaves it to the receiver to use the connection's own address for other
        // families.
        _ => Some(ProxyHeader::Local),
    };
    Ok(Some((header.ok_or(io::ErrorKind::InvalidData)?, length)))
}

fn proxied(ip: Option<IpAddr>, port: Option<&[u8]>, is_complete: bool) -> Option<ProxyHeader> {
    let port = u16::from_be_bytes(*port?.first_chunk()?);
    is_complete.then_some(ProxyHeader::Proxied(SocketAddr::new(ip?, port)))
}

/// Octets of the longest header that is accepted. Headers in practice have a few hundred octets at
/// most.
pub const MAX_LENGTH: usize = 2_048;
/// Octets of the longest header of version 1: "a 107-byte buffer is always enough".
const MAX_LENGTH_V1: usize = 107;
/// Octets of a header of version 2 up to and including the length of the rest.
const FIXED_LENGTH_V2: usize = 16;
const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 with its two commands.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[command, family], &length, body].concat()
    }

    fn proxied(text: &str) -> ProxyHeader {
        ProxyHeader::Proxied(text.parse().unwrap())
    }

    #[test]
    fn complete_headers_are_parsed_and_their_prefixes_are_incomplete() {
        let ipv6 = [
            &[0x20, 1, 0xd, 0xb8][..],
            &[0; 11],
            &[7],
            &[9; 16],
            &[0x12, 0x34, 0, 80],
        ]
        .concat();
        let with_extension = [
            &[192, 0, 2, 9, 10, 0, 0, 1, 0xc0, 1, 1, 0xbb][..],
            b"\x04\0\x02xx",
        ]
        .concat();
        let cases = [
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec(),
                proxied("192.0.2.1:56324"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 3478\r\n".to_vec(),
                proxied("[2001:db8::7]:1"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), ProxyHeader::Local),
            (
                b"PROXY UNKNOWN ffff::1 whatever\r\n".to_vec(),
                ProxyHeader::Local,
            ),
            (
                v2(PROXY, TCP_OVER_IPV4, &with_extension),
                proxied("192.0.2.9:49153"),
            ),
            (
                v2(PROXY, TCP_OVER_IPV6, &ipv6),
                proxied("[2001:db8::7]:4660"),
            ),
            (v2(LOCAL, 0, &[]), ProxyHeader::Local),
            (v2(PROXY, 0x31, &[0; 216]), ProxyHeader::Local),
        ];
        for (mut octets, header) in cases {
            let length = octets.len();
            for end in 0..length {
                assert_eq!(parse(&octets[..end]).unwrap(), None, "{end} of {octets:?}");
            }
            octets.extend(b"\x16\x03\x01more");
            assert_eq!(parse(&octets).unwrap(), Some((header, length)));
        }
    }

    #[test]
    fn other_data_is_refused_as_early_as_possible() {
        let too_long_v1 = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 100]].concat();
        let too_long_v2 = v2(PROXY, TCP_OVER_IPV4, &[0; MAX_LENGTH]);
        let refused: [&[u8]; 10] = [
            b"GET / HTTP/1.1\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            b"\x16\x03\x01",
            &too_long_v1,
            &too_long_v2[..FIXED_LENGTH_V2],
            // Addresses cut off, and another version.
            &v2(PROXY, TCP_OVER_IPV4, &[1; 8]),
            &v2(0x11, TCP_OVER_IPV4, &[0; 12]),
        ];
        for octets in refused {
            assert!(parse(octets).is_err(), "{octets:?}");
        }
    }
}
