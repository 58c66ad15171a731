//! The doctor: every server of a list, over every transport and at every address, step by step.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::ClientConfig;
use tokio::net::UdpSocket;

use crate::client::transport::tls;
use crate::client::transport::tls::{CertificateRecorder, CertificateStatus};
use crate::client::transport::{ConnectError, Connection, Handshake};
use crate::client::uri::ServerUri;
use crate::peer::check::diagnosis;
use crate::peer::check::diagnosis::Clue;
use crate::peer::check::report::{Examined, Finding, Report, Tls};
use crate::peer::check::talk::{Source, Talk, Trouble};
use crate::turn::Transport;
use crate::turn::client_state::{Login, Request};
use crate::turn::policy::credentials;
use crate::wire::ErrorCode;
use crate::wire::attribute::Family;

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers.
    pub urls: Vec<ServerUri>,
    /// What TURN servers are shown.
    pub credentials: Credentials,
    /// A PEM file of further authorities to trust.
    pub ca: Option<PathBuf>,
}

/// What a TURN server is shown.
#[derive(Clone)]
pub enum Credentials {
    /// Nothing.
    None,
    /// A user name and a password.
    Login(Login),
    /// A time-limited user name, minted from a secret that the server shares.
    Secret {
        /// The secret.
        secret: String,
        /// The name after the expiry.
        name: Option<String>,
    },
}

/// Examines all servers. `progress` is told what happens now.
///
/// # Errors
/// The file of authorities cannot be used.
pub async fn check(settings: &Settings, mut progress: impl FnMut(&str)) -> std::io::Result<Report> {
    let (tls, certificates) = tls::recording(settings.ca.as_deref())?;
    let mut doctor = Doctor {
        settings,
        tls,
        certificates,
        findings: Vec::new(),
    };
    let mut examined = Vec::new();
    for url in &settings.urls {
        let transports = match url.transport {
            Some(transport) => vec![transport],
            None => vec![Transport::Udp, Transport::Tcp],
        };
        let addresses = match url.resolve().await {
            Ok(addresses) => addresses,
            Err(why) => {
                let mut server = Examined::new(url.to_string(), url.transport_or_udp().name());
                server.failed("resolve", &why);
                doctor
                    .findings
                    .push(diagnosis::unresolved(&server, &why.to_string()));
                examined.push(server);
                continue;
            }
        };
        for transport in transports {
            for address in &addresses {
                progress(&format!(
                    "{url} over {} at {}",
                    transport.name(),
                    address.ip()
                ));
                examined.push(doctor.examine(url, transport, *address).await);
            }
        }
    }
    doctor.findings.extend(diagnosis::compare(&examined));
    Ok(Report::new(examined, doctor.findings))
}

struct Doctor<'a> {
    settings: &'a Settings,
    tls: Arc<ClientConfig>,
    certificates: Arc<CertificateRecorder>,
    findings: Vec<Finding>,
}

