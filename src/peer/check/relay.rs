//! Tests an allocation: permission, data in both directions, channel, refresh, private peers,
//! release.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use crate::peer::check::diagnosis::{self, Observation, diagnose};
use crate::peer::check::exchange::{DataSource, Exchange, Granted, RequestError, random_seed};
use crate::peer::check::report::{Finding, ServerReport, Step};
use crate::turn::client_state::{ClientState, Event, Request};

/// Performs every step with the allocation of `exchange`, records it in the report, and returns the
/// findings.
pub async fn test_allocation(
    report: &mut ServerReport,
    exchange: &mut Exchange,
    relayed: SocketAddr,
    server: SocketAddr,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    test_echo(report, exchange, relayed).await;
    findings.extend(test_plain_peer(report, exchange, relayed, server).await);
    test_channel(report, exchange, relayed).await;
    match exchange.request(Request::Refresh { lifetime: 600 }).await {
        Ok(Granted { answer, took }) => {
            let detail = answer.lifetime.map(|seconds| format!("{seconds} s"));
            report.record_done(Step::Refresh, took, detail);
        }
        Err(error) => report.record_failed(Step::Refresh, error),
    }
    findings.extend(test_private_peers(report, exchange, relayed, server).await);
    match exchange.request(Request::Refresh { lifetime: 0 }).await {
        Ok(Granted { took, .. }) => report.record_done(Step::Release, took, None),
        Err(error) => report.record_failed(Step::Release, error),
    }
    report.works =
        report.passed(Step::Echo) || report.passed(Step::Inward) && report.passed(Step::Outward);
    findings
}

/// The relayed address as its own peer: what is sent to it must return.
async fn test_echo(report: &mut ServerReport, exchange: &mut Exchange, relayed: SocketAddr) {
    match exchange.request(permission(relayed)).await {
        Ok(Granted { took, .. }) => {
            report.record_done(Step::Permission, took, None);
            match echo(exchange, relayed, None).await {
                Some(took) => report.record_done(Step::Echo, took, None),
                None => report.record_failed(Step::Echo, "nothing returns through the relay"),
            }
        }
        Err(error) => {
            report.record_failed(Step::Permission, &error);
            report.record_skipped(Step::Echo, "no permission for the relayed address itself");
        }
    }
}

async fn test_channel(report: &mut ServerReport, exchange: &mut Exchange, relayed: SocketAddr) {
    let bind = Request::ChannelBind {
        number: CHANNEL,
        peer: relayed,
    };
    match exchange.request(bind).await {
        Ok(Granted { took, .. }) => match echo(exchange, relayed, Some(CHANNEL)).await {
            Some(round_trip) => {
                let detail = format!("round trip {:.1} ms", round_trip.as_secs_f64() * 1e3);
                report.record_done(Step::Channel, took, Some(detail));
            }
            None => report.record_failed(Step::Channel, "bound, but nothing returns on it"),
        },
        Err(error) => report.record_failed(Step::Channel, error),
    }
}

/// Tests with a plain socket of this machine as the peer: its packets must arrive through the
/// relayed address, and packets of the relay must come from that address.
async fn test_plain_peer(
    report: &mut ServerReport,
    exchange: &mut Exchange,
    relayed: SocketAddr,
    server: SocketAddr,
) -> Option<Finding> {
    if relayed.is_ipv4() != server.is_ipv4() {
        report.record_skipped(
            Step::Inward,
            "the relayed address is of another family than this machine's",
        );
        return None;
    }
    let socket = match bind_socket(server).await {
        Ok(socket) => socket,
        Err(error) => {
            report.record_skipped(Step::Inward, error);
            return None;
        }
    };
    let Some(reflexive) = reflexive_address(&socket, server).await else {
        report.record_skipped(Step::Inward, "UDP does not return to this machine");
        return None;
    };
    if let Err(error) = exchange.request(permission(reflexive)).await {
        let ip = reflexive.ip();
        report.record_skipped(Step::Inward, format!("{error} for {ip}"));
        return diagnosis::refused_peer(report, ip, &error);
    }
    let started = Instant::now();
    let Some(peer) = send_inward(&socket, exchange, relayed).await else {
        report.record_failed(Step::Inward, format!("packets to {relayed} do not arrive"));
        return Some(diagnose(report, Observation::RelayPortClosed(relayed)));
    };
    report.record_done(
        Step::Inward,
        started.elapsed(),
        Some(format!("from {peer}")),
    );
    let started = Instant::now();
    let Some(source) = send_outward(&socket, exchange, peer).await else {
        report.record_failed(
            Step::Outward,
            "packets from the relayed address do not arrive",
        );
        return None;
    };
    report.record_done(
        Step::Outward,
        started.elapsed(),
        Some(format!("from {source}")),
    );
    (source != relayed).then(|| {
        let observation = Observation::OtherSourceAddress { relayed, source };
        diagnose(report, observation)
    })
}

