//! What a run does: the options of the user, checked and completed.

use crate::bench::measure::payload;
use crate::bench::rate::Rate;
use crate::bench::stop::Stop;
use crate::client::credentials::{Credentials, CredentialsError};
use crate::client::uri::{ResolveError, ServerUri, UriError};
use crate::turn::Transport;
use crate::turn::client_state::Login;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use std::{fmt, io};

/// The requests that clients make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Packets through allocations.
    Relay,
    /// Allocations, created and deleted again.
    Allocate,
    /// Binding requests.
    Binding,
}

/// The direction of relayed packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients to their peers.
    Up,
    /// From peers to clients.
    Down,
    /// Both at once.
    Both,
    /// Between clients: the peer of each client is the relayed address of another.
    Hairpin,
}

/// The user's options, before defaults are filled in and the server's name is resolved.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The requests to make.
    pub workload: Workload,
    /// The server's URI, parsed by [`Plan::resolve`]: reports print it as it was written.
    pub server: String,
    /// The credentials to show.
    pub credentials: Credentials,
    /// The number of clients, each with its own five-tuple.
    pub flows: usize,
    /// Buffers of payload in each relayed packet. Default 1200.
    pub size: Option<usize>,
    /// Packets that a flow sends back to back. Default 1.
    pub burst: Option<usize>,
    /// Packets or allocations per second over all flows. Default 10,000, and 1,000 for
    /// [`Workload::Allocate`].
    pub rate: Option<Rate>,
    /// How long to measure.
    pub duration: Duration,
    /// Default [`Direction::Up`].
    pub direction: Option<Direction>,
    /// Send and Data indications instead of channels.
    pub indications: bool,
    /// A process of this machine whose CPU time and memory are measured: the server's.
    pub pid: Option<u32>,
    /// Threads that send and receive. Default: the cores that the measured process leaves, at most
    /// 4.
    pub threads: Option<usize>,
}

/// A run with every default filled in.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The requests to make.
    pub workload: Workload,
    /// The server to load.
    pub target: Target,
    /// The credentials of all clients.
    pub login: Option<Login>,
    /// The number of clients, each with its own five-tuple.
    pub flows: usize,
    /// Clients that other loaders on this host already run against the same server. Their ports are
    /// taken.
    pub other_clients: usize,
    /// Buffers of payload in each packet.
    pub size: usize,
    /// Packets that one flow sends back to back.
    pub burst: usize,
    /// Packets or allocations per second.
    pub rate: Rate,
    /// How long to measure.
    pub duration: Duration,
    /// The direction of relayed packets.
    pub direction: Direction,
    /// Send and Data indications instead of channels.
    pub indications: bool,
    /// The process to measure.
    pub pid: Option<u32>,
    /// Threads that send and receive.
    pub threads: usize,
    /// Peer sockets of each thread.
    pub peers: usize,
    /// Ends the run before its time.
    pub stop: Stop,
}

/// The server under load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The URI as the user wrote it.
    pub uri: String,
    /// The host in it, for TLS.
    pub host: String,
    /// The host's first address.
    pub address: SocketAddr,
    /// The transport between clients and server.
    pub transport: Transport,
}

/// Why options are no plan.
#[derive(Debug)]
pub enum PlanError {
    /// `--server` is not a URI of a STUN or TURN server.
    Uri(String, UriError),
    /// The host of `--server` has no address.
    Resolve(String, ResolveError),
    /// The credentials are incomplete.
    Credentials(CredentialsError),
    /// The workload does not use this option.
    Unused(&'static str, Workload),
    /// The payload is too short for its header, or too long for the transport.
    Size {
        /// The longest payload that the transport carries.
        longest: usize,
    },
    /// `--flows` or `--burst` is zero.
    Zero,
    /// The rate is not positive.
    Rate,
    /// The duration is too short.
    Duration,
    /// The process to measure cannot be read.
    Process(u32, io::Error),
}

impl Workload {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Workload::Relay => "relay",
            Workload::Allocate => "allocate",
            Workload::Binding => "binding",
        }
    }
}

impl Direction {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::Both => "both",
            Direction::Hairpin => "hairpin",
        }
    }
}

impl Plan {
    /// Checks the options, fills in defaults and resolves the server's name.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn resolve(options: &BenchOptions) -> Result<Plan, PlanError> {
        refuse_unused(options)?;
        let target = Target::resolve(&options.server)?;
        let direction = options.direction.unwrap_or(Direction::Up);
        // In a hairpin run clients are each other's peers, two by two.
        let in_pairs = direction == Direction::Hairpin && options.workload == Workload::Relay;
        let default_rate = match options.workload {
            Workload::Allocate => 1_000.0,
            Workload::Relay | Workload::Binding => 10_000.0,
        };
        let threads = options.threads.unwrap_or_else(|| threads(options.pid));
        let plan = Plan {
            workload: options.workload,
            login: options.credentials.login(CREDENTIALS_LIFETIME),
            flows: match in_pairs {
                true => options.flows.next_multiple_of(2),
                false => options.flows,
            },
            other_clients: 0,
            size: options.size.unwrap_or(1200),
            burst: options.burst.unwrap_or(1),
            rate: options.rate.unwrap_or(Rate::PerSecond(default_rate)),
            duration: options.duration,
            direction,
            indications: options.indications,
            pid: options.pid,
            threads: threads.min(options.flows.div_ceil(2)),
            peers: 1,
            stop: Stop::default(),
            target,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        let longest = match self.target.transport {
            Transport::Udp => payload::LONGEST - 64,
            // One DTLS record.
            Transport::Dtls => 16_000,
            Transport::Tcp | Transport::Tls => 60_000,
        };
        if !(payload::HEADER..=longest).contains(&self.size) {
            return Err(PlanError::Size { longest });
        }
        if self.flows == 0 || self.burst == 0 || self.threads == 0 {
            return Err(PlanError::Zero);
        }
        if matches!(self.rate, Rate::PerSecond(rate) if rate <= 0.0) {
            return Err(PlanError::Rate);
        }
        if self.duration < SHORTEST_DURATION {
            return Err(PlanError::Duration);
        }
        if let Some(pid) = self.pid {
            crate::bench::measure::process::read_usage(pid)
                .map_err(|error| PlanError::Process(pid, error))?;
        }
        Ok(())
    }

