//! The files that the rules read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Path to text. Paths are relative to the root of a crate, or of the repository.
pub type Sources = BTreeMap<String, String>;

/// One crate of the package, for the rules about paths.
pub struct Crate {
    pub name: String,
    /// Paths below the crate's root, which is `lib.rs` or `main.rs`.
    pub sources: Sources,
}

/// The library and the binary.
pub fn src() -> Sources {
    let sources = rust_files("src");
    assert!(sources.len() > 10, "the sources are where this test looks");
    sources
}

/// The library, every benchmark, the tests' shared code, and every test target of several files.
pub fn crates() -> Vec<Crate> {
    let mut benches = rust_files("benches");
    let compare = below("compare/", &benches);
    benches.retain(|file, _| !file.starts_with("compare/"));
    let mut crates = vec![
        Crate::new("src", src()),
        Crate::new("benches", benches),
        Crate::new("benches/compare", compare),
    ];
    let tests = rust_files("tests");
    let mut support = tests.clone();
    support.retain(|file, _| file.starts_with("support/"));
    // To the targets the shared files are leaves: their own imports are checked once.
    let leaves: Sources = support
        .keys()
        .map(|file| (file.clone(), String::new()))
        .collect();
    crates.push(Crate::new("tests", support));
    for main in tests.keys().filter(|file| file.ends_with("/main.rs")) {
        let folder = main.trim_end_matches("main.rs");
        let name = format!("tests/{}", folder.trim_end_matches('/'));
        let mut sources = below(folder, &tests);
        sources.extend(leaves.clone());
        crates.push(Crate::new(&name, sources));
    }
    crates
}

/// Every Rust file, with its path in the repository.
pub fn all_rust_files() -> Sources {
    ["src", "benches", "tests"]
        .iter()
        .flat_map(|folder| {
            let files = rust_files(folder).into_iter();
            files.map(move |(file, text)| (format!("{folder}/{file}"), text))
        })
        .collect()
}

impl Crate {
    pub fn new(name: &str, sources: Sources) -> Crate {
        Crate {
            name: name.to_owned(),
            sources,
        }
    }
}

/// The files below a folder, with their paths from there on.
fn below(folder: &str, sources: &Sources) -> Sources {
    let inside = |(file, text): (&String, &String)| {
        Some((file.strip_prefix(folder)?.to_owned(), text.clone()))
    };
    sources.iter().filter_map(inside).collect()
}

fn rust_files(folder: &str) -> Sources {
    let root = repository_root().join(folder);
    let mut files = Sources::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

pub fn repository_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The folder of the floor that a file of `src` belongs to; `None` for `lib.rs` and `main.rs`.
pub fn floor(file: &str) -> Option<&str> {
    file.split_once('/').map(|(floor, _)| floor)
}

/// Returns true for a file of unit tests, which its module declares under `#[cfg(test)]`.
pub fn is_test_file(file: &str) -> bool {
    file.split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

/// A place that may break a rule, and why.
pub struct Exception {
    pub place: &'static str,
    pub reason: &'static str,
}

/// Like [`assert_none`], without the faults of the exceptions, each of which must still be needed.
pub fn assert_none_but(exceptions: &[Exception], mut faults: Vec<String>) {
    for Exception { place, reason } in exceptions {
        let before = faults.len();
        faults.retain(|fault| !fault.contains(place));
        assert!(
            faults.len() < before,
            "{place} is no exception any more: {reason}"
        );
    }
    assert_none(faults);
}

pub fn assert_none(faults: Vec<String>) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// A small crate in which every rule holds.
pub fn sound() -> Sources {
    let files = [
        ("lib.rs", "pub mod wire;\npub mod turn;\n"),
        (
            "wire/mod.rs",
            "//! Octets.\nmod message;\npub use message::Message;\n",
        ),
        (
            "wire/message.rs",
            "/// unsafe, async and crate::cli are words of this comment.\npub struct Message { text: &'static str }\n",
        ),
        (
            "turn/mod.rs",
            "mod ids;\nmod server;\nmod table;\npub use self::{ids::time::Instant, server::Server};\n",
        ),
        (
            "turn/server.rs",
            "use super::Instant;\nuse super::table::Table;\nuse crate::wire::Message;\npub struct Server;\nimpl Server {}\nfn f() -> &'static str { \"tokio::spawn // async\" }\n",
        ),
        ("turn/ids/mod.rs", "pub mod time;\n"),
        (
            "turn/ids/time.rs",
            "use std::time::Duration;\npub struct Instant(u64);\n",
        ),
        ("turn/table/mod.rs", "mod route;\npub use route::Table;\n"),
        (
            "turn/table/route.rs",
            "use crate::turn::Instant;\npub struct Table(Instant);\n",
        ),
        (
            "net/mod.rs",
            "fn f() {\n    // SAFETY: nothing is read.\n    unsafe { g() }\n}\n",
        ),
        (
            "relay/mod.rs",
            "use crate::{net, turn::{Instant, Server}};\n",
        ),
        (
            "cli/mod.rs",
            "use crate::relay;\npub fn run(session_count: u8) {}\n",
        ),
    ];
    files
        .iter()
        .map(|(file, text)| ((*file).to_owned(), (*text).to_owned()))
        .collect()
}

/// The sound crate with more text in one of its files, or with another file.
pub fn sound_with(file: &str, text: &str) -> Sources {
    let mut sources = sound();
    *sources.entry(file.to_owned()).or_default() += text;
    sources
}
