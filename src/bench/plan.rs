//! What a run does, resolved from the command line: where the server is, what is asked of it, how much and how long.

use crate::bench::payload;
use crate::bench::rate::Rate;
use crate::bench::stop::Stop;
use crate::cli::bench::args::{Bench, Direction, Workload};
use crate::turn::client_state::Login;
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A resolved run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is asked of the server.
    pub workload: Workload,
    /// The server.
    pub server: Server,
    /// Who we are to it.
    pub login: Option<Login>,
    /// Clients, each with a five-tuple of its own.
    pub flows: usize,
    /// Clients of the same server that other loaders on this host have; theirs are other ports.
    pub others: usize,
    /// Octets of payload in each packet.
    pub size: usize,
    /// Packets that one flow sends back to back.
    pub burst: usize,
    /// How fast.
    pub rate: Rate,
    /// How long.
    pub duration: Duration,
    /// Which way packets go.
    pub direction: Direction,
    /// Send and Data indications instead of channels.
    pub indications: bool,
    /// The process to measure.
    pub pid: Option<u32>,
    /// Threads that send and receive.
    pub threads: usize,
    /// Peer sockets of each thread.
    pub peers: usize,
    /// When to end before the time.
    pub stop: Stop,
}

/// A server as a URI names it. RFC 7064, RFC 7065.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// As it was written.
    pub uri: String,
    /// The name in it, for TLS.
    pub host: String,
    /// Where it is.
    pub address: SocketAddr,
    /// How it is reached.
    pub transport: Transport,
}

/// How clients reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        }
    }

    /// Whether messages travel in datagrams, which may be lost.
    pub fn is_datagram(self) -> bool {
        matches!(self, Transport::Udp | Transport::Dtls)
    }
}

impl Plan {
    /// Resolves the command line.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn resolve(args: &Bench) -> Result<Plan, String> {
        only_what_concerns(args)?;
        let server = Server::resolve(&args.server)?;
        let direction = args.direction.unwrap_or(Direction::Up);
        let pairs = direction == Direction::Hairpin && args.workload == Workload::Relay;
        let plan = Plan {
            workload: args.workload,
            login: login(args)?,
            flows: if pairs {
                args.flows.next_multiple_of(2)
            } else {
                args.flows
            },
            others: 0,
            size: args.size.unwrap_or(1200),
            burst: args.burst.unwrap_or(1),
            rate: args.rate.unwrap_or(match args.workload {
                Workload::Allocate => Rate::PerSecond(1_000.0),
                _ => Rate::PerSecond(10_000.0),
            }),
            duration: args.duration,
            direction,
            indications: args.indications,
            pid: args.pid,
            threads: args
                .threads
                .unwrap_or_else(|| threads(args.pid))
                .min(args.flows.div_ceil(2)),
            peers: 1,
            stop: Stop::default(),
            server,
        };
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), String> {
        let longest = match self.server.transport {
            Transport::Udp => payload::LONGEST - 64,
            Transport::Dtls => 16_000,
            Transport::Tcp | Transport::Tls => 60_000,
        };
        if !(payload::HEADER..=longest).contains(&self.size) {
            return Err(format!(
                "--size must be {} to {longest} octets: each payload carries its own number, time and checksum",
                payload::HEADER
            ));
        }
        if self.flows == 0 || self.burst == 0 || self.threads == 0 {
            return Err("--flows and --burst must be at least 1".into());
        }
        if matches!(self.rate, Rate::PerSecond(rate) if rate <= 0.0) {
            return Err("--rate must be above 0, or max".into());
        }
        if self.duration < Duration::from_millis(100) {
            return Err("--duration must be at least 100ms".into());
        }
        if let Some(pid) = self.pid {
            crate::bench::process::spent(pid).map_err(|error| {
                format!("--pid {pid}: {error}: give a process of this machine that you may read")
            })?;
        }
        Ok(())
    }

    /// The address of this host from which the server is reached, and at which the server's relay reaches us.
    ///
    /// # Errors
    /// When there is no way to the server.
    pub fn local(&self) -> std::io::Result<IpAddr> {
        // A port for all addresses is not to be had where so many flows have taken each port on one address or another.
        let any: IpAddr = match self.server.address {
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
        probe.connect(self.server.address)?;
        Ok(probe.local_addr()?.ip())
    }

    /// How many streams of numbered packets a run has.
    pub fn streams(&self) -> usize {
        match (self.workload, self.direction) {
            (Workload::Relay, Direction::Both) => self.flows * 2,
            _ => self.flows,
        }
    }
}

