//! What to run, resolved: every address, every bound, nothing left to look up.

use crate::net;
use crate::net::{IoMode, TlsServer};
pub use crate::relay::client::handshake_limit::HandshakeLimits;
use crate::relay::observe::allocation_log::AllocationLog;
use crate::turn::policy::Policy;
use crate::turn::policy::acl::{Cidr, OwnAddresses};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// What a [`Supervisor`](super::Supervisor) runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where clients arrive.
    pub listeners: Vec<Listener>,
    /// What the protocol goes by. Its `own` addresses are completed with what is bound and with what the host has.
    pub policy: Policy,
    /// Ports of relayed transport addresses.
    pub relay_ports: RangeInclusive<u16>,
    /// Answers a second to the unauthenticated of one source prefix; 0 for no bound.
    pub answer_rate: u32,
    /// Threads that relay; 0 for one on each core that the process may use.
    pub shards: usize,
    /// Keep each shard on a core of its own, where there are enough.
    pub pin: bool,
    /// Which calls move datagrams.
    pub path: IoMode,
    /// What UDP sockets are set to.
    pub socket_options: SocketOptions,
    /// Bounds of client connections.
    pub connection_limits: ConnectionLimits,
    /// Where the lives of allocations are told.
    pub allocation_log: AllocationLog,
    /// What is spoken beside plain STUN and TURN, on the same ports.
    pub secure: SecureTransports,
    /// Another process has the ports and gives way: see [`Supervisor::prepare_handover`](super::Supervisor::step_aside).
    pub takes_over: bool,
}

/// One address and port for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address (a wildcard too) and port; 0 for one that the system chooses, the same for UDP and TCP.
    pub address: SocketAddr,
    /// Datagrams are taken.
    pub udp: bool,
    /// Connections are taken.
    pub tcp: bool,
}

impl Listener {
    /// Both datagrams and connections.
    pub const fn new(address: SocketAddr) -> Listener {
        Listener {
            address,
            udp: true,
            tcp: true,
        }
    }
}

/// What UDP sockets are set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Octets of kernel buffer of each listener of each shard, each way; the system may grant less.
    pub listener_buffer: usize,
    /// The same for relay sockets; `None` for the system's default.
    pub relay_buffer: Option<usize>,
    /// Carry DSCP and ECN across the relay. RFC 8656 §14.
    pub traffic_class: bool,
    /// Carry the TTL or hop limit across the relay, less one. RFC 8656 §14.
    pub hop_limit: bool,
    /// Use GSO and GRO where the kernel has them.
    pub offload: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        SocketOptions {
            listener_buffer: 4 << 20,
            relay_buffer: None,
            traffic_class: true,
            hop_limit: true,
            offload: true,
        }
    }
}

/// What is spoken beside plain STUN and TURN, on the same ports: told apart by the first octets.
#[derive(Clone, Debug, Default)]
pub struct SecureTransports {
    /// What TLS and DTLS show; without it neither is spoken.
    pub tls: Option<Arc<TlsServer>>,
    /// Connections from here begin with a PROXY header, and are whose it says; nobody else's word is taken.
    pub load_balancers: Vec<Cidr>,
    /// Where connections go that speak HTTP inside TLS; without it they are closed.
    pub web_connections: Option<mpsc::Sender<WebConnection>>,
}

/// A connection that speaks HTTP inside TLS: nothing of it has been lost.
pub struct WebConnection {
    /// Its octets, deciphered.
    pub stream: Box<dyn Duplex>,
    /// The client.
    pub client: SocketAddr,
    /// The address it came to.
    pub server: SocketAddr,
}

/// A stream both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Bounds of client connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// A connection without an allocation is closed after so long without a message.
    pub idle_timeout: Duration,
    /// Octets that may wait for a slow reader. Relayed packets beyond are dropped; answers beyond twice that close it.
    pub max_output: usize,
    /// Octets of kernel send buffer; `None` for the system's default.
    pub send_buffer: Option<usize>,
    /// Connections of one shard, and DTLS associations; more are closed at once.
    pub max_connections: usize,
    /// Bounds of TLS and DTLS handshakes.
    pub handshakes: HandshakeLimits,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        ConnectionLimits {
            idle_timeout: Duration::from_secs(30),
            max_output: 256 << 10,
            send_buffer: Some(512 << 10),
            max_connections: 20_000,
            handshakes: HandshakeLimits::default(),
        }
    }
}

impl Plan {
    /// Listens on `listeners` with UDP and TCP, goes by `policy`, and has the defaults for everything else.
    pub fn new(listeners: impl IntoIterator<Item = SocketAddr>, policy: Policy) -> Plan {
        Plan {
            listeners: listeners.into_iter().map(Listener::new).collect(),
            policy,
            relay_ports: 49_152..=65_535,
            answer_rate: 2_000,
            shards: 0,
            pin: true,
            path: IoMode::default(),
            socket_options: SocketOptions::default(),
            connection_limits: ConnectionLimits::default(),
            allocation_log: AllocationLog::default(),
            secure: SecureTransports::default(),
            takes_over: false,
        }
    }

    /// How a listener's UDP socket is made.
    pub(super) fn listener_options(&self, reuse_port: bool) -> net::UdpOptions {
        net::UdpOptions {
            io_mode: self.path,
            reuse_port,
            receive_traffic_class: self.socket_options.traffic_class,
            receive_hop_limit: self.socket_options.hop_limit,
            receive_icmp_errors: false,
            allow_fragmentation: true,
            sticky_ip_fields: false,
            offload: self.socket_options.offload,
            receive_buffer_size: Some(self.socket_options.listener_buffer),
            send_buffer_size: Some(self.socket_options.listener_buffer),
        }
    }

    /// How a relay socket is made.
    pub(super) fn relay_options(&self) -> net::UdpOptions {
        net::UdpOptions {
            io_mode: self.path,
            reuse_port: false,
            receive_traffic_class: self.socket_options.traffic_class,
            receive_hop_limit: self.socket_options.hop_limit,
            receive_icmp_errors: true,
            allow_fragmentation: true,
            sticky_ip_fields: true,
            offload: self.socket_options.offload,
            receive_buffer_size: self.socket_options.relay_buffer,
            send_buffer_size: self.socket_options.relay_buffer,
        }
    }
}

/// `own` with the listeners as they are bound, the addresses that relays use, and those that the host has.
pub(super) fn complete(
    own: &OwnAddresses,
    policy: &Policy,
    bound: &[SocketAddr],
    host: &[IpAddr],
) -> OwnAddresses {
    let mut own = own.clone();
    let relays = policy
        .relay_addresses
        .iter()
        .flat_map(|relay| [relay.local, relay.external]);
    let listened = bound
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified());
    let addresses: Vec<IpAddr> = relays.chain(listened).chain(host.iter().copied()).collect();
    for address in addresses {
        if !own.addresses.contains(&address) {
            own.addresses.push(address);
        }
    }
    for listener in bound {
        if !own.listeners.contains(listener) {
            own.listeners.push(*listener);
        }
    }
    own
}
