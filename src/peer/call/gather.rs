//! What we can be reached at: host addresses, their reflexive addresses (Binding, crate `stun`), and relayed addresses.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ClientConfig;
use stun::agent::TransactionId;
use stun::attributes::ATTR_XORMAPPED_ADDRESS;
use stun::message::{BINDING_REQUEST, Message, Setter};
use stun::xoraddr::XorMappedAddress;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::client::transport::Connection;
use crate::client::uri::ServerUri;
use crate::peer::call::relayed::Relayed;
use crate::turn::Transport;

/// A server as `iceServers` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// Where it is.
    pub url: ServerUri,
    /// The user name, empty for STUN.
    pub username: String,
    /// The password, empty for STUN.
    pub credential: String,
}

/// A packet that arrived at one of our candidates.
pub struct Packet {
    /// The sender.
    pub source: SocketAddr,
    /// The candidate: a host or relayed address.
    pub destination: SocketAddr,
    /// The payload.
    pub octets: Vec<u8>,
}

/// What gathering came upon.
pub enum Found {
    /// How the outside sees the host address `base`.
    Reflexive {
        /// The server that said so.
        url: ServerUri,
        /// The reflexive address.
        address: SocketAddr,
        /// The host address.
        base: SocketAddr,
    },
    /// An allocation.
    Relayed {
        /// The server that holds it.
        url: ServerUri,
        /// Itself.
        relayed: Relayed,
    },
    /// A server that gave nothing.
    Nothing {
        /// The server.
        url: ServerUri,
        /// Why, in words.
        why: String,
    },
    /// All servers were asked.
    End,
}

/// A UDP socket on one of our addresses, shared by ICE and Binding.
#[derive(Clone)]
pub struct Host {
    /// Its address.
    pub address: SocketAddr,
    socket: Arc<UdpSocket>,
    questions: Questions,
}

/// Who waits for the answer to which Binding request.
type Questions = Arc<Mutex<HashMap<[u8; 12], oneshot::Sender<Message>>>>;

impl Host {
    /// Opens a socket on every address from which packets would leave for one of `toward`, or for the Internet at large.
    ///
    /// # Errors
    /// No address, or no socket, could be had.
    pub async fn open_all(
        toward: &[SocketAddr],
        packets: &mpsc::Sender<Packet>,
    ) -> io::Result<Vec<Host>> {
        let mut hosts: Vec<Host> = Vec::new();
        for target in toward.iter().chain(&ANYWHERE) {
            let Ok(address) = source_toward(*target).await else {
                continue;
            };
            if hosts.iter().any(|host| host.address.ip() == address) || is_link_local(address) {
                continue;
            }
            hosts.push(Host::open(address, packets.clone()).await?);
        }
        let nowhere = || {
            io::Error::new(
                io::ErrorKind::NetworkUnreachable,
                "this machine has no address",
            )
        };
        if hosts.is_empty() {
            Err(nowhere())
        } else {
            Ok(hosts)
        }
    }

    /// Sends a packet from this address.
    pub fn send(&self, to: SocketAddr, octets: &[u8]) {
        // What the socket cannot take now is lost, as on any network.
        let _lost = self.socket.try_send_to(octets, to);
    }

    async fn open(address: IpAddr, packets: mpsc::Sender<Packet>) -> io::Result<Host> {
        let socket = Arc::new(UdpSocket::bind((address, 0)).await?);
        let host = Host {
            address: socket.local_addr()?,
            socket,
            questions: Questions::default(),
        };
        tokio::spawn(host.clone().receive(packets));
        Ok(host)
    }

    /// Hands answers to whoever asked, and everything else on.
    async fn receive(self, packets: mpsc::Sender<Packet>) {
        let mut octets = vec![0; 65_536];
        loop {
            // An ICMP error belongs to one packet; the socket still stands.
            let Ok((length, source)) = self.socket.recv_from(&mut octets).await else {
                continue;
            };
            let octets = octets.get(..length).unwrap_or_default();
            if let Some((asker, answer)) = self.answered(octets) {
                let _gave_up = asker.send(answer);
                continue;
            }
            let packet = Packet {
                source,
                destination: self.address,
                octets: octets.to_vec(),
            };
            if let Err(mpsc::error::TrySendError::Closed(_)) = packets.try_send(packet) {
                return;
            }
        }
    }

    /// Who waits for this packet, when it is the answer to a Binding request.
    fn answered(&self, octets: &[u8]) -> Option<(oneshot::Sender<Message>, Message)> {
        let id: [u8; 12] = octets.get(8..20)?.try_into().ok()?;
        let asker = self.questions.lock().ok()?.remove(&id)?;
        let mut answer = Message::new();
        answer.unmarshal_binary(octets).ok()?;
        Some((asker, answer))
    }

    /// Asks a server how it sees this address. RFC 8489 §2.
    async fn ask(&self, server: SocketAddr) -> Result<SocketAddr, String> {
        let request = question()?;
        let (asker, answer) = oneshot::channel();
        if let Ok(mut questions) = self.questions.lock() {
            questions.insert(request.transaction_id.0, asker);
        }
        let repeat = async {
            let mut wait = FIRST_WAIT;
            loop {
                if let Err(error) = self.socket.send_to(&request.raw, server).await {
                    break error.to_string();
                }
                tokio::time::sleep(wait).await;
                wait *= 2;
            }
        };
        let outcome = tokio::select! {
            failed = repeat => Err(failed),
            answer = tokio::time::timeout(PATIENCE, answer) => match answer {
                Ok(Ok(message)) => reflexive(&message),
                _silence => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            },
        };
        if let Ok(mut questions) = self.questions.lock() {
            questions.remove(&request.transaction_id.0);
        }
        outcome
    }
}

