//! Hairpin beside every other server found here, under the same load, in one run: the table that README quotes.
//!
//! `cargo bench --bench compare [-- ROW...] [--rounds N] [--seconds S] [--floor]`. Servers run on the first core that this process
//! may use, the loader on the last; rounds of all servers are interleaved, so that what disturbs one disturbs all, and
//! each cell is the median of its rounds. `turnserver` is taken from PATH; the crate `turn`'s own server is built in.

mod contender;
mod crate_server;
mod floor;
mod row;
mod table;

use contender::Contender;
use row::{ROWS, Row};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [crate_server::FLAG, port] => return crate_server::serve(port.parse().expect("a port")),
        [floor::FLAG, port] => return floor::serve(port.parse().expect("a port")),
        _ => {}
    }
    let Some(settings) = Settings::read(&arguments) else {
        eprintln!("usage: cargo bench --bench compare [-- ROW...] [--rounds N] [--seconds S] [--floor]\nrows:");
        ROWS.iter().for_each(|row| eprintln!("  {:<12} {}", row.key, row.title));
        return ExitCode::from(2);
    };
    contender::outrank();
    let contenders = Contender::found(settings.floor);
    if !contenders.iter().any(Contender::is_reference) {
        eprintln!("no turnserver on PATH (apt-get install coturn): only our own and the crate's server are compared");
    }
    let mut lines = Vec::new();
    for row in ROWS.iter().filter(|row| settings.rows.is_empty() || settings.rows.iter().any(|key| key == row.key)) {
        match row.measure(&contenders, &settings) {
            Ok(line) => {
                eprintln!("{}", line.to_text(&contenders));
                lines.push(line);
            }
            Err(sentence) => eprintln!("{}: {sentence}", row.key),
        }
    }
    println!("\n{}", table::render(&contenders, &lines));
    ExitCode::SUCCESS
}

/// What the command line asks for.
pub struct Settings {
    rows: Vec<String>,
    floor: bool,
    /// Runs of each server in each row.
    pub rounds: usize,
    /// Length of each run.
    pub length: Duration,
}

impl Settings {
    fn read(arguments: &[String]) -> Option<Settings> {
        let mut settings = Settings { rows: Vec::new(), floor: false, rounds: 5, length: Duration::from_secs(1) };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--floor" => settings.floor = true,
                "--rounds" => settings.rounds = rest.next()?.parse().ok()?,
                "--seconds" => settings.length = Duration::from_secs_f64(rest.next()?.parse().ok()?),
                key if ROWS.iter().any(|row| row.key == key) => settings.rows.push(key.to_owned()),
                _ => return None,
            }
        }
        Some(settings)
    }
}

/// The row that a key names, for rows that lean on another.
pub fn row(key: &str) -> &'static Row {
    ROWS.iter().find(|row| row.key == key).expect("a known row")
}
