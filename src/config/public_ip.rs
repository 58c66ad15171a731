//! Discovers the public addresses of a host behind 1:1 NAT, from a STUN server or from the cloud's
//! metadata service.

use crate::service::http_client::HttpClient;
use crate::wire::{AttributeType, Class, Message, Method, Writer, attribute};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

/// The public addresses of a host, `None` if unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublicAddresses {
    /// IPv4.
    pub v4: Option<IpAddr>,
    /// IPv6.
    pub v6: Option<IpAddr>,
}

/// Asks a STUN server at `HOST:PORT`, or without one the metadata services of the big clouds.
/// Blocks for a few seconds at most.
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

/// Asks the metadata services of the clouds, in a thread because the caller's may be running a
/// runtime already.
fn query_metadata() -> Option<IpAddr> {
    let query = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        runtime.block_on(query_clouds(&HttpClient::new(&[]).ok()?))
    };
    std::thread::spawn(query).join().ok()?
}

async fn query_clouds(client: &HttpClient) -> Option<IpAddr> {
    let lifetime = ("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = request(client, "PUT", "/latest/api/token", Some(lifetime)).await;
    let header = token
        .as_deref()
        .map(|token| ("X-aws-ec2-metadata-token", token.trim()));
    let amazon = ("/latest/meta-data/public-ipv4", header);
    for (path, header) in std::iter::once(amazon).chain(OTHER_CLOUDS.iter().copied()) {
        let body = request(client, "GET", path, header).await;
        if let Some(address) = body.and_then(|body| body.trim().parse().ok()) {
            return Some(address);
        }
    }
    None
}

/// The body of a response with status 200.
async fn request(
    client: &HttpClient,
    method: &str,
    path: &str,
    header: Option<(&str, &str)>,
) -> Option<String> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://{METADATA}{path}"));
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let request = request.body(Body::empty()).ok()?;
    let response = client.send(request, MAX_RESPONSE, TIMEOUT).await.ok()?;
    let body = (response.status() == StatusCode::OK).then(|| response.into_body())?;
    String::from_utf8(body.to_vec()).ok()
}

/// The metadata service of every big cloud.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Path and header of Google, Azure, DigitalOcean, Hetzner.
const OTHER_CLOUDS: &[(&str, Option<(&str, &str)>)] = &[
    (
        "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
        Some(("Metadata-Flavor", "Google")),
    ),
    (
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
        Some(("Metadata", "true")),
    ),
    ("/metadata/v1/interfaces/public/0/ipv4/address", None),
    ("/hetzner/v1/metadata/public-ipv4", None),
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
