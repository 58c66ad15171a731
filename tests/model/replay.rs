//! Runs the corpora of the fuzz targets through the same functions, without a fuzzer.

use super::bodies;
use std::fs;
use std::path::PathBuf;

#[test]
fn messages() {
    replay("message", bodies::message);
}

#[test]
fn channel_data() {
    replay("channel_data", bodies::channel_data);
}

#[test]
fn streams() {
    replay("stream", bodies::stream);
}

#[test]
fn both_codecs() {
    replay("differential", bodies::differential);
}

#[test]
fn operations() {
    replay("operations", bodies::operations);
}

#[test]
fn the_fuzzed_floors_are_built_as_the_package_is() {
    let read = |path: &str| fs::read_to_string(folder().join(path)).unwrap();
    let (ours, theirs) = (read("Cargo.toml"), read("../../Cargo.toml"));
    let (_, floors) = ours
        .split_once("a test compares them.\n")
        .expect("the dependencies of the floors");
    let lines: Vec<&str> = floors.lines().take_while(|line| !line.is_empty()).collect();
    assert!(lines.len() > 5);
    for line in lines {
        assert!(theirs.lines().any(|other| other == line), "{line}");
    }
}

fn replay(target: &str, body: fn(&[u8])) {
    let corpus = folder().join("corpus").join(target);
    let mut files: Vec<PathBuf> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(
        files.len() >= 5,
        "the corpus of {target} is where it should be"
    );
    for file in files {
        let octets = fs::read(&file).unwrap();
        // Printed before it runs, so that a failure shows it.
        println!("{}", file.display());
        body(&octets);
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}
