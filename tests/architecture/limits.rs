//! Sizes of files, functions and folders; one type of a name on a floor, with its `impl` beside it.

use crate::sources::{
    Exception, Sources, all_rust_files, assert_none, assert_none_but, floor, is_test_file, sound,
    sound_with, src,
};
use crate::syntax::{functions, test_modules, tokens, without_comments, without_tests};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn files_and_functions_are_small() {
    let exceptions = [
        Exception {
            place: "cli/serve/mod.rs: fn serve",
            reason: "the order of a start reads straight down",
        },
        Exception {
            place: "peer/call/agent.rs",
            reason: "one type that carries values between ICE, signaling and sockets",
        },
        Exception {
            place: "relay/shard/relay.rs",
            reason: "one type that carries values between the parts of a shard",
        },
    ];
    assert_none_but(&exceptions, size_faults(&src()));
}

#[test]
fn folders_are_small() {
    assert_none(folder_faults(&all_rust_files(), CROWDED));
}

#[test]
fn a_floor_has_one_type_of_a_name() {
    assert_none(type_name_faults(&src()));
}

#[test]
fn an_impl_stands_in_the_file_of_its_type() {
    assert_none(impl_faults(&src()));
}

/// Bounds on the code lines (neither blank nor comment) of a file, of its tests, and of a function.
fn size_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    let count = |part: &str| part.lines().filter(|l| !l.trim().is_empty()).count();
    for (file, text) in sources {
        let (code, tests) = match is_test_file(file) {
            true => (String::new(), without_comments(text)),
            false => (without_tests(text), test_modules(text)),
        };
        if count(&code) > FILE_LINES {
            faults.push(format!("{file}: {} code lines", count(&code)));
        }
        if count(&tests) > TEST_LINES {
            faults.push(format!("{file}: {} lines of tests", count(&tests)));
        }
        for (name, body) in functions(&code) {
            if count(body) > FUNCTION_LINES {
                faults.push(format!("{file}: fn {name} has {} code lines", count(body)));
            }
        }
    }
    faults
}

/// A folder has at most [`FOLDER_FILES`] files, its `mod.rs` or `main.rs` not counted.
fn folder_faults(files: &Sources, crowded: &[(&str, usize, &str)]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files.keys() {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        if !["mod.rs", "main.rs", "lib.rs"].contains(&name) {
            *counts.entry(folder).or_default() += 1;
        }
    }
    let limit = |folder: &str| {
        let exception = crowded.iter().find(|(name, ..)| *name == folder);
        exception.map_or(FOLDER_FILES, |(_, files, _)| *files)
    };
    counts
        .into_iter()
        .filter(|(folder, count)| *count > limit(folder))
        .map(|(folder, count)| format!("{folder}: {count} files"))
        .collect()
}

/// Two types of one name in one file are alternatives for two platforms.
fn type_name_faults(sources: &Sources) -> Vec<String> {
    let mut declared: BTreeMap<(&str, String), BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in sources.iter().filter(|(file, _)| !is_test_file(file)) {
        let Some(floor) = floor(file) else { continue };
        for name in declared_types(&without_tests(text)) {
            declared.entry((floor, name)).or_default().insert(file);
        }
    }
    declared
        .into_iter()
        .filter(|(_, files)| files.len() > 1)
        .map(|((floor, name), files)| {
            format!("{floor}: {name} in {}", Vec::from_iter(files).join(", "))
        })
        .collect()
}

/// The types that a file declares outside of functions and of `impl` blocks, whose `type` items are
/// associated types.
fn declared_types(code: &str) -> Vec<String> {
    code.lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .filter_map(|line| {
            let tokens = tokens(line);
            let at = tokens
                .iter()
                .position(|t| ["struct", "enum", "trait", "type", "union"].contains(&t.as_str()))?;
            // Only a visibility, such as `pub(in crate::turn)`, may stand in front.
            let visibility = tokens[..at].join("");
            let is_declaration = ["", "pub", "unsafe"].contains(&visibility.as_str())
                || visibility.starts_with("pub(") && visibility.ends_with(')');
            is_declaration.then(|| tokens.get(at + 1).cloned())?
        })
        .collect()
}

/// An `impl` that is not of a trait stands in the file of the floor that declares its type. A type
/// that no file declares comes from a macro.
fn impl_faults(sources: &Sources) -> Vec<String> {
    let files = || sources.iter().filter(|(file, _)| !is_test_file(file));
    let mut declared: BTreeMap<(Option<&str>, String), BTreeSet<&str>> = BTreeMap::new();
    for (file, text) in files() {
        for line in without_tests(text).lines() {
            for name in declared_types(line.trim_start()) {
                declared
                    .entry((floor(file), name))
                    .or_default()
                    .insert(file);
            }
        }
    }
    let mut faults = vec![];
    for (file, text) in files() {
        for name in inherent_impls(&without_tests(text)) {
            let declaring = declared.get(&(floor(file), name.clone()));
            if declaring.is_some_and(|declaring| !declaring.contains(file.as_str())) {
                faults.push(format!("{file}: impl {name}"));
            }
        }
    }
    faults
}

