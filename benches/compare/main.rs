//! Compares Hairpin with every other TURN server on this machine, under the same load, in one run.
//! The README quotes the table.
//!
//! `cargo bench --bench compare -- [--rows ROW,…] [--only SERVER,…] [--rounds N] [--seconds S]
//! [--live N] [--floor]`. Servers run on the first core that this process may use, the load
//! generator on the last. The rounds of all servers are interleaved, so that other work on the
//! machine disturbs all servers alike, and each cell is the median of its rounds. coturn's
//! `turnserver` is found on PATH; the server of the crate `turn` is built in.

mod certificate;
mod contender;
mod crate_server;
mod floor;
mod live;
mod measure;
mod row;
mod settings;
mod table;

use contender::Contender;
use row::ROWS;
use settings::{DESCRIPTORS, Settings, USAGE};
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::LazyLock;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    // Each allocation takes a socket in the server and one in the load generator; child processes
    // inherit the limit.
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
        [live::FLAG, port, flows, others] => {
            let [flows, others] = [flows, others].map(|number| number.parse().expect("a number"));
            return live::hold(port.parse().expect("a port"), flows, others);
        }
        _ => {}
    }
    let known = |key: &str| ROWS.iter().any(|row| row.key == key);
    let Some(settings) = Settings::parse(&arguments, known) else {
        eprintln!("usage: cargo bench --bench compare -- {USAGE}\nrows:");
        ROWS.iter()
            .for_each(|row| eprintln!("  {:<12} {}", row.key, row.cells[0].title));
        return ExitCode::from(2);
    };
    contender::raise_priority();
    let contenders = Contender::find(settings.floor, &settings.only);
    if !contenders.iter().any(Contender::is_reference) {
        eprintln!(
            "no turnserver on PATH, so coturn is left out; install it with: apt-get install coturn"
        );
    }
    let mut lines = Vec::new();
    for row in ROWS.iter().filter(|row| settings.includes(row.key)) {
        match row.measure(&contenders, &settings) {
            Ok(measured) => {
                measured
                    .iter()
                    .for_each(|line| eprintln!("{}", line.to_text(&contenders)));
                lines.extend(measured);
            }
            Err(error) => eprintln!("{}: {error}", row.key),
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
