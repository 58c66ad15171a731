//! What the protocol takes for one packet, without sockets. `cargo bench --bench server` measures time;
//! `-- --instructions` counts instructions under valgrind and compares them with `benches/instructions.tsv` (more than
//! 3 % above it fails; `-- --instructions --accept` writes it anew); `-- --memory` says what an allocation keeps resident.

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use world::scenario::{SERVER, Scenario, WIRE, walk};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--instructions"] => compare(false),
        ["--instructions", "--accept"] => compare(true),
        ["--repeat", name, times] => repeat(name, times.parse().expect("a number")),
        ["--memory"] => memory(&[10_000, 50_000, 200_000]),
        ["--memory", count] => memory(&[count.parse().expect("a number")]),
        _ => {
            divan::main();
            ExitCode::SUCCESS
        }
    }
}

#[divan::bench(args = SERVER.iter().map(|(name, _)| *name))]
fn packet(bencher: divan::Bencher, name: &str) {
    bencher.bench_local(find(name).1());
}

/// One ChannelData packet from a client, with so many channels on the server, ten to an allocation.
#[divan::bench(args = [10, 1_000, 10_000, 100_000, 1_000_000], sample_count = 50, sample_size = 20_000)]
fn lookup(bencher: divan::Bencher, channels: usize) {
    bencher.bench_local(walk(channels / 10, 10));
}

fn all() -> impl Iterator<Item = &'static Scenario> {
    WIRE.iter().chain(SERVER)
}

fn find(name: &str) -> &'static Scenario {
    all().find(|(known, _)| *known == name).expect("a scenario")
}

/// Does one scenario so many times: what valgrind watches.
fn repeat(name: &str, times: u64) -> ExitCode {
    let mut operation = find(name).1();
    (0..times).for_each(|_| operation());
    ExitCode::SUCCESS
}

/// Counts the instructions of every scenario and holds them against the baseline.
fn compare(accept: bool) -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("SKIPPED: instruction counts need valgrind (apt-get install valgrind)");
        return if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let baseline = baseline();
    let mut counted =
        String::from("# Instructions of one operation: cargo bench --bench server -- --instructions --accept\n");
    let mut worse = 0;
    for (name, _) in all() {
        let now = instructions(name);
        counted.push_str(&format!("{name}\t{now}\n"));
        let verdict = match baseline.get(*name) {
            None => "new".to_owned(),
            Some(before) => {
                let change = now as f64 / *before as f64 - 1.0;
                let over = change > TOLERANCE && now > before + SLACK;
                worse += u32::from(over);
                format!("{:+.1} %{}", change * 100.0, if over { "  TOO MUCH" } else { "" })
            }
        };
        println!("{now:>8}  {verdict:<20} {name}");
    }
    if accept {
        std::fs::write(path(), counted).expect("the baseline can be written");
        return ExitCode::SUCCESS;
    }
    let missing = all().filter(|(name, _)| !baseline.contains_key(*name)).count();
    if missing > 0 {
        eprintln!("{missing} scenarios have no baseline: run with --accept and commit {}", path().display());
    }
    if worse > 0 {
        eprintln!("{worse} scenarios take over {:.0} % more instructions than before", TOLERANCE * 100.0);
    }
    if worse > 0 || missing > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Instructions of one operation: the difference between doing it often and doing it oftener.
fn instructions(name: &str) -> u64 {
    let [few, many] = [TIMES, 2 * TIMES].map(|times| collected(name, times));
    many.saturating_sub(few) / TIMES
}

fn collected(name: &str, times: u64) -> u64 {
    let own = std::env::current_exe().expect("our own path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--repeat", name, &times.to_string()])
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find_map(|line| line.split_once("Collected :")).unwrap_or_else(|| panic!("{said}"));
    line.1.trim().parse().expect("a number of instructions")
}

fn baseline() -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let read = |line: &str| {
        let (name, count) = line.split_once('\t')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(read).collect()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.tsv")
}

/// Says what one allocation keeps resident, its kernel socket apart, for each number of them. Each runs in a process of its own.
fn memory(counts: &[usize]) -> ExitCode {
    if let [count] = counts {
        let mut world = world::World::new(*count);
        drop(world.allocate(0));
        let before = resident();
        (1..*count).for_each(|index| drop(world.allocate(index)));
        println!("{count} allocations: {} B each", (resident() - before) / (*count as u64 - 1));
        return ExitCode::SUCCESS;
    }
    for count in counts {
        let own = std::env::current_exe().expect("our own path");
        let status = Command::new(own).args(["--memory", &count.to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "{count} allocations");
    }
    ExitCode::SUCCESS
}

fn resident() -> u64 {
    hairpin::cli::bench::process::spent(std::process::id()).expect("our own process").resident
}

/// Operations whose instructions are compared.
const TIMES: u64 = 2_000;
/// What may come on top of the baseline, 0 to 1.
const TOLERANCE: f64 = 0.03;
/// Instructions that are noise, however few there are in all.
const SLACK: u64 = 3;