impl Doctor<'_> {
    async fn examine(
        &mut self,
        url: &ServerUri,
        transport: Transport,
        address: SocketAddr,
    ) -> Examined {
        let mut server = Examined::new(url.to_string(), transport.name());
        server.address = Some(address);
        let Some(line) = self.open(&mut server, url, transport, address).await else {
            return server;
        };
        let mut talk = Talk::new(line, None);
        match talk.ask(Request::Binding).await {
            Ok((answer, took)) => {
                server.reflexive = answer.mapped;
                server.software = answer.software;
                server.done(
                    "binding",
                    took,
                    answer.mapped.map(|mapped| format!("you are {mapped}")),
                );
                server.works = !url.relays;
            }
            Err(trouble) => {
                server.failed("binding", &trouble);
                self.find(&server, Clue::Binding(&trouble));
                // Some servers answer Binding only to those they know; silence ends the examination.
                if !matches!(trouble, Trouble::Refused(_)) {
                    return server;
                }
            }
        }
        if url.relays {
            self.relay(&mut server, url, transport, address).await;
        }
        server
    }

    /// TCP, TLS and DTLS, where the transport has them.
    async fn open(
        &mut self,
        server: &mut Examined,
        url: &ServerUri,
        transport: Transport,
        address: SocketAddr,
    ) -> Option<Connection> {
        let began = Instant::now();
        let opened = tokio::time::timeout(
            CONNECT,
            Connection::open(transport, address, &url.host, &self.tls),
        )
        .await;
        if let Ok(Ok((
            _,
            Handshake {
                certificate: Some(certificate),
                ..
            },
        ))) = &opened
        {
            self.certificates
                .record_without_chain(certificate.clone(), &url.host);
        }
        let certificate = self.certificates.take();
        match opened {
            Ok(Ok((line, opening))) => {
                if let Some(took) = opening.tcp {
                    server.done("connect", took, None);
                }
                if let Some(took) = opening.tls {
                    let version = opening.version.map(|version| format!("{version:?}"));
                    server.done("tls", took, version.clone());
                    server.tls = Some(read_certificate(certificate, version));
                    self.findings.extend(diagnosis::certificate(server));
                }
                Some(line)
            }
            Ok(Err(closed @ ConnectError::Socket(_))) if is_unroutable(closed.io_error()) => {
                server.skipped("connect", "this machine has no route to that address");
                self.find(server, Clue::NoRoute);
                None
            }
            Ok(Err(closed)) => {
                let step = if matches!(closed, ConnectError::Socket(_)) {
                    "connect"
                } else {
                    "tls"
                };
                server.failed(step, closed.io_error());
                self.find(server, Clue::Closed(&closed));
                None
            }
            Err(_) => {
                server.failed(
                    "connect",
                    format!("nothing within {} s", began.elapsed().as_secs()),
                );
                self.find(server, Clue::ConnectSilent);
                None
            }
        }
    }

    /// An allocation and everything that can be done with it, on a line of its own.
    async fn relay(
        &mut self,
        server: &mut Examined,
        url: &ServerUri,
        transport: Transport,
        address: SocketAddr,
    ) {
        let login = match &self.settings.credentials {
            Credentials::None => None,
            Credentials::Login(login) => Some(login.clone()),
            Credentials::Secret { secret, name } => Some(mint(secret, name.as_deref(), DAY)),
        };
        let Ok(Ok((line, _))) = tokio::time::timeout(
            CONNECT,
            Connection::open(transport, address, &url.host, &self.tls),
        )
        .await
        else {
            server.failed("allocate", "the second connection did not open");
            return self.find(server, Clue::SecondLine);
        };
        let mut talk = Talk::new(line, login.clone());
        let allocated = allocate(&mut talk, address).await;
        server.realm = talk.realm().map(str::to_owned);
        let (relayed, took) = match allocated {
            Ok((Some(relayed), took)) => (relayed, took),
            Ok((None, _)) => {
                server.failed("allocate", "an answer without XOR-RELAYED-ADDRESS");
                return self.find(server, Clue::NoRelayed);
            }
            Err(trouble) => {
                server.failed("allocate", &trouble);
                let skewed = self
                    .far_expiry_works(url, transport, address, &trouble)
                    .await;
                return self.find(
                    server,
                    Clue::Allocate {
                        trouble: &trouble,
                        login: login.as_ref(),
                        skewed,
                    },
                );
            }
        };
        server.relayed = Some(relayed);
        server.done("allocate", took, Some(format!("relayed {relayed}")));
        self.exercise(server, &mut talk, relayed, address).await;
        self.findings.extend(diagnosis::relay(server));
    }

    /// Whether a server that refused a name good for a day takes one good for years: its clock is ahead.
    async fn far_expiry_works(
        &self,
        url: &ServerUri,
        transport: Transport,
        address: SocketAddr,
        trouble: &Trouble,
    ) -> bool {
        let Credentials::Secret { secret, name } = &self.settings.credentials else {
            return false;
        };
        let Trouble::Refused(refusal) = trouble else {
            return false;
        };
        if ![ErrorCode::UNAUTHENTICATED, ErrorCode::WRONG_CREDENTIALS].contains(&refusal.code) {
            return false;
        }
        let opening = Connection::open(transport, address, &url.host, &self.tls);
        let Ok(Ok((line, _))) = tokio::time::timeout(CONNECT, opening).await else {
            return false;
        };
        let mut talk = Talk::new(line, Some(mint(secret, name.as_deref(), 3_650 * DAY)));
        let taken = allocate(&mut talk, address).await.is_ok();
        if taken {
            let _released = talk.ask(Request::Refresh { lifetime: 0 }).await;
        }
        taken
    }

    /// Permission, data, channel, refresh, the peers that should be refused, release.
    async fn exercise(
        &mut self,
        server: &mut Examined,
        talk: &mut Talk,
        relayed: SocketAddr,
        address: SocketAddr,
    ) {
        match talk
            .ask(Request::CreatePermission {
                peers: vec![relayed],
            })
            .await
        {
            Ok((_, took)) => {
                server.done("permission", took, None);
                match echo(talk, relayed, None).await {
                    Some(took) => server.done("echo", took, None),
                    None => server.failed("echo", "nothing comes back through the relay"),
                }
            }
            Err(trouble) => {
                server.failed("permission", &trouble);
                server.skipped("echo", "no permission for the relay's own address");
            }
        }
        self.there_and_back(server, talk, relayed, address).await;
        match talk
            .ask(Request::ChannelBind {
                number: CHANNEL,
                peer: relayed,
            })
            .await
        {
            Ok((_, took)) => match echo(talk, relayed, Some(CHANNEL)).await {
                Some(trip) => server.done(
                    "channel",
                    took,
                    Some(format!("round trip {:.1} ms", trip.as_secs_f64() * 1e3)),
                ),
                None => server.failed("channel", "bound, but nothing comes back on it"),
            },
            Err(trouble) => server.failed("channel", trouble),
        }
        match talk.ask(Request::Refresh { lifetime: 600 }).await {
            Ok((answer, took)) => server.done(
                "refresh",
                took,
                answer.lifetime.map(|seconds| format!("{seconds} s")),
            ),
            Err(trouble) => server.failed("refresh", trouble),
        }
        self.private_peers(server, talk, relayed, address).await;
        match talk.ask(Request::Refresh { lifetime: 0 }).await {
            Ok((_, took)) => server.done("release", took, None),
            Err(trouble) => server.failed("release", trouble),
        }
        server.works = server.did("echo") || server.did("inward") && server.did("outward");
    }

    /// A plain socket of this machine as the peer: does the relayed address take packets from outside, and send them as what it claims to be?
    async fn there_and_back(
        &mut self,
        server: &mut Examined,
        talk: &mut Talk,
        relayed: SocketAddr,
        address: SocketAddr,
    ) {
        if relayed.is_ipv4() != address.is_ipv4() {
            return server.skipped(
                "inward",
                "the relayed address is of another family than ours",
            );
        }
        let socket = match plain_socket(address).await {
            Ok(socket) => socket,
            Err(error) => return server.skipped("inward", error),
        };
        let Some(ours) = reflexive_of(&socket, address).await else {
            return server.skipped("inward", "UDP does not come back to this machine");
        };
        if let Err(trouble) = talk
            .ask(Request::CreatePermission { peers: vec![ours] })
            .await
        {
            self.findings
                .extend(diagnosis::refused_peer(server, ours.ip(), &trouble));
            return server.skipped("inward", format!("{trouble} for {}", ours.ip()));
        }
        let began = Instant::now();
        let mut peer = None;
        for payload in [
            b"hairpin check in 1",
            b"hairpin check in 2",
            b"hairpin check in 3",
        ] {
            let _unreachable = socket.send_to(payload, relayed).await;
            if let Some(Source::Peer(source)) = talk.hear(payload, TRY).await {
                server.done("inward", began.elapsed(), Some(format!("from {source}")));
                peer = Some(source);
                break;
            }
        }
        let Some(peer) = peer else {
            server.failed("inward", format!("packets to {relayed} do not arrive"));
            return self.find(server, Clue::RangeClosed(relayed));
        };
        let began = Instant::now();
        let mut octets = [0; 64];
        for _ in 0..TRIES {
            talk.send(peer, OUTWARD).await;
            let Ok(Ok((length, source))) =
                tokio::time::timeout(TRY, socket.recv_from(&mut octets)).await
            else {
                continue;
            };
            if octets.get(..length) != Some(OUTWARD) {
                continue;
            }
            server.done("outward", began.elapsed(), Some(format!("from {source}")));
            if source != relayed {
                self.find(server, Clue::OtherSource { relayed, source });
            }
            return;
        }
        server.failed("outward", "packets from the relayed address do not arrive");
    }

    /// Asks for permissions that no relay should give; nothing is sent to these addresses.
    async fn private_peers(
        &mut self,
        server: &mut Examined,
        talk: &mut Talk,
        relayed: SocketAddr,
        address: SocketAddr,
    ) {
        let began = Instant::now();
        let mut permitted = Vec::new();
        for peer in PRIVATE_PEERS
            .into_iter()
            .filter(|peer| peer.is_ipv4() == relayed.is_ipv4() && *peer != relayed.ip())
        {
            match talk
                .ask(Request::CreatePermission {
                    peers: vec![SocketAddr::new(peer, 9)],
                })
                .await
            {
                Ok(_) => permitted.push(peer),
                Err(Trouble::Refused(_)) => {}
                Err(trouble) => return server.failed("private-peers", trouble),
            }
        }
        let refused = permitted.is_empty();
        let list = permitted
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        let said = if refused {
            "all refused".into()
        } else {
            format!("permitted: {list}")
        };
        server.done("private-peers", began.elapsed(), Some(said));
        if !refused {
            self.find(
                server,
                Clue::PrivatePeers {
                    list: &list,
                    beside: address,
                },
            );
        }
    }

    fn find(&mut self, server: &Examined, clue: Clue) {
        self.findings.push(diagnosis::finding(server, clue));
    }
}

