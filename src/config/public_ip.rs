//! Discovers the public addresses of a host behind 1:1 NAT, from a STUN server or from the cloud's metadata service.

use crate::wire::{AttributeType, Class, Message, Method, Writer, attribute};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// The public addresses of a host, `None` if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses {
    /// IPv4.
    pub v4: Option<IpAddr>,
    /// IPv6.
    pub v6: Option<IpAddr>,
}

/// Asks a STUN server at `HOST:PORT`, or without one the metadata services of the big clouds. Blocks for a few seconds at
/// most.
pub fn discover(stun: Option<&str>) -> PublicAddresses {
    match stun {
        Some(server) => {
            let servers: Vec<SocketAddr> = server
                .to_socket_addrs()
                .map(Iterator::collect)
                .unwrap_or_default();
            let query = |v4: bool| {
                servers
                    .iter()
                    .filter(|server| server.is_ipv4() == v4)
                    .find_map(|server| query_stun(*server))
            };
            PublicAddresses {
                v4: query(true),
                v6: query(false),
            }
        }
        None => PublicAddresses {
            v4: query_metadata(),
            v6: None,
        },
    }
}

/// The server-reflexive address of this host. RFC 8489 §2.
fn query_stun(server: SocketAddr) -> Option<IpAddr> {
    let wildcard: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((wildcard, 0)).ok()?;
    socket.set_read_timeout(Some(TIMEOUT)).ok()?;
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).ok()?;
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::BINDING, &transaction).finish();
    for _ in 0..ATTEMPTS {
        socket.send_to(&request, server).ok()?;
        let mut octets = [0; 1500];
        let Ok((length, from)) = socket.recv_from(&mut octets) else {
            continue;
        };
        let answer = octets
            .get(..length)
            .and_then(|octets| Message::parse(octets).ok());
        let Some(answer) =
            answer.filter(|answer| from == server && answer.transaction() == transaction)
        else {
            continue;
        };
        let value = answer.attribute(AttributeType::XOR_MAPPED_ADDRESS)?;
        return attribute::read_xor_address(value, &transaction).map(|address| address.ip());
    }
    None
}

/// The public IPv4 address according to the cloud's metadata service.
fn query_metadata() -> Option<IpAddr> {
    let token = get(
        "PUT",
        "/latest/api/token",
        "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n",
    );
    let with_token = token
        .map(|token| format!("X-aws-ec2-metadata-token: {}\r\n", token.trim()))
        .unwrap_or_default();
    let amazon = ("/latest/meta-data/public-ipv4", with_token.as_str());
    std::iter::once(amazon)
        .chain(OTHER_CLOUDS.iter().copied())
        .find_map(|(path, head)| get("GET", path, head).and_then(|body| parse_body(&body)))
}

/// The address in a body. A chunked body has lines with chunk sizes beside it.
fn parse_body(body: &str) -> Option<IpAddr> {
    body.lines().find_map(|line| line.trim().parse().ok())
}

fn get(method: &str, path: &str, head: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&METADATA, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}Content-Length: 0\r\n\r\n",
        METADATA.ip()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let answer = read_response(stream)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.") && head.get(8..12) == Some(" 200")).then(|| body.to_owned())
}

/// Reads a response to the end that Content-Length gives, or until the connection closes.
fn read_response(mut stream: TcpStream) -> Option<String> {
    let (mut octets, mut part) = (Vec::new(), [0; 2048]);
    while octets.len() < MAX_RESPONSE {
        match stream.read(&mut part).ok()? {
            0 => break,
            length => octets.extend_from_slice(part.get(..length)?),
        }
        let text = String::from_utf8_lossy(&octets);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>().ok())?
        };
        if head
            .lines()
            .find_map(length)
            .is_some_and(|length| body.len() >= length)
        {
            break;
        }
    }
    String::from_utf8(octets).ok()
}

/// The metadata service of every big cloud.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Path and header of Google, Azure, DigitalOcean, Hetzner.
const OTHER_CLOUDS: &[(&str, &str)] = &[
    (
        "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
        "Metadata-Flavor: Google\r\n",
    ),
    (
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
        "Metadata: true\r\n",
    ),
    ("/metadata/v1/interfaces/public/0/ipv4/address", ""),
    ("/hetzner/v1/metadata/public-ipv4", ""),
];
const TIMEOUT: Duration = Duration::from_millis(700);
const ATTEMPTS: usize = 3;
/// In octets.
const MAX_RESPONSE: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stun_server_reports_the_public_address() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let responder = std::thread::spawn(move || {
            let mut octets = [0; 1500];
            let (length, from) = server.recv_from(&mut octets).unwrap();
            let transaction = Message::parse(&octets[..length]).unwrap().transaction();
            let mut answer = Vec::new();
            let mut writer =
                Writer::new(&mut answer, Class::Success, Method::BINDING, &transaction);
            writer.xor_address(
                AttributeType::XOR_MAPPED_ADDRESS,
                "203.0.113.9:7".parse().unwrap(),
            );
            writer.finish();
            server.send_to(&answer, from).unwrap();
        });
        assert_eq!(
            discover(Some(&address.to_string())),
            PublicAddresses {
                v4: "203.0.113.9".parse().ok(),
                v6: None
            }
        );
        responder.join().unwrap();
    }

    #[test]
    fn without_an_answer_no_address_is_known() {
        assert_eq!(discover(Some("127.0.0.1:1")), PublicAddresses::default());
        assert_eq!(discover(Some("no port")), PublicAddresses::default());
    }
}
