//! The cost of the protocol for one packet, without sockets. `cargo bench --bench server` measures
//! time; `-- --instructions` counts instructions under valgrind and fails if they exceed
//! `benches/instructions.tsv` by more than 3 % (`-- --instructions --accept` writes that file); `--
//! --memory` prints the resident memory of an allocation.

mod instructions;
mod world;

use std::process::{Command, ExitCode};
use world::scenario::{SERVER, Scenario, WIRE, walk};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--instructions"] => instructions::compare(),
        ["--instructions", "--accept"] => instructions::accept(),
        [instructions::REPEAT, name] => instructions::repeat(name),
        [instructions::FEATURES] => instructions::features(),
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

/// One ChannelData packet from a client, with this many channels on the server, ten for each
/// allocation.
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

/// Prints the resident memory of one allocation, without its kernel socket, for each count, each in
/// a process of its own.
fn memory(counts: &[usize]) -> ExitCode {
    if let [count] = counts {
        let mut world = world::World::new(*count);
        drop(world.allocate(0));
        let before = resident();
        (1..*count).for_each(|index| drop(world.allocate(index)));
        println!(
            "{count} allocations: {} B each",
            (resident() - before) / (*count as u64 - 1)
        );
        return ExitCode::SUCCESS;
    }
    for count in counts {
        let own = std::env::current_exe().expect("our own path");
        let status = Command::new(own)
            .args(["--memory", &count.to_string()])
            .status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "{count} allocations"
        );
    }
    ExitCode::SUCCESS
}

fn resident() -> u64 {
    hairpin::bench::measure::process::read_usage(std::process::id())
        .expect("our own process")
        .resident
}
