//! A resolved plan: what a [`Supervisor`](super::Supervisor) runs, with every address and limit
//! decided.

use crate::net::{IoMode, TlsServer, UdpOptions};
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
    /// Where clients are served.
    pub listeners: Vec<Listener>,
    /// The policy of the protocol. The supervisor adds the bound listeners and the addresses of the
    /// host to its own addresses.
    pub policy: Policy,
    /// Ports of relayed transport addresses.
    pub relay_ports: RangeInclusive<u16>,
    /// Answers per second to unauthenticated clients of one source prefix; 0 for no limit.
    pub answer_rate: u32,
    /// Number of shards; 0 for one on each core that the process may use.
    pub shards: usize,
    /// Pin each shard to a core of its own, if there are enough cores.
    pub pin: bool,
    /// Which system calls receive and send datagrams.
    pub path: IoMode,
    /// Options of UDP sockets.
    pub socket_options: SocketOptions,
    /// Limits of client connections.
    pub connection_limits: ConnectionLimits,
    /// Where the beginning and end of allocations are recorded.
    pub allocation_log: AllocationLog,
    /// TLS, DTLS, the PROXY protocol and HTTP, on the same ports as plain STUN and TURN.
    pub secure: SecureTransports,
    /// Another process has the ports bound and hands them over, see
    /// [`Supervisor::prepare_handover`](super::Supervisor::prepare_handover).
    pub takes_over: bool,
}

/// One address and port where clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address, which may be a wildcard, and the port. If the port is 0, the system chooses one
    /// port for both UDP and TCP.
    pub address: SocketAddr,
    /// Serve datagrams.
    pub udp: bool,
    /// Serve connections.
    pub tcp: bool,
}

impl Listener {
    /// A listener for UDP and TCP.
    pub const fn new(address: SocketAddr) -> Listener {
        Listener {
            address,
            udp: true,
            tcp: true,
        }
    }
}

/// Options of UDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOptions {
    /// Octets of kernel buffer, for each direction of each listener of each shard. The system may
    /// grant less.
    pub listener_buffer: usize,
    /// The same for relay sockets; `None` for the default of the system.
    pub relay_buffer: Option<usize>,
    /// Carry DSCP and ECN across the relay. RFC 8656 §14.
    pub traffic_class: bool,
    /// Carry the TTL or hop limit across the relay, decremented. RFC 8656 §14.
    pub hop_limit: bool,
    /// Use GSO and GRO if the kernel has them.
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

/// The protocols that share the ports of plain STUN and TURN, detected by the first octets.
#[derive(Clone, Debug, Default)]
pub struct SecureTransports {
    /// The TLS server, whose certificates DTLS uses too. `None`: neither TLS nor DTLS is served.
    pub tls: Option<Arc<TlsServer>>,
    /// Networks whose connections begin with a PROXY header, from which the client's address is
    /// taken.
    pub load_balancers: Vec<Cidr>,
    /// Receives connections that carry HTTP inside TLS. Without it they are closed.
    pub web_connections: Option<mpsc::Sender<WebConnection>>,
}

/// A connection that carries HTTP inside TLS. No octet of it has been consumed.
pub struct WebConnection {
    /// The decrypted stream.
    pub stream: Box<dyn Duplex>,
    /// The client's address.
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub server: SocketAddr,
}

/// A stream that can be read and written.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Limits of client connections, for each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// A connection without an allocation is closed after this time without a message.
    pub idle_timeout: Duration,
    /// Octets that the client has not read yet. Relayed packets above that are dropped. A
    /// connection whose responses exceed twice the limit is closed.
    pub max_output: usize,
    /// Octets of kernel send buffer; `None` for the default of the system.
    pub send_buffer: Option<usize>,
    /// Connections of one shard, and as many DTLS associations. More are closed at once.
    pub max_connections: usize,
    /// Limits of TLS and DTLS handshakes.
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

/// Limits of TLS and DTLS handshakes, for each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// A handshake that takes longer is aborted.
    pub timeout: Duration,
    /// Octets that a client may send in one TLS handshake.
    pub max_octets: usize,
    /// Handshakes in progress of one IPv4 address or IPv6 /64.
    pub max_per_address: usize,
    /// Handshakes in progress of all clients.
    pub max_handshakes: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        HandshakeLimits {
            timeout: Duration::from_secs(10),
            max_octets: 64 << 10,
            max_per_address: 128,
            max_handshakes: 4_096,
        }
    }
}

impl Plan {
    /// Serves UDP and TCP at `listeners`, with the defaults for everything else.
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

    /// This many shards at a free port of loopback, without users.
    #[cfg(test)]
    pub(crate) fn loopback(shards: usize) -> Plan {
        let address = IpAddr::from([127, 0, 0, 1]);
        let relay = crate::turn::RelayAddress {
            local: address,
            external: address,
        };
        let realm = crate::turn::policy::realm::Realm::new("test");
        Plan {
            shards,
            pin: false,
            ..Plan::new([(address, 0).into()], Policy::new(realm, vec![relay]))
        }
    }

    /// Options of the UDP socket of a listener.
    pub(super) fn listener_options(&self, reuse_port: bool) -> UdpOptions {
        UdpOptions {
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

    /// Options of a UDP relay socket.
    pub(super) fn relay_options(&self) -> UdpOptions {
        UdpOptions {
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

/// Adds the bound listeners, the relay addresses of `policy` and the addresses of the host to
/// `own`.
pub(super) fn complete_own_addresses(
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
    let listeners = bound
        .iter()
        .map(SocketAddr::ip)
        .filter(|ip| !ip.is_unspecified());
    for address in relays.chain(listeners).chain(host.iter().copied()) {
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