    /// The local address from which the server is reached, and to which its relay sends.
    ///
    /// # Errors
    /// No route to the server.
    pub fn local_ip(&self) -> io::Result<IpAddr> {
        // A bind to the wildcard address fails once every port is taken on some address, which
        // happens with very many flows: sockets are bound to one address.
        let any: IpAddr = match self.target.address {
            SocketAddr::V4(server) if server.ip().is_loopback() => {
                return Ok(Ipv4Addr::LOCALHOST.into());
            }
            SocketAddr::V6(server) if server.ip().is_loopback() => {
                return Ok(Ipv6Addr::LOCALHOST.into());
            }
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let probe = UdpSocket::bind((any, 0))?;
        probe.connect(self.target.address)?;
        Ok(probe.local_addr()?.ip())
    }

    /// The number of streams of numbered packets: one for each client and direction.
    pub fn streams(&self) -> usize {
        match (self.workload, self.direction) {
            (Workload::Relay, Direction::Both) => self.flows * 2,
            _ => self.flows,
        }
    }
}

impl Target {
    /// Parses a URI and resolves its host.
    ///
    /// # Errors
    /// [`PlanError::Uri`], [`PlanError::Resolve`].
    pub fn resolve(text: &str) -> Result<Target, PlanError> {
        let uri: ServerUri = text
            .parse()
            .map_err(|error| PlanError::Uri(text.into(), error))?;
        let addresses = uri
            .resolve_blocking()
            .map_err(|error| PlanError::Resolve(text.into(), error))?;
        Ok(Target {
            uri: text.to_owned(),
            address: addresses[0],
            transport: uri.transport_or_udp(),
            host: uri.host,
        })
    }
}

/// Refuses options that the workload does not use: if they were silently ignored, results
/// would look like measurements with these options.
fn refuse_unused(options: &BenchOptions) -> Result<(), PlanError> {
    let relays = options.workload == Workload::Relay;
    let allocates = options.workload == Workload::Allocate;
    let unused = [
        ("--size", options.size.is_some() && !relays),
        ("--direction", options.direction.is_some() && !relays),
        ("--indications", options.indications && !relays),
        ("--burst", options.burst.is_some() && allocates),
    ];
    match unused.iter().find(|(_, unused)| *unused) {
        Some((option, _)) => Err(PlanError::Unused(option, options.workload)),
        None => Ok(()),
    }
}

/// One thread for each core that the measured process leaves free, or for all cores but one; at
/// most four.
fn threads(pid: Option<u32>) -> usize {
    let free = pid
        .map(crate::bench::measure::process::free_cores)
        .unwrap_or_default();
    if free.is_empty() {
        let cores = crate::net::host::cpu::allowed_cores().len();
        cores.saturating_sub(1).clamp(1, 4)
    } else {
        free.len().min(4)
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Uri(uri, error) => write!(f, "--server {uri}: {error}"),
            PlanError::Resolve(uri, error) => write!(f, "--server {uri}: {error}"),
            PlanError::Credentials(error) => error.fmt(f),
            PlanError::Unused(option, workload) => {
                write!(f, "{option} means nothing to {}", workload.name())
            }
            PlanError::Size { longest } => write!(
                f,
                "--size must be {} to {longest} octets: each payload carries a number, a time and a checksum",
                payload::HEADER
            ),
            PlanError::Zero => f.write_str("--flows and --burst must be at least 1"),
            PlanError::Rate => f.write_str("--rate must be above 0, or max"),
            PlanError::Duration => write!(
                f,
                "--duration must be at least {}ms",
                SHORTEST_DURATION.as_millis()
            ),
            PlanError::Process(pid, error) => write!(
                f,
                "--pid {pid}: {error}: give a process of this machine that you may read"
            ),
        }
    }
}

impl std::error::Error for PlanError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PlanError::Uri(_, error) => Some(error),
            PlanError::Resolve(_, error) => Some(error),
            PlanError::Credentials(error) => Some(error),
            PlanError::Process(_, error) => Some(error),
            PlanError::Unused(..)
            | PlanError::Size { .. }
            | PlanError::Zero
            | PlanError::Rate
            | PlanError::Duration => None,
        }
    }
}

const SHORTEST_DURATION: Duration = Duration::from_millis(100);
/// Lifetime of credentials made from a shared secret.
const CREDENTIALS_LIFETIME: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_uri_without_a_transport_is_reached_over_udp() {
        let target = Target::resolve("turn:127.0.0.1").unwrap();
        assert_eq!(target.address.to_string(), "127.0.0.1:3478");
        assert_eq!(target.transport, Transport::Udp);
        let target = Target::resolve("turns:[::1]").unwrap();
        assert_eq!(target.address.to_string(), "[::1]:5349");
        assert_eq!(target.transport, Transport::Tls);
    }
}