impl Server {
    /// Reads `turn:HOST[:PORT][?transport=udp|tcp]`, `turns:…` (TLS, or DTLS with `?transport=udp`) or `stun:…` and
    /// looks the name up.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn resolve(uri: &str) -> Result<Server, String> {
        let usage = || {
            format!(
                "--server {uri}: expected turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT][?transport=tcp|udp] \
                 or stun:HOST[:PORT]"
            )
        };
        let (scheme, rest) = uri.split_once(':').ok_or_else(usage)?;
        let (place, query) = rest
            .split_once('?')
            .map_or((rest, None), |(place, query)| (place, Some(query)));
        let over = query
            .map(|query| query.strip_prefix("transport=").ok_or_else(usage))
            .transpose()?;
        let (transport, standard) = match (scheme, over) {
            ("turn" | "stun", None | Some("udp")) => (Transport::Udp, 3478),
            ("turn" | "stun", Some("tcp")) => (Transport::Tcp, 3478),
            ("turns" | "stuns", None | Some("tcp")) => (Transport::Tls, 5349),
            ("turns" | "stuns", Some("udp")) => (Transport::Dtls, 5349),
            _ => return Err(usage()),
        };
        let (host, port) = host_and_port(place).ok_or_else(usage)?;
        let port = port.unwrap_or(standard);
        let found = (host, port)
            .to_socket_addrs()
            .map_err(|error| format!("--server {uri}: {host}: {error}"))?
            .next();
        let address = found.ok_or_else(|| format!("--server {uri}: {host} has no address"))?;
        Ok(Server {
            uri: uri.to_owned(),
            host: host.to_owned(),
            address,
            transport,
        })
    }
}

/// `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`.
fn host_and_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            (
                host,
                behind
                    .strip_prefix(':')
                    .or(behind.is_empty().then_some(""))?,
            )
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = if port.is_empty() {
        None
    } else {
        Some(port.parse().ok()?)
    };
    (!host.is_empty()).then_some((host, port))
}

/// Options that the workload has no use for are refused, not ignored: whoever gives them expects something of them.
fn only_what_concerns(args: &Bench) -> Result<(), String> {
    let relays = args.workload == Workload::Relay;
    let idle = [
        ("--size", args.size.is_some() && !relays),
        ("--direction", args.direction.is_some() && !relays),
        ("--indications", args.indications && !relays),
        (
            "--burst",
            args.burst.is_some() && args.workload == Workload::Allocate,
        ),
    ];
    match idle.iter().find(|(_, given)| *given) {
        Some((option, _)) => Err(format!(
            "{option} means nothing to {}",
            args.workload.name()
        )),
        None => Ok(()),
    }
}

/// As many threads as there are cores for them: those that the measured process leaves free, or all but one.
fn threads(pid: Option<u32>) -> usize {
    let free = pid
        .map(crate::bench::process::free_cores)
        .unwrap_or_default()
        .len();
    let spare = crate::net::host::cpu::allowed_cores()
        .len()
        .saturating_sub(1);
    if free > 0 {
        free.min(4)
    } else {
        spare.clamp(1, 4)
    }
}

fn login(args: &Bench) -> Result<Option<Login>, String> {
    match (&args.user, &args.password, &args.shared_secret) {
        (_, Some(_), Some(_)) => Err("give --password or --shared-secret, not both".into()),
        (user, None, Some(secret)) => mint(secret, user.as_deref()).map(Some),
        (Some(user), Some(password), None) => Ok(Some(Login {
            username: user.clone(),
            password: password.clone(),
        })),
        (None, None, None) => Ok(None),
        _ => Err("--user and --password belong together".into()),
    }
}

/// A username that ends in a day and its password, from a secret shared with the server
/// (draft-uberti-behave-turn-rest).
fn mint(secret: &str, user: Option<&str>) -> Result<Login, String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|error| error.to_string())?;
    let expiry = now.as_secs() + 86_400;
    let username = user.map_or_else(|| expiry.to_string(), |user| format!("{expiry}:{user}"));
    let mut mac = <Hmac<Sha1> as KeyInit>::new_from_slice(secret.as_bytes())
        .map_err(|error| error.to_string())?;
    mac.update(username.as_bytes());
    let password = base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes());
    Ok(Login { username, password })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_with_their_defaults() {
        let read = |uri: &str| {
            Server::resolve(uri).map(|server| (server.address.to_string(), server.transport))
        };
        assert_eq!(
            read("turn:127.0.0.1"),
            Ok(("127.0.0.1:3478".into(), Transport::Udp))
        );
        assert_eq!(
            read("turn:127.0.0.1:9?transport=tcp"),
            Ok(("127.0.0.1:9".into(), Transport::Tcp))
        );
        assert_eq!(
            read("turns:[::1]"),
            Ok(("[::1]:5349".into(), Transport::Tls))
        );
        assert_eq!(
            read("turns:127.0.0.1?transport=udp"),
            Ok(("127.0.0.1:5349".into(), Transport::Dtls))
        );
        assert_eq!(read("stun:[::1]:7"), Ok(("[::1]:7".into(), Transport::Udp)));
        for wrong in [
            "127.0.0.1",
            "turn:",
            "turn:[::1",
            "turn:127.0.0.1:x",
            "turn:127.0.0.1?x=y",
            "turns:127.0.0.1?transport=sctp",
            "http:127.0.0.1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_shared_secret_makes_a_login_that_names_its_end() {
        let login = mint("secret", Some("me")).unwrap();
        assert!(
            login.username.ends_with(":me")
                && login
                    .username
                    .split(':')
                    .next()
                    .unwrap()
                    .parse::<u64>()
                    .is_ok()
        );
        assert_eq!(login.password.len(), 28);
    }
}
