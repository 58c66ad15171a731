//! `turn::Server` against a naive model, in virtual time: random operations of many clients and peers, and after each
//! the same answers, the same packets onward, the same sockets, ports, grants and routes.
//!
//! `cargo test --test model` does as many steps as fit into ten seconds; `HAIRPIN_MODEL_STEPS=1000000` that many. A
//! sequence that diverges is made as short as can be, printed, and its seed kept in `proptest-regressions`, from where it
//! is tried again first. The fuzz targets' corpora are replayed here too.

mod answer;
#[path = "../fuzz/bodies.rs"]
mod bodies;
mod naive;
mod operation;
mod replay;
mod world;

use naive::Naive;
use operation::OCTETS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};
use std::cell::Cell;
use std::time::{Duration, Instant};
use world::{Setting, World};

#[test]
fn the_server_does_what_the_model_does() {
    let wanted = std::env::var("HAIRPIN_MODEL_STEPS")
        .ok()
        .map(|steps| steps.parse::<u64>().expect("a number of steps"));
    let (begun, steps) = (Instant::now(), Cell::new(0));
    let config = Config {
        // Many, of which the kept ones, tried first, are few.
        cases: 64,
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..Config::default()
    };
    let operations = vec(any::<[u8; OCTETS]>(), 1..400);
    while wanted.map_or(begun.elapsed() < PATIENCE, |wanted| steps.get() < wanted) {
        // A new one each time: a runner that has had its cases runs none but the kept ones.
        let outcome = TestRunner::new(config.clone()).run(
            &(any::<u8>(), operations.clone()),
            |(setting, operations)| {
                play(Setting::of(setting), &operations, &steps).map_err(TestCaseError::fail)
            },
        );
        if let Err(failure) = outcome {
            panic!("{failure}");
        }
    }
    println!("{} steps without divergence", steps.get());
}

/// Plays a sequence on both.
fn play(setting: Setting, operations: &[[u8; OCTETS]], steps: &Cell<u64>) -> Result<(), String> {
    let (policy, shared) = bodies::parts(setting);
    let mut world = World::new(setting, policy, shared);
    let mut naive = Naive::new(setting, world.now);
    let mut log = Vec::new();
    for octets in operations {
        let operation = world.read(*octets);
        log.push(format!("{:?} {operation:?}", world.now.0));
        let before = world.clients;
        let seen = world.perform(&operation);
        if let Err(fault) = naive.step(&operation, &before, &world, &seen) {
            // The shared state is used again.
            let _ = world.close();
            return Err(format!("{fault}\n{setting:?}\n{}", log.join("\n")));
        }
        steps.set(steps.get() + 1);
    }
    world.close()
}

const REGRESSIONS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/model/proptest-regressions"
);
const PATIENCE: Duration = Duration::from_secs(10);
