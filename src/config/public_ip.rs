//! What this host is called from outside, behind a cloud's 1:1 NAT: a STUN server says, or the cloud's own metadata service.

use crate::wire::{AttributeType, Class, Message, Method, Writer, attribute};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// The public addresses of a host, as far as anybody knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses {
    /// The IPv4 one.
    pub v4: Option<IpAddr>,
    /// The IPv6 one.
    pub v6: Option<IpAddr>,
}

/// Asks a STUN server, `HOST:PORT`, or without one the metadata services of the big clouds.
pub fn discover(stun: Option<&str>) -> PublicAddresses {
    match stun {
        Some(server) => {
            let servers: Vec<SocketAddr> = server
                .to_socket_addrs()
                .map(Iterator::collect)
                .unwrap_or_default();
            let ask = |v4: bool| {
                servers
                    .iter()
                    .filter(|server| server.is_ipv4() == v4)
                    .find_map(|server| reflexive(*server))
            };
            PublicAddresses {
                v4: ask(true),
                v6: ask(false),
            }
        }
        None => PublicAddresses {
            v4: metadata(),
            v6: None,
        },
    }
}

/// The address that a Binding request comes from, as a STUN server sees it. RFC 8489 §2.
fn reflexive(server: SocketAddr) -> Option<IpAddr> {
    let wildcard: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((wildcard, 0)).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut transaction = [0; 12];
    getrandom::fill(&mut transaction).ok()?;
    let mut request = Vec::new();
    Writer::new(&mut request, Class::Request, Method::BINDING, &transaction).finish();
    for _ in 0..TRIES {
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

/// The public IPv4 address that a cloud's metadata service tells.
fn metadata() -> Option<IpAddr> {
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
        .chain(CLOUDS.iter().copied())
        .find_map(|(path, head)| get("GET", path, head).and_then(|body| address(&body)))
}

/// The address in a body; one that comes in chunks has lines beside it.
fn address(body: &str) -> Option<IpAddr> {
    body.lines().find_map(|line| line.trim().parse().ok())
}

fn get(method: &str, path: &str, head: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&METADATA, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{head}Content-Length: 0\r\n\r\n",
        METADATA.ip()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let answer = whole(stream)?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.starts_with("HTTP/1.") && head.get(8..12) == Some(" 200")).then(|| body.to_owned())
}

/// An answer up to its end, which is where its length says, or where the connection closes.
fn whole(mut stream: TcpStream) -> Option<String> {
    let (mut octets, mut part) = (Vec::new(), [0; 2048]);
    while octets.len() < LARGEST {
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

/// Where every big cloud answers its hosts.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Path and header of the other clouds: Google, Azure, DigitalOcean, Hetzner.
const CLOUDS: &[(&str, &str)] = &[
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
const PATIENCE: Duration = Duration::from_millis(700);
const TRIES: usize = 3;
/// Octets of an answer that are read.
const LARGEST: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stun_server_says() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let answering = std::thread::spawn(move || {
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
        answering.join().unwrap();
    }

    #[test]
    fn nobody_there_is_nothing_known() {
        assert_eq!(discover(Some("127.0.0.1:1")), PublicAddresses::default());
        assert_eq!(discover(Some("no port")), PublicAddresses::default());
    }
}
