//! Gathers reflexive and relayed candidates: asks all servers at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::transport::{ConnectError, Connection};
use crate::client::uri::{ResolveError, ServerUri};
use crate::peer::call::allocation::{AllocateError, Allocation};
use crate::peer::call::host::{BindingError, Host, IncomingPacket};
use crate::peer::rendezvous::IceServer;
use crate::turn::Transport;

/// What gathering returns.
pub enum GatherEvent {
    /// A reflexive address.
    Reflexive {
        /// The server that reported it.
        uri: ServerUri,
        /// The reflexive address.
        address: SocketAddr,
        /// The host address to which it belongs.
        base: SocketAddr,
    },
    /// An allocation.
    Relayed {
        /// The server of the allocation.
        uri: ServerUri,
        /// The allocation.
        allocation: Allocation,
    },
    /// A server that returned no candidate.
    Failed {
        /// The server.
        uri: ServerUri,
        /// Why.
        error: GatherError,
    },
    /// All servers have answered or failed.
    Done,
}

/// Why a server returned no candidate.
#[derive(Debug)]
pub enum GatherError {
    /// Its host name has no address.
    Resolve(ResolveError),
    /// It has no address of a family that this machine has.
    AddressFamily,
    /// Binding from this host address failed.
    Binding(SocketAddr, BindingError),
    /// Connecting to this address failed.
    Connect(SocketAddr, ConnectError),
    /// Connecting to this address was not answered.
    ConnectTimedOut(SocketAddr),
    /// Allocate failed.
    Allocate(AllocateError),
}

/// Why none of the endpoint's servers may be used as a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoRelay {
    /// The endpoint names no TURN server.
    NotOffered,
    /// No TURN server is reached over the allowed transports.
    OtherTransports {
        /// The allowed transports.
        allowed: Vec<Transport>,
        /// The TURN servers.
        offered: Vec<ServerUri>,
    },
}

/// Asks all servers. What they return comes out of the channel, [`GatherEvent::Done`] last.
pub fn gather(
    hosts: &[Host],
    servers: Vec<IceServer>,
    tls: Arc<ClientConfig>,
    packets: mpsc::Sender<IncomingPacket>,
) -> mpsc::Receiver<GatherEvent> {
    let (events, receiver) = mpsc::channel(64);
    let mut tasks = JoinSet::new();
    for server in servers {
        if server.uri.relays {
            let (tls, packets, events) = (tls.clone(), packets.clone(), events.clone());
            tasks.spawn(async move {
                let event = match allocate(&server, &tls, packets).await {
                    Ok(allocation) => GatherEvent::Relayed {
                        uri: server.uri,
                        allocation,
                    },
                    Err(error) => GatherEvent::Failed {
                        uri: server.uri,
                        error,
                    },
                };
                let _call_ended = events.send(event).await;
            });
        } else {
            tasks.spawn(gather_reflexive(server.uri, hosts.to_vec(), events.clone()));
        }
    }
    tokio::spawn(async move {
        while tasks.join_next().await.is_some() {}
        let _call_ended = events.send(GatherEvent::Done).await;
    });
    receiver
}

/// Removes the servers that may not be used: TURN servers over a transport that is not in
/// `transports` (empty allows all), and STUN servers if only relayed candidates are allowed.
///
/// # Errors
/// [`NoRelay`]: no TURN server is left. The list is filtered nevertheless.
pub fn retain_allowed(
    servers: &mut Vec<IceServer>,
    relay_only: bool,
    transports: &[Transport],
) -> Result<(), NoRelay> {
    let offered: Vec<_> = servers
        .iter()
        .filter(|server| server.uri.relays)
        .map(|server| server.uri.clone())
        .collect();
    servers.retain(|server| match server.uri.relays {
        true => transports.is_empty() || transports.contains(&server.uri.transport_or_udp()),
        false => !relay_only,
    });
    if servers.iter().any(|server| server.uri.relays) {
        return Ok(());
    }
    match offered.is_empty() {
        true => Err(NoRelay::NotOffered),
        false => Err(NoRelay::OtherTransports {
            allowed: transports.to_vec(),
            offered,
        }),
    }
}

/// Allocates on a server, at the first of its addresses that accepts a connection.
async fn allocate(
    server: &IceServer,
    tls: &Arc<ClientConfig>,
    packets: mpsc::Sender<IncomingPacket>,
) -> Result<Allocation, GatherError> {
    let uri = &server.uri;
    let addresses = uri.resolve().await.map_err(GatherError::Resolve)?;
    let mut last_error = GatherError::AddressFamily;
    for address in addresses {
        let open = Connection::open(uri.transport_or_udp(), address, &uri.host, tls);
        match tokio::time::timeout(CONNECT_TIMEOUT, open).await {
            Ok(Ok((connection, _))) => {
                return Allocation::create(connection, &server.login, packets)
                    .await
                    .map_err(GatherError::Allocate);
            }
            Ok(Err(error)) => last_error = GatherError::Connect(address, error),
            Err(_) => last_error = GatherError::ConnectTimedOut(address),
        }
    }
    Err(last_error)
}

/// Asks a STUN server for the reflexive address of every host address of its families.
async fn gather_reflexive(uri: ServerUri, hosts: Vec<Host>, events: mpsc::Sender<GatherEvent>) {
    let fail = async |uri, error| {
        let _call_ended = events.send(GatherEvent::Failed { uri, error }).await;
    };
    let addresses = match uri.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => return fail(uri, GatherError::Resolve(error)).await,
    };
    let mut requests = JoinSet::new();
    for host in hosts {
        let is_same_family = |address: &&SocketAddr| address.is_ipv4() == host.address.is_ipv4();
        if let Some(address) = addresses.iter().find(is_same_family).copied() {
            requests.spawn(async move {
                let reflexive = host.reflexive_address(address).await;
                (host.address, reflexive)
            });
        }
    }
    if requests.is_empty() {
        return fail(uri, GatherError::AddressFamily).await;
    }
    while let Some(Ok((base, reflexive))) = requests.join_next().await {
        let uri = uri.clone();
        match reflexive {
            Ok(address) => {
                let event = GatherEvent::Reflexive { uri, address, base };
                let _call_ended = events.send(event).await;
            }
            Err(error) => fail(uri, GatherError::Binding(base, error)).await,
        }
    }
}

impl fmt::Display for GatherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatherError::Resolve(error) => error.fmt(f),
            GatherError::AddressFamily => {
                f.write_str("no address of a family that this machine has")
            }
            GatherError::Binding(base, error) => write!(f, "from {base}: {error}"),
            GatherError::Connect(address, error) => write!(f, "{address}: {error}"),
            GatherError::ConnectTimedOut(address) => {
                let seconds = CONNECT_TIMEOUT.as_secs();
                write!(f, "{address}: no connection within {seconds} s")
            }
            GatherError::Allocate(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for GatherError {}

impl fmt::Display for NoRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoRelay::NotOffered => f.write_str("the endpoint offers no TURN server"),
            NoRelay::OtherTransports { allowed, offered } => {
                let allowed: Vec<_> = allowed.iter().map(|transport| transport.name()).collect();
                let offered: Vec<_> = offered.iter().map(ServerUri::to_string).collect();
                write!(
                    f,
                    "the endpoint offers no TURN server over {}: {}",
                    allowed.join(", "),
                    offered.join(", ")
                )
            }
        }
    }
}

impl std::error::Error for NoRelay {}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
