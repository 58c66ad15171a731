//! The command line of `hairpin bench`.

use crate::bench::plan::{BenchOptions, Direction, PlanError, Workload};
use crate::bench::rate::Rate;
use crate::cli::duration::duration;
use crate::client::credentials::Credentials;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::path::PathBuf;
use std::time::Duration;

/// Measures a STUN or TURN server: throughput, loss, latency, and with --pid the CPU time of each
/// packet.
///
/// The relay workload sends numbered packets with checksums through the server. In the directions
/// up, down and both this host is also the peer, so the server must permit this host's address as a
/// peer (on loopback: hairpin serve --allow-peer 127.0.0.0/8, turnserver --allow-loopback-peers).
/// In the direction hairpin both ends are allocations.
#[derive(clap::Args, Clone, Debug)]
pub struct Bench {
    /// Requests to make
    #[arg(value_enum)]
    pub workload: Workload,
    /// Server to load: turn:HOST[:PORT][?transport=udp|tcp], turns:HOST[:PORT][?transport=tcp|udp]
    /// (TLS, DTLS) or stun:HOST
    #[arg(long, value_name = "URI")]
    pub server: String,
    /// Username
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Password of --user
    #[arg(long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Create time-limited credentials from a secret shared with the server
    #[arg(long, value_name = "SECRET")]
    pub shared_secret: Option<String>,
    /// Clients, each with its own five-tuple and allocation
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub flows: usize,
    /// Octets of payload in each relayed packet [default: 1200]
    #[arg(long, value_name = "B")]
    pub size: Option<usize>,
    /// Packets that a flow sends back to back, like the packets of a video frame [default: 1]
    #[arg(long, value_name = "K")]
    pub burst: Option<usize>,
    /// Packets or allocations per second over all flows, or max: search for the highest rate with a
    /// loss below 0.1 % [default: 10000; 1000 for allocate]
    #[arg(long, value_name = "PPS|max")]
    pub rate: Option<Rate>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Direction of relayed packets [default: up]
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// Send and Data indications instead of channels
    #[arg(long)]
    pub indications: bool,
    /// Also measure this local process: the server
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Also write the result to a self-contained HTML page with plots
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Threads that send and receive [default: one less than there are cores, at most 4]
    #[arg(long, value_name = "N", hide = true)]
    pub threads: Option<usize>,
}

impl Bench {
    /// The options without what only concerns output.
    ///
    /// # Errors
    /// [`PlanError::Credentials`].
    pub fn options(&self) -> Result<BenchOptions, PlanError> {
        let credentials = Credentials::from_options(
            self.user.clone(),
            self.password.clone(),
            self.shared_secret.clone(),
        );
        Ok(BenchOptions {
            workload: self.workload,
            server: self.server.clone(),
            credentials: credentials.map_err(PlanError::Credentials)?,
            flows: self.flows,
            size: self.size,
            burst: self.burst,
            rate: self.rate,
            duration: self.duration,
            direction: self.direction,
            indications: self.indications,
            pid: self.pid,
            threads: self.threads,
        })
    }
}

impl ValueEnum for Workload {
    fn value_variants<'a>() -> &'a [Workload] {
        &[Workload::Relay, Workload::Allocate, Workload::Binding]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Workload::Relay => "Packets through allocations",
            Workload::Allocate => "Allocations, created and deleted again",
            Workload::Binding => "Binding requests",
        }))
    }
}

impl ValueEnum for Direction {
    fn value_variants<'a>() -> &'a [Direction] {
        &[
            Direction::Up,
            Direction::Down,
            Direction::Both,
            Direction::Hairpin,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(match self {
            Direction::Up => "From clients to their peers",
            Direction::Down => "From peers to clients",
            Direction::Both => "Both at once",
            Direction::Hairpin => {
                "Between clients: the peer of each is the relayed address of another"
            }
        }))
    }
}