/// The type names of the `impl Type { … }` blocks at the start of a line.
fn inherent_impls(code: &str) -> Vec<String> {
    let starts = code.match_indices("\nimpl").map(|(at, _)| &code[at + 5..]);
    starts
        .filter(|rest| rest.starts_with([' ', '<']))
        .filter_map(|rest| {
            let head = tokens(&rest[..rest.find('{')?]);
            let mut depth = 0;
            let mut path = vec![];
            for token in &head {
                match token.as_str() {
                    "<" => depth += 1,
                    ">" => depth -= 1,
                    "for" if depth == 0 => return None,
                    "where" if depth == 0 => break,
                    name if depth == 0 && name.starts_with(char::is_alphabetic) => {
                        path.push(name.to_owned());
                    }
                    _ => {}
                }
            }
            path.pop()
        })
        .collect()
}

const FILE_LINES: usize = 500;
/// Tests are read one at a time, so their files may be longer.
const TEST_LINES: usize = 800;
const FUNCTION_LINES: usize = 80;
const FOLDER_FILES: usize = 12;

/// Folders that may have more files, how many, and why.
const CROWDED: &[(&str, usize, &str)] = &[
    (
        "tests/conformance",
        24,
        "one file per RFC or per section of RFC 8656, as the table of requirements names them",
    ),
    (
        "tests/process",
        20,
        "one file per command or concern of an operator, in one binary because each binary links the whole crate",
    ),
];

#[test]
fn a_sound_crate_has_no_faults() {
    let sound = sound();
    assert_none(size_faults(&sound));
    assert_none(folder_faults(&sound, &[]));
    assert_none(type_name_faults(&sound));
    assert_none(impl_faults(&sound));
}

#[test]
fn long_files_tests_and_functions_are_found() {
    let faults = |text: &str| size_faults(&sound_with("cli/mod.rs", text)).len();
    let lines = "let x = 1;\n".repeat(FUNCTION_LINES);
    assert_eq!(faults(&format!("fn long() {{\n{lines}}}\n")), 1);
    assert_eq!(faults(&"const A: u8 = 0;\n".repeat(FILE_LINES)), 1);
    assert_eq!(faults(&"// a comment\n\n".repeat(FILE_LINES)), 0);
    let tests = |count| {
        let lines = "const A: u8 = 0;\n".repeat(count);
        format!("#[cfg(test)]\nmod tests {{\n{lines}}}\n")
    };
    assert_eq!(faults(&tests(FILE_LINES)), 0);
    assert_eq!(faults(&tests(TEST_LINES)), 1);
}

#[test]
fn a_crowded_folder_is_found() {
    let files = |count: usize| -> Sources {
        let names = (0..count).map(|n| format!("src/net/file{n}.rs"));
        let names = names.chain(["src/net/mod.rs".to_owned()]);
        names.map(|name| (name, String::new())).collect()
    };
    assert_none(folder_faults(&files(FOLDER_FILES), &[]));
    assert_eq!(folder_faults(&files(FOLDER_FILES + 1), &[]).len(), 1);
    let exception = [("src/net", FOLDER_FILES + 1, "a reason")];
    assert_none(folder_faults(&files(FOLDER_FILES + 1), &exception));
}

#[test]
fn a_second_type_of_a_name_is_found_on_one_floor() {
    for text in [
        "struct Server;",
        "pub(super) enum Server {}",
        "pub trait Server {}",
        "pub(in crate::turn) type Server = u8;",
    ] {
        let faults = type_name_faults(&sound_with("turn/table/route.rs", text));
        assert_eq!(faults.len(), 1, "{text}");
        assert_none(type_name_faults(&sound_with("relay/mod.rs", text)));
    }
    for text in [
        "impl Iterator for X {\n    type Server = u8;\n}",
        "#[cfg(test)]\nmod tests {\nstruct Server;\n}",
        "fn server() -> Server {}",
    ] {
        assert_none(type_name_faults(&sound_with("turn/table/route.rs", text)));
    }
}

#[test]
fn an_impl_in_another_file_is_found() {
    for text in [
        "\nimpl Server {\n}",
        "\nimpl<T: Into<u8>> super::Server<T> where T: Copy {\n}",
    ] {
        let faults = impl_faults(&sound_with("turn/table/route.rs", text));
        assert_eq!(faults, ["turn/table/route.rs: impl Server"]);
    }
    for text in [
        "\nimpl std::fmt::Display for Server {\n}",
        "\nimpl<T> From<T> for Server {\n}",
        "\nimpl Table {\n}",
    ] {
        assert_none(impl_faults(&sound_with("turn/table/route.rs", text)));
    }
}