/// Asks all servers at once; what they give comes out of the channel, [`Found::End`] last.
pub fn gather(
    hosts: &[Host],
    servers: Vec<IceServer>,
    tls: Arc<ClientConfig>,
    packets: mpsc::Sender<Packet>,
) -> mpsc::Receiver<Found> {
    let (found, receiver) = mpsc::channel(64);
    let mut asked = JoinSet::new();
    for server in servers {
        if server.url.relays {
            asked.spawn(relay_by(
                server,
                tls.clone(),
                packets.clone(),
                found.clone(),
            ));
        } else {
            asked.spawn(reflect_by(server.url, hosts.to_vec(), found.clone()));
        }
    }
    tokio::spawn(async move {
        while asked.join_next().await.is_some() {}
        let _gone = found.send(Found::End).await;
    });
    receiver
}

/// Leaves the servers that may be asked: those that relay over one of `transports`, or over any when it is empty, and those that
/// do not unless `relay_only`. In words: that none of them relays.
pub fn keep_allowed(
    servers: &mut Vec<IceServer>,
    relay_only: bool,
    transports: &[Transport],
) -> Option<String> {
    let relaying = servers.iter().filter(|server| server.url.relays);
    let offered = relaying
        .map(|server| server.url.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    servers.retain(|server| match server.url.relays {
        true => transports.is_empty() || transports.contains(&server.url.transport_or_udp()),
        false => !relay_only,
    });
    if servers.iter().any(|server| server.url.relays) {
        return None;
    }
    let names = transports
        .iter()
        .map(|transport| transport.name())
        .collect::<Vec<_>>()
        .join(", ");
    match offered.is_empty() {
        true => Some("the endpoint names no server that relays".into()),
        false => Some(format!(
            "no server that the endpoint names is reached over {names}: {offered}"
        )),
    }
}

/// Allocates on a server, at the first of its addresses that this machine has a route to.
async fn relay_by(
    server: IceServer,
    tls: Arc<ClientConfig>,
    packets: mpsc::Sender<Packet>,
    found: mpsc::Sender<Found>,
) {
    let IceServer {
        url,
        username,
        credential,
    } = server;
    let allocation = async {
        let mut failure = String::new();
        for address in url.resolve().await.map_err(|error| error.to_string())? {
            let opening = Connection::open(url.transport_or_udp(), address, &url.host, &tls);
            let line = match tokio::time::timeout(PATIENCE, opening).await {
                Ok(Ok((line, _))) => line,
                Ok(Err(closed)) => {
                    failure = format!("{address}: {}", closed.io_error());
                    continue;
                }
                Err(_) => {
                    failure = format!("{address}: no connection within {} s", PATIENCE.as_secs());
                    continue;
                }
            };
            return Relayed::allocate(line, &username, &credential, packets).await;
        }
        Err(failure)
    };
    let what = match allocation.await {
        Ok(relayed) => Found::Relayed { url, relayed },
        Err(why) => Found::Nothing { url, why },
    };
    let _gone = found.send(what).await;
}

/// Asks a STUN server for the reflexive address of every host address of its families.
async fn reflect_by(url: ServerUri, hosts: Vec<Host>, found: mpsc::Sender<Found>) {
    let addresses = match url.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            let why = error.to_string();
            return drop(found.send(Found::Nothing { url, why }).await);
        }
    };
    let mut asked = JoinSet::new();
    for host in hosts {
        let same_family = |address: &&SocketAddr| address.is_ipv4() == host.address.is_ipv4();
        if let Some(address) = addresses.iter().find(same_family).copied() {
            asked.spawn(async move { (host.ask(address).await, host.address) });
        }
    }
    if asked.is_empty() {
        let why = "no address of a family that this machine has".into();
        return drop(found.send(Found::Nothing { url, why }).await);
    }
    while let Some(Ok((answer, base))) = asked.join_next().await {
        let url = url.clone();
        let what = match answer {
            Ok(address) => Found::Reflexive { url, address, base },
            Err(why) => Found::Nothing {
                url,
                why: format!("from {base}: {why}"),
            },
        };
        let _gone = found.send(what).await;
    }
}

/// A Binding request.
fn question() -> Result<Message, String> {
    let mut request = Message::new();
    let parts: [Box<dyn Setter>; 2] = [Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)];
    request.build(&parts).map_err(|error| error.to_string())?;
    Ok(request)
}

fn reflexive(answer: &Message) -> Result<SocketAddr, String> {
    let mut mapped = XorMappedAddress::default();
    mapped
        .get_from_as(answer, ATTR_XORMAPPED_ADDRESS)
        .map_err(|_| "an answer without XOR-MAPPED-ADDRESS".to_owned())?;
    Ok(SocketAddr::new(mapped.ip, mapped.port))
}

/// The address that this machine's routes give to packets for `target`. Connecting a UDP socket sends nothing.
async fn source_toward(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket.local_addr()?.ip())
}

/// Such an address means nothing without its interface, and ICE leaves it out. RFC 8445 §5.1.1.1.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Addresses that stand for the Internet when asking for a route.
const ANYWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)),
        9,
    ),
];
/// How long a Binding request waits for an answer before it is sent again; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How long a server may take before its silence is told.
const PATIENCE: Duration = Duration::from_secs(5);