/// Allocates in the family of the server's address, or in IPv4 where the server has no other.
async fn allocate(
    talk: &mut Talk,
    address: SocketAddr,
) -> Result<(Option<SocketAddr>, Duration), Trouble> {
    let family = address.is_ipv6().then_some(Family::V6);
    let first = talk
        .ask(Request::Allocate {
            family,
            lifetime: None,
        })
        .await;
    let granted = match (first, family) {
        (Err(Trouble::Refused(refusal)), Some(_))
            if refusal.code == ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED =>
        {
            talk.ask(Request::Allocate {
                family: None,
                lifetime: None,
            })
            .await?
        }
        (outcome, _) => outcome?,
    };
    Ok((granted.0.relayed, granted.1))
}

/// Sends to the relayed address through the relay itself, and waits until it comes back.
async fn echo(talk: &mut Talk, relayed: SocketAddr, channel: Option<u16>) -> Option<Duration> {
    for attempt in 0..TRIES {
        let payload = [b"hairpin check ".as_slice(), &[b'0' + attempt]].concat();
        let began = Instant::now();
        match channel {
            Some(number) => talk.send_on(number, &payload).await,
            None => talk.send(relayed, &payload).await,
        }
        if talk.hear(&payload, TRY).await.is_some() {
            return Some(began.elapsed());
        }
    }
    None
}

