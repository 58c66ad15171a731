//! The command line of `hairpin bench`.

use crate::bench::rate;
use crate::bench::rate::Rate;
use std::path::PathBuf;
use std::time::Duration;

/// Measures a STUN or TURN server: throughput, loss, latency, and with --pid what each packet costs it.
///
/// The relay workload sends numbered, checkable packets through the server. For the directions up, down and both this
/// host is the peer too, so the server must permit this host's address as a peer (on loopback hairpin serve
/// --allow-peer 127.0.0.0/8, turnserver --allow-loopback-peers); with hairpin both ends are allocations of the server.
#[derive(clap::Args, Clone, Debug)]
pub struct Bench {
    /// What to ask of the server
    #[arg(value_enum)]
    pub workload: Workload,
    /// The server: turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT][?transport=tcp|udp] (TLS, DTLS) or stun:HOST
    #[arg(long, value_name = "URI")]
    pub server: String,
    /// Username
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Its password
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Mint a username and password from a secret shared with the server
    #[arg(long, value_name = "SECRET")]
    pub shared_secret: Option<String>,
    /// Clients, each with a five-tuple (and an allocation) of its own
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub flows: usize,
    /// Octets of payload in each packet that is relayed [default: 1200]
    #[arg(long, value_name = "B")]
    pub size: Option<usize>,
    /// Packets that a flow sends back to back, like the packets of a video frame
    #[arg(long, value_name = "K")]
    pub burst: Option<usize>,
    /// Packets (or allocations) a second over all flows, or max: search for the highest rate that loses under 0.1 %
    /// [default: 10000, and 1000 for allocate]
    #[arg(long, value_name = "PPS|max")]
    pub rate: Option<Rate>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = rate::duration)]
    pub duration: Duration,
    /// From clients to their peers, from peers to clients, both at once, or between clients [default: up]
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// Send and Data indications instead of channels
    #[arg(long)]
    pub indications: bool,
    /// Measure this process of this machine, the server, too
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
    /// Write the outcome as one self-contained page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Threads that send and receive [default: one less than there are cores, at most 4]
    #[arg(long, value_name = "N", hide = true)]
    pub threads: Option<usize>,
}

/// What is asked of the server.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Packets through allocations
    Relay,
    /// Allocations, made and released again
    Allocate,
    /// Binding requests
    Binding,
}

/// Which way packets go.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From clients to their peers
    Up,
    /// From peers to clients
    Down,
    /// Both at once
    Both,
    /// Between clients: each one's peer is the other's relayed address
    Hairpin,
}

impl Workload {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Relay => "relay",
            Workload::Allocate => "allocate",
            Workload::Binding => "binding",
        }
    }
}

impl Direction {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
            Direction::Both => "both",
            Direction::Hairpin => "hairpin",
        }
    }
}
