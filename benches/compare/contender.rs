//! The compared servers, and how each is started.

use crate::certificate::{Pair, folder};
use crate::{crate_server, floor};
use hairpin::bench::plan::{Direction, Plan, Target, Workload};
use hairpin::bench::pool::Pool;
use hairpin::bench::rate::Rate;
use hairpin::bench::stop::Stop;
use hairpin::bench::worker::Progress;
use hairpin::net::host::cpu;
use hairpin::turn::Transport;
use hairpin::turn::client_state::Login;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A server to compare, run with the settings that suit it best.
#[derive(Clone, Debug)]
pub struct Contender {
    pub name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Hairpin,
    Coturn {
        /// This version has `--udp-recvmmsg` and related options.
        batches: bool,
    },
    Crate,
    Floor,
}

/// The features of a server that a row requires.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Segmentation offload (GSO); coturn has it if every flow has a peer of its own.
    pub segmentation: bool,
    /// The transport of the clients.
    pub over: Transport,
    /// Relay addresses in 127.0.0.0/24: the last octet of the first one, and their number.
    pub relays: (u8, u8),
}

/// A running server, killed when it is dropped.
pub struct Running {
    child: Child,
    port: u16,
    over: Transport,
}

impl Needs {
    /// UDP clients and one relay address.
    pub const NOTHING: Needs = Needs {
        segmentation: false,
        over: Transport::Udp,
        relays: (1, 1),
    };
}

impl Contender {
    /// Hairpin, coturn if it is on PATH, the crate's server, and the floor if requested. If `only`
    /// is not empty, the servers whose names start with one of its entries.
    pub fn find(with_floor: bool, only: &[String]) -> Vec<Contender> {
        let mut found = vec![Contender {
            name: "hairpin".into(),
            kind: Kind::Hairpin,
        }];
        if let Ok(output) = Command::new("turnserver").arg("--version").output() {
            let output = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = output.lines().last().unwrap_or("?").trim().to_owned();
            let help = Command::new("turnserver")
                .arg("--help")
                .output()
                .map(|output| output.stdout)
                .unwrap_or_default();
            let batches = String::from_utf8_lossy(&help).contains("--udp-recvmmsg");
            found.push(Contender {
                name: format!("coturn {version}"),
                kind: Kind::Coturn { batches },
            });
        }
        found.push(Contender {
            name: "turn 0.17.2".into(),
            kind: Kind::Crate,
        });
        if with_floor {
            found.push(Contender {
                name: "floor".into(),
                kind: Kind::Floor,
            });
        }
        found.retain(|contender| {
            only.is_empty() || only.iter().any(|name| contender.name.starts_with(name))
        });
        found
    }

    /// Returns true if the server has the required features.
    pub fn can(&self, needs: Needs) -> bool {
        match self.kind {
            Kind::Hairpin | Kind::Coturn { .. } => true,
            Kind::Floor => needs.over == Transport::Udp,
            Kind::Crate => needs == Needs::NOTHING || needs.segmentation,
        }
    }

    /// Returns true for coturn, to which the table's ratios refer.
    pub fn is_reference(&self) -> bool {
        matches!(self.kind, Kind::Coturn { .. })
    }

    /// The number of peer sockets for this many flows under this server's best settings.
    pub fn peers(&self, needs: Needs, flows: usize) -> usize {
        match self.kind {
            Kind::Coturn { batches: true } if needs.segmentation => flows,
            _ => 1,
        }
    }

    /// Starts the server on the first core and waits until it answers; reports a failure and
    /// returns `None`.
    pub fn start(&self, needs: Needs) -> Option<Running> {
        let port = free_port();
        let pair = (needs.over == Transport::Tls).then(Pair::get);
        let cores = cores();
        let _ = cpu::pin(cores[0]);
        let mut command = self.command(needs, port, pair);
        let log = folder().join(format!("{port}.log"));
        let stderr = File::create(&log).map_or_else(|_| Stdio::null(), Stdio::from);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn();
        if let Some(last) = cores.last().filter(|_| cores.len() > 1) {
            let _ = cpu::pin(*last);
        }
        let child = child
            .inspect_err(|error| eprintln!("{}: {error}", self.name))
            .ok()?;
        let mut running = Running {
            child,
            port,
            over: needs.over,
        };
        let Err(cause) = running.wait_until_ready() else {
            return Some(running);
        };
        let printed = std::fs::read_to_string(&log).unwrap_or_default();
        eprintln!("{} on port {port}: {cause} {}", self.name, printed.trim());
        None
    }