/// Sends from the socket to the relayed address until a packet arrives. Returns the peer address
/// that the server reports.
async fn send_inward(
    socket: &UdpSocket,
    exchange: &mut Exchange,
    relayed: SocketAddr,
) -> Option<SocketAddr> {
    for attempt in 0..ATTEMPTS {
        let payload = [b"hairpin check in ".as_slice(), &[b'0' + attempt]].concat();
        let _unreachable = socket.send_to(&payload, relayed).await;
        let source = exchange.receive_payload(&payload, ATTEMPT_TIMEOUT).await;
        if let Some(DataSource::Peer(peer)) = source {
            return Some(peer);
        }
    }
    None
}

/// Sends through the relay to the socket until a packet arrives. Returns its source address.
async fn send_outward(
    socket: &UdpSocket,
    exchange: &mut Exchange,
    peer: SocketAddr,
) -> Option<SocketAddr> {
    let mut octets = [0; 64];
    for _ in 0..ATTEMPTS {
        exchange.send_indication(peer, OUTWARD_PAYLOAD).await;
        let receive = socket.recv_from(&mut octets);
        if let Ok(Ok((length, source))) = tokio::time::timeout(ATTEMPT_TIMEOUT, receive).await
            && octets.get(..length) == Some(OUTWARD_PAYLOAD)
        {
            return Some(source);
        }
    }
    None
}

/// Requests permissions that a public relay should refuse. Nothing is sent to these addresses.
async fn test_private_peers(
    report: &mut ServerReport,
    exchange: &mut Exchange,
    relayed: SocketAddr,
    server: SocketAddr,
) -> Option<Finding> {
    let started = Instant::now();
    let mut permitted = Vec::new();
    let is_candidate = |peer: &IpAddr| peer.is_ipv4() == relayed.is_ipv4() && *peer != relayed.ip();
    for peer in PRIVATE_PEERS.into_iter().filter(is_candidate) {
        match exchange
            .request(permission(SocketAddr::new(peer, DISCARD_PORT)))
            .await
        {
            Ok(_) => permitted.push(peer.to_string()),
            Err(RequestError::Refused(_)) => {}
            Err(error) => {
                report.record_failed(Step::PrivatePeers, error);
                return None;
            }
        }
    }
    let peers = permitted.join(", ");
    let detail = match permitted.is_empty() {
        true => "all refused".to_owned(),
        false => format!("permitted: {peers}"),
    };
    report.record_done(Step::PrivatePeers, started.elapsed(), Some(detail));
    (!permitted.is_empty()).then(|| {
        let observation = Observation::PrivatePeersPermitted {
            peers: &peers,
            server,
        };
        diagnose(report, observation)
    })
}

/// Sends to the relayed address through the relay itself, and waits until the payload returns.
async fn echo(
    exchange: &mut Exchange,
    relayed: SocketAddr,
    channel: Option<u16>,
) -> Option<Duration> {
    for attempt in 0..ATTEMPTS {
        let payload = [b"hairpin check ".as_slice(), &[b'0' + attempt]].concat();
        let started = Instant::now();
        match channel {
            Some(channel) => exchange.send_channel_data(channel, &payload).await,
            None => exchange.send_indication(relayed, &payload).await,
        }
        let source = exchange.receive_payload(&payload, ATTEMPT_TIMEOUT).await;
        if source.is_some() {
            return Some(started.elapsed());
        }
    }
    None
}

fn permission(peer: SocketAddr) -> Request {
    Request::CreatePermission { peers: vec![peer] }
}

async fn bind_socket(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    UdpSocket::bind((any, 0)).await
}

/// The address of a socket as the server sees it, by Binding over UDP.
async fn reflexive_address(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    let mut client = ClientState::new(None, random_seed());
    let mut out = Vec::new();
    let id = client.request(Request::Binding, &mut out);
    let mut octets = vec![0; 2_048];
    for _ in 0..ATTEMPTS {
        socket.send_to(&out, server).await.ok()?;
        let receive = socket.recv_from(&mut octets);
        let Ok(Ok((length, _))) = tokio::time::timeout(ATTEMPT_TIMEOUT, receive).await else {
            continue;
        };
        let response = octets.get(..length).unwrap_or_default();
        if let Event::Granted {
            id: answered,
            answer,
            ..
        } = client.receive(response, &mut Vec::new())
            && answered == id
        {
            return answer.mapped;
        }
    }
    None
}

/// Loopback, unspecified, private, cloud metadata, shared (RFC 6598), multicast; and loopback in
/// forms of IPv6.
const PRIVATE_PEERS: [IpAddr; 13] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x7f00, 1)),
];
const OUTWARD_PAYLOAD: &[u8] = b"hairpin check out";
const CHANNEL: u16 = 0x4000;
const DISCARD_PORT: u16 = 9;
/// How often a packet is sent through the relay before it counts as lost.
const ATTEMPTS: u8 = 3;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
