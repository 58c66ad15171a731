//! Instructions of one operation, counted by callgrind, so that other work on the machine does not
//! matter. They are compared with a committed baseline. Counts are comparable only for the same
//! compiler and the same processor features (valgrind emulates a processor of its own), so the
//! baseline records both.

use crate::world::scenario::Operation;
use crate::{all, find};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::thread;

/// The argument that makes this executable repeat one scenario.
pub const REPEAT: &str = "--repeat";
/// The argument that makes this executable print the processor features.
pub const FEATURES: &str = "--features";

/// The committed numbers.
struct Baseline {
    /// Compiler, C library, valgrind and processor features.
    origin: String,
    counts: BTreeMap<String, u64>,
}

/// Counts every scenario; fails if a count exceeds the baseline by more than [`TOLERANCE`].
pub fn compare() -> ExitCode {
    let Some(origin) = origin() else {
        return without_valgrind();
    };
    let baseline = Baseline::read();
    if baseline.origin != origin {
        println!(
            "SKIPPED: the baseline {} was counted under other conditions:",
            path().display()
        );
        println!("  there: {}\n  here:  {origin}", baseline.origin);
        println!("  write a new baseline with: {ACCEPT}");
        return ExitCode::SUCCESS;
    }
    let mut faults = 0;
    for (name, now) in count_all() {
        let (verdict, fault) = match baseline.counts.get(name) {
            None => ("NOT IN THE BASELINE".to_owned(), true),
            Some(&before) => {
                let change = now as f64 / before as f64 - 1.0;
                let fault = change > TOLERANCE && now > before + SLACK;
                (
                    format!(
                        "{:+.1} %{}",
                        change * 100.0,
                        if fault { "  TOO MUCH" } else { "" }
                    ),
                    fault,
                )
            }
        };
        faults += u32::from(fault);
        println!("{now:>8}  {verdict:<20} {name}");
    }
    if faults == 0 {
        return ExitCode::SUCCESS;
    }
    println!(
        "{faults} scenarios exceed the baseline by more than {:.0} % or are not in it; if that is intended, run: {ACCEPT}",
        TOLERANCE * 100.0
    );
    ExitCode::FAILURE
}

/// Counts every scenario and writes the baseline.
pub fn accept() -> ExitCode {
    let Some(origin) = origin() else {
        return without_valgrind();
    };
    let mut text = format!("# Instructions of one operation. Written by: {ACCEPT}\n# {origin}\n");
    for (name, count) in count_all() {
        println!("{count:>8}  {name}");
        text.push_str(&format!("{name}\t{count}\n"));
    }
    std::fs::write(path(), text).expect("the baseline can be written");
    ExitCode::SUCCESS
}

/// Prints the processor features that select code paths at run time.
pub fn features() -> ExitCode {
    let mut found = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let asked = [
            ("sse4.2", is_x86_feature_detected!("sse4.2")),
            ("pclmulqdq", is_x86_feature_detected!("pclmulqdq")),
            ("aes", is_x86_feature_detected!("aes")),
            ("sha", is_x86_feature_detected!("sha")),
            ("bmi2", is_x86_feature_detected!("bmi2")),
            ("avx2", is_x86_feature_detected!("avx2")),
            ("avx512f", is_x86_feature_detected!("avx512f")),
        ];
        found.extend(asked.iter().filter(|(_, is)| *is).map(|(name, _)| *name));
    }
    println!("{}", found.join(" "));
    ExitCode::SUCCESS
}

fn without_valgrind() -> ExitCode {
    println!("SKIPPED: instruction counts need valgrind (apt-get install valgrind)");
    ExitCode::SUCCESS
}

/// The environment on which the counts depend: compiler, C library, valgrind, and the processor
/// features that valgrind emulates; `None` without valgrind.
fn origin() -> Option<String> {
    let output_of = |command: &mut Command| {
        let output = command
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let valgrind = output_of(Command::new("valgrind").arg("--version"))?;
    let processor = output_of(valgrind_of("none").arg(own()).arg(FEATURES))?;
    let compiler = output_of(Command::new("rustc").arg("-V")).unwrap_or_default();
    let library = output_of(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    Some([compiler, library, valgrind, processor].join("; "))
}

/// Instructions of every scenario, one process for each core at a time.
fn count_all() -> Vec<(&'static str, u64)> {
    let names: Vec<&str> = all().map(|(name, _)| *name).collect();
    let at_once = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut counted = Vec::new();
    for group in names.chunks(at_once) {
        let counts: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = group
                .iter()
                .map(|name| scope.spawn(|| count(name)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a count"))
                .collect()
        });
        counted.extend(group.iter().copied().zip(counts));
    }
    counted
}

/// Instructions of one operation, the median of several processes, because each process seeds its
/// hash tables differently and so has other collisions.
fn count(name: &str) -> u64 {
    let mut counts: Vec<u64> = (0..PROCESSES).map(|_| collected(name) / TIMES).collect();
    counts.sort_unstable();
    counts[PROCESSES / 2]
}

/// Repeats one scenario, under valgrind.
pub fn repeat(name: &str) -> ExitCode {
    let mut operation = find(name).1();
    // Warm up: tables grow and pages are touched only once.
    (0..TIMES).for_each(|_| operation());
    repeated_while_counted(&mut operation);
    // Skips destructors, which would only take time.
    std::process::exit(0)
}

/// Callgrind counts within this function, which it finds by its name.
#[inline(never)]
fn repeated_while_counted(operation: &mut Operation) {
    (0..TIMES).for_each(|_| operation());
}

fn collected(name: &str) -> u64 {
    let mut command = valgrind_of("callgrind");
    command.args([
        "--callgrind-out-file=/dev/null",
        "--collect-atstart=no",
        "--toggle-collect=*repeated_while_counted*",
    ]);
    command.arg(own()).args([REPEAT, name]);
    let output = command.output().expect("valgrind runs");
    let report = String::from_utf8_lossy(&output.stderr);
    let line = report
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .unwrap_or_else(|| panic!("{report}"));
    line.1.trim().parse().expect("a number of instructions")
}

fn valgrind_of(tool: &str) -> Command {
    let mut command = Command::new("valgrind");
    command.arg(format!("--tool={tool}"));
    command
}

fn own() -> PathBuf {
    std::env::current_exe().expect("our own path")
}

impl Baseline {
    fn read() -> Baseline {
        let text = std::fs::read_to_string(path()).unwrap_or_default();
        let count = |line: &str| {
            let (name, count) = line.split_once('\t')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        let origin = text
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        Baseline {
            origin,
            counts: text.lines().filter_map(count).collect(),
        }
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.tsv")
}

const ACCEPT: &str = "cargo bench --locked --bench server -- --instructions --accept";
/// Counted operations: one for each allocation of a scenario.
const TIMES: u64 = 1_000;
/// Processes whose median is taken.
const PROCESSES: usize = 3;
/// The permitted excess over the baseline, as a fraction.
const TOLERANCE: f64 = 0.03;
/// An excess of so few instructions is noise.
const SLACK: u64 = 3;
