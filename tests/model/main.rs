//! `turn::Server` against a naive model, in virtual time: random operations of many clients and
//! peers, and after each a comparison of responses, forwarded packets, sockets, ports, grants and
//! routes.
//!
//! `cargo test --test model` runs for ten seconds, or for `HAIRPIN_MODEL_STEPS=1000000` steps. A
//! diverging sequence is shortened and printed, and its seed is stored in `proptest-regressions`,
//! whose seeds run first. The fuzz targets' corpora are replayed here too.

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
        // Many cases; the stored ones, which run first, are few.
        cases: 64,
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        ..Config::default()
    };
    let operations = vec(any::<[u8; OCTETS]>(), 1..400);
    while wanted.map_or(begun.elapsed() < TIME_LIMIT, |wanted| steps.get() < wanted) {
        // A runner that has run all its cases runs only the stored ones again.
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

/// Runs a sequence on the server and on the model.
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
            // The shared state is reused.
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
const TIME_LIMIT: Duration = Duration::from_secs(10);
