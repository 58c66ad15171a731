//! The servers that are compared, and how each is started.

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

/// One server, in the settings that suit it.
#[derive(Clone, Debug)]
pub struct Contender {
    /// As the table calls it.
    pub name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Hairpin,
    Coturn {
        /// `--udp-recvmmsg` and its like are known.
        batches: bool,
    },
    Crate,
    Floor,
}

/// What a row needs of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needs {
    /// Trains of packets: coturn's GSO, which works where every flow has a peer of its own.
    pub trains: bool,
    /// How clients come.
    pub over: Transport,
    /// Relay addresses: the first, in the last octet of 127.0.0.0/24, and how many.
    pub relays: (u8, u8),
}

/// A server that runs, until dropped.
pub struct Running {
    child: Child,
    port: u16,
    over: Transport,
}

impl Needs {
    /// UDP clients and one relay address.
    pub const NOTHING: Needs = Needs {
        trains: false,
        over: Transport::Udp,
        relays: (1, 1),
    };
}

impl Contender {
    /// Ours, those on PATH, the crate's, and the floor where it is asked for; of these the ones whose names begin like one
    /// of `only`, or all.
    pub fn found(with_floor: bool, only: &[String]) -> Vec<Contender> {
        let mut found = vec![Contender {
            name: "hairpin".into(),
            kind: Kind::Hairpin,
        }];
        if let Ok(output) = Command::new("turnserver").arg("--version").output() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let version = said.lines().last().unwrap_or("?").trim().to_owned();
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

    /// Whether it can do what a row needs.
    pub fn can(&self, needs: Needs) -> bool {
        match self.kind {
            Kind::Hairpin | Kind::Coturn { .. } => true,
            Kind::Floor => needs.over == Transport::Udp,
            Kind::Crate => needs == Needs::NOTHING || needs.trains,
        }
    }

    /// Whether the table's ratios are to it.
    pub fn is_reference(&self) -> bool {
        matches!(self.kind, Kind::Coturn { .. })
    }

    /// Peer sockets that a row of so many flows needs for this server's best settings.
    pub fn peers(&self, needs: Needs, flows: usize) -> usize {
        match self.kind {
            Kind::Coturn { batches: true } if needs.trains => flows,
            _ => 1,
        }
    }

    /// Starts it on the first core, and waits until it answers; `None`, with a word, when it does not.
    pub fn start(&self, needs: Needs) -> Option<Running> {
        let port = free_port();
        let pair = (needs.over == Transport::Tls).then(Pair::get);
        let cores = cores();
        let _ = cpu::pin(cores[0]);
        let mut command = self.command(needs, port, pair);
        let log = folder().join(format!("{port}.log"));
        let said = File::create(&log).map_or_else(|_| Stdio::null(), Stdio::from);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
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
        let Err(cause) = running.answers() else {
            return Some(running);
        };
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        eprintln!("{} on port {port}: {cause} {}", self.name, said.trim());
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
                command.args([
                    "--listen",
                    &format!("127.0.0.1:{port}"),
                    "--admin",
                    ANYWHERE,
                    "--web",
                    ANYWHERE,
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
                    // It tells TLS from plain TCP by the first octets, on the same port.
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
                if batches && needs.trains {
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
    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A plan for this server, to be completed by a row.
    pub fn plan(&self) -> Plan {
        plan(self.port, self.over, Some(self.pid()))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until it answers; why it does not before long.
    fn answers(&mut self) -> Result<(), String> {
        let plan = Plan {
            workload: Workload::Binding,
            flows: 1,
            ..plan(self.port, Transport::Udp, None)
        };
        let begun = Instant::now();
        let mut cause = "it does not answer.".to_owned();
        while begun.elapsed() < PATIENCE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err("it ended.".into());
            }
            let greeted = Pool::connect(&plan).and_then(|mut pool| {
                pool.run(
                    Rate::PerSecond(50.0),
                    Duration::from_millis(100),
                    |_: &Progress, _| {},
                )
            });
            match greeted {
                Ok(run) if run.counters.received > 0 => return Ok(()),
                Ok(run) => cause = format!("it answers none of {} requests.", run.counters.sent),
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

/// A plan for the server on a port of 127.0.0.1, to be completed.
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

/// The cores of this process as it began: pinning narrows what it may use.
fn cores() -> &'static [usize] {
    static CORES: LazyLock<Vec<usize>> = LazyLock::new(cpu::allowed_cores);
    &CORES
}

/// Makes this process and its children outrank the rest of the machine, where it may: other work there would be measured
/// too. Linux groups processes by session, so the session is raised as well.
pub fn outrank() {
    let _ = std::fs::write("/proc/self/autogroup", "-20");
    let own = std::process::id().to_string();
    let _ = Command::new("renice")
        .args(["-n", "-20", "-p", &own])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A UDP port that nobody has, outside the relayed ones.
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
const PATIENCE: Duration = Duration::from_secs(20);
/// Packets in flight that keep a server saturated, without a queue that overflows.
const WINDOW: usize = 512;
/// Relayed ports, where the ephemeral ones are not.
const RELAY_PORTS: &str = "10000-32000";
/// Allocations that one relay address holds with room to spare.
pub const PER_ADDRESS: usize = 20_000;
/// Where services listen that nobody asks here.
const ANYWHERE: &str = "127.0.0.1:0";