async fn plain_socket(toward: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if toward.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    UdpSocket::bind((any, 0)).await
}

/// How the server sees a plain socket, by Binding over UDP.
async fn reflexive_of(socket: &UdpSocket, server: SocketAddr) -> Option<SocketAddr> {
    let mut seed = [0; 32];
    let _predictable = getrandom::fill(&mut seed);
    let mut client = crate::turn::client_state::ClientState::new(None, seed);
    let mut out = Vec::new();
    let id = client.request(Request::Binding, &mut out);
    let mut octets = vec![0; 2_048];
    for _ in 0..TRIES {
        socket.send_to(&out, server).await.ok()?;
        let Ok(Ok((length, _))) = tokio::time::timeout(TRY, socket.recv_from(&mut octets)).await
        else {
            continue;
        };
        let event = client.receive(octets.get(..length).unwrap_or_default(), &mut Vec::new());
        if let crate::turn::client_state::Event::Granted {
            id: answered,
            answer,
            ..
        } = event
            && answered == id
        {
            return answer.mapped;
        }
    }
    None
}

fn mint(secret: &str, name: Option<&str>, seconds: u64) -> Login {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let username = credentials::time_limited_name(now + seconds, name);
    let password = credentials::password(secret, &username).to_string();
    Login { username, password }
}

fn read_certificate(certificate: Option<CertificateStatus>, version: Option<String>) -> Tls {
    let day = |until: SystemTime| match until.duration_since(SystemTime::now()) {
        Ok(left) => (left.as_secs() / DAY) as i64,
        Err(past) => -((past.duration().as_secs() / DAY) as i64) - 1,
    };
    let until = certificate
        .as_ref()
        .and_then(|certificate| certificate.not_after);
    Tls {
        version,
        expires_in_days: until.map(day),
        problem: certificate
            .and_then(|certificate| certificate.problem.map(|error| error.to_string())),
    }
}

fn is_unroutable(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::AddrNotAvailable
    )
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Login(login) => login.fmt(f),
            Credentials::Secret { name, .. } => write!(f, "Secret(…, {name:?})"),
        }
    }
}

/// Loopback, unspecified, private, metadata, shared, multicast; and loopback inside IPv6.
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
const OUTWARD: &[u8] = b"hairpin check out";
const CHANNEL: u16 = 0x4000;
const TRIES: u8 = 3;
/// How long one try through the relay may take.
const TRY: Duration = Duration::from_secs(1);
/// How long TCP and TLS may take to stand.
const CONNECT: Duration = Duration::from_secs(5);
/// In seconds.
const DAY: u64 = 24 * 3_600;
