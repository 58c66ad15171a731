//! Hairpin beside every other server found here, under the same load, in one run: the table that README quotes.
//!
//! `cargo bench --bench compare -- [--rows ROW,…] [--only SERVER,…] [--rounds N] [--seconds S] [--live N] [--floor]`. Servers
//! run on the first core that this process may use, the loader on the last; rounds of all servers are interleaved, so that
//! what disturbs one disturbs all, and each cell is the median of its rounds. `turnserver` is taken from PATH; the crate
//! `turn`'s own server is built in.

mod certificate;
mod contender;
mod crate_server;
mod crowd;
mod floor;
mod row;
mod table;

use contender::Contender;
use row::ROWS;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    // Every allocation is a socket on either side; the servers inherit the bound.
    LazyLock::force(&DESCRIPTORS);
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [crate_server::FLAG, port] => return crate_server::serve(port.parse().expect("a port")),
        [floor::FLAG, port, relays @ ..] => {
            let relays: Vec<IpAddr> = relays
                .iter()
                .map(|relay| relay.parse().expect("an address"))
                .collect();
            return floor::serve(port.parse().expect("a port"), &relays);
        }
        [crowd::FLAG, port, flows, others] => {
            let [flows, others] = [flows, others].map(|number| number.parse().expect("a number"));
            return crowd::hold(port.parse().expect("a port"), flows, others);
        }
        _ => {}
    }
    let Some(settings) = Settings::read(&arguments) else {
        eprintln!("usage: cargo bench --bench compare -- {USAGE}\nrows:");
        ROWS.iter()
            .for_each(|row| eprintln!("  {:<12} {}", row.key, row.cells[0].title));
        return ExitCode::from(2);
    };
    contender::outrank();
    let contenders = Contender::found(settings.floor, &settings.only);
    if !contenders.iter().any(Contender::is_reference) {
        eprintln!(
            "no turnserver on PATH (apt-get install coturn): only our own and the crate's server are compared"
        );
    }
    let mut lines = Vec::new();
    for row in ROWS
        .iter()
        .filter(|row| settings.rows.is_empty() || settings.rows.iter().any(|key| key == row.key))
    {
        match row.measure(&contenders, &settings) {
            Ok(measured) => {
                measured
                    .iter()
                    .for_each(|line| eprintln!("{}", line.to_text(&contenders)));
                lines.extend(measured);
            }
            Err(sentence) => eprintln!("{}: {sentence}", row.key),
        }
    }
    let _ = std::fs::remove_dir_all(certificate::folder());
    println!(
        "\n{}\n{}",
        table::render(&contenders, &lines),
        settings.to_text()
    );
    ExitCode::SUCCESS
}

/// What the command line asks for.
pub struct Settings {
    rows: Vec<String>,
    only: Vec<String>,
    floor: bool,
    /// Runs of each server in each row.
    pub rounds: usize,
    /// Length of each run.
    pub length: Duration,
    /// Live allocations of the row `live`.
    pub live: usize,
}

impl Settings {
    fn read(arguments: &[String]) -> Option<Settings> {
        let length = Duration::from_secs(1);
        let mut settings = Settings {
            rows: Vec::new(),
            only: Vec::new(),
            floor: false,
            rounds: 5,
            length,
            live: 200_000,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--rows" => settings
                    .rows
                    .extend(rest.next()?.split(',').map(str::to_owned)),
                "--only" => settings
                    .only
                    .extend(rest.next()?.split(',').map(str::to_owned)),
                "--floor" => settings.floor = true,
                "--rounds" => {
                    settings.rounds = rest.next()?.parse().ok().filter(|rounds| *rounds > 0)?
                }
                "--seconds" => {
                    settings.length =
                        Duration::try_from_secs_f64(rest.next()?.parse().ok()?).ok()?
                }
                "--live" => settings.live = rest.next()?.parse().ok().filter(|live| *live >= 20)?,
                _ => return None,
            }
        }
        let known = |key: &String| ROWS.iter().any(|row| row.key == key);
        settings.rows.iter().all(known).then_some(settings)
    }
}

impl Settings {
    /// How and where it was measured, in a line.
    fn to_text(&self) -> String {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (cores, release) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
        let model = cores
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split(": ").nth(1));
        format!(
            "Medians of {} runs of {} s; {}, Linux {}; servers with {DESCRIPTORS} descriptors at most.",
            self.rounds,
            self.length.as_secs_f64(),
            model.unwrap_or("an unknown processor"),
            release.trim(),
            DESCRIPTORS = *DESCRIPTORS,
        )
    }
}

/// Descriptors that each process here may have.
static DESCRIPTORS: LazyLock<u64> = LazyLock::new(|| hairpin::net::host::fd_limit::raise(1 << 19));
const USAGE: &str =
    "[--rows ROW,…] [--only SERVER,…] [--rounds N] [--seconds S] [--live N] [--floor]";
