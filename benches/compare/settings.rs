//! The command line of the comparison.

use std::sync::LazyLock;
use std::time::Duration;

pub struct Settings {
    /// Keys of the rows to measure; empty for all.
    rows: Vec<String>,
    /// Servers to compare, by the beginning of their names; empty for all.
    pub only: Vec<String>,
    /// Include [`crate::floor`].
    pub floor: bool,
    /// Runs of each server for each row.
    pub rounds: usize,
    /// Length of each run.
    pub length: Duration,
    /// Number of allocations for the row `live`.
    pub live: usize,
}

impl Settings {
    /// Parses the command line; `None` if it is wrong or names a row that is not known.
    pub fn parse(arguments: &[String], known: impl Fn(&str) -> bool) -> Option<Settings> {
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
        let all_known = settings.rows.iter().all(|key| known(key));
        all_known.then_some(settings)
    }

    /// Returns true if the row is to be measured.
    pub fn includes(&self, key: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|row| row == key)
    }

    /// One line about the conditions of the measurement.
    pub fn to_text(&self) -> String {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let (cores, release) = (read("/proc/cpuinfo"), read("/proc/sys/kernel/osrelease"));
        let model = cores
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split(": ").nth(1));
        format!(
            "Medians of {} runs of {} s; {}, Linux {}; at most {DESCRIPTORS} descriptors per process.",
            self.rounds,
            self.length.as_secs_f64(),
            model.unwrap_or("an unknown processor"),
            release.trim(),
            DESCRIPTORS = *DESCRIPTORS,
        )
    }
}

/// The limit of file descriptors, raised as far as the system allows.
pub static DESCRIPTORS: LazyLock<u64> =
    LazyLock::new(|| hairpin::net::host::fd_limit::raise(1 << 19));
pub const USAGE: &str =
    "[--rows ROW,…] [--only SERVER,…] [--rounds N] [--seconds S] [--live N] [--floor]";