    fn command(&self, needs: Needs, port: u16, pair: Option<&Pair>) -> Command {
        let (first, count) = needs.relays;
        let relays: Vec<String> = (first..first + count)
            .map(|last| format!("127.0.0.{last}"))
            .collect();
        match self.kind {
            Kind::Hairpin => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
                command.args([
                    "serve",
                    "--shards",
                    "1",
                    "--realm",
                    "bench",
                    "--user",
                    "user:pass",
                ]);
                command.args(["--allow-peer", "127.0.0.0/8", "--relay-ports", RELAY_PORTS]);
                command.args(["--user-allocations", "0", "--new-peers", "0"]);
                command.args([
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                    "--admin",
                    ANY_PORT,
                    "--web",
                    ANY_PORT,
                ]);
                command.args(relays.iter().flat_map(|relay| ["--relay-address", relay]));
                if let Some(pair) = pair {
                    command
                        .arg("--certificate")
                        .arg(&pair.certificate)
                        .arg("--private-key")
                        .arg(&pair.key);
                }
                command
            }
            Kind::Coturn { batches } => {
                let (min, max) = RELAY_PORTS.split_once('-').expect("a range");
                let mut command = Command::new("turnserver");
                command.args([
                    "-n",
                    "-L",
                    "127.0.0.1",
                    "-m",
                    "1",
                    "-p",
                    &port.to_string(),
                    "--no-cli",
                    "--no-dtls",
                ]);
                command.args([
                    "--lt-cred-mech",
                    "-u",
                    "user:pass",
                    "-r",
                    "bench",
                    "--allow-loopback-peers",
                ]);
                command.args([
                    "--min-port",
                    min,
                    "--max-port",
                    max,
                    "--pidfile",
                    "/dev/null",
                    "--log-file",
                    "/dev/null",
                ]);
                command.args(relays.iter().flat_map(|relay| ["-E", relay]));
                match pair {
                    // coturn detects TLS by the first octets on the same port.
                    Some(pair) => command
                        .arg("--cert")
                        .arg(&pair.certificate)
                        .arg("--pkey")
                        .arg(&pair.key),
                    None => command.arg("--no-tls"),
                };
                if batches {
                    command.arg("--udp-recvmmsg");
                }
                if batches && needs.segmentation {
                    command.args(["--multiplex-peer", "--udp-gso"]);
                }
                command
            }
            Kind::Crate | Kind::Floor => {
                let mut command = Command::new(std::env::current_exe().expect("our own path"));
                let flag = if self.kind == Kind::Floor {
                    floor::FLAG
                } else {
                    crate_server::FLAG
                };
                command.args([flag, &port.to_string()]);
                if self.kind == Kind::Floor {
                    command.args(relays);
                }
                command
            }
        }
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The plan that rows start from.
    pub fn plan(&self) -> Plan {
        plan(self.port, self.over, Some(self.pid()))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until the server answers; returns the reason if it does not.
    fn wait_until_ready(&mut self) -> Result<(), String> {
        let plan = Plan {
            workload: Workload::Binding,
            flows: 1,
            ..plan(self.port, Transport::Udp, None)
        };
        let start = Instant::now();
        let mut cause = "no answer".to_owned();
        while start.elapsed() < START_TIMEOUT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err("the server has ended".into());
            }
            let run = Pool::connect(&plan).and_then(|mut pool| {
                pool.run(
                    Rate::PerSecond(50.0),
                    Duration::from_millis(100),
                    |_: &Progress, _| {},
                )
            });
            match run {
                Ok(run) if run.counters.received > 0 => return Ok(()),
                Ok(run) => cause = format!("no answer to {} requests", run.counters.sent),
                Err(failure) => cause = failure.to_string(),
            }
        }
        Err(cause)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The plan for a server on this port of 127.0.0.1 that rows start from.
pub fn plan(port: u16, transport: Transport, pid: Option<u32>) -> Plan {
    Plan {
        workload: Workload::Relay,
        target: Target {
            uri: format!("turn:127.0.0.1:{port}"),
            host: "127.0.0.1".into(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            transport,
        },
        login: Some(Login {
            username: "user".into(),
            password: "pass".into(),
        }),
        flows: 50,
        other_clients: 0,
        size: 1200,
        burst: 1,
        rate: Rate::InFlight(WINDOW),
        duration: Duration::from_secs(1),
        direction: Direction::Up,
        indications: false,
        pid,
        threads: 1,
        peers: 1,
        stop: Stop::default(),
    }
}

/// The cores that this process had at the start; pinning reduces them.
fn cores() -> &'static [usize] {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(cpu::allowed_cores);
    &CORES
}

/// Raises the priority of this process and its children, if permitted, because other work on the
/// machine disturbs the measurement. Linux schedules processes by session (autogroup), so the
/// session's priority is raised too.
pub fn raise_priority() {
    let _ = std::fs::write("/proc/self/autogroup", "-20");
    let own = std::process::id().to_string();
    let _ = Command::new("renice")
        .args(["-n", "-20", "-p", &own])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A free UDP port outside the range of relayed ports.
fn free_port() -> u16 {
    loop {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = socket.local_addr().expect("its address").port();
        if port >= 41_000 {
            return port;
        }
    }
}

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Packets in flight: enough to saturate a server, too few to overflow a queue.
const WINDOW: usize = 512;
/// Ports of relayed addresses, below the kernel's ephemeral ports.
const RELAY_PORTS: &str = "10000-32000";
/// Allocations per relay address, fewer than its ports.
pub const PER_ADDRESS: usize = 20_000;
/// For listeners that are not used.
const ANY_PORT: &str = "127.0.0.1:0";
