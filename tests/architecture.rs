//! The map of the crate doc, enforced: floors, circles, what a floor may not touch, sizes and names.
//!
//! Every rule is a function from sources to faults; the second half of this file plants a fault for each and sees it found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Path below `src` to text.
type Sources = BTreeMap<String, String>;
/// Every file's re-exports.
type PassedOn<'a> = BTreeMap<&'a str, Vec<Vec<String>>>;

#[test]
fn imports_go_down_only() {
    assert_none(floor_faults(&sources()));
}

#[test]
fn no_circle_between_files() {
    assert_none(circle_faults(&sources()));
}

#[test]
fn protocol_floors_know_no_clock_no_socket_no_runtime() {
    assert_none(purity_faults(&sources()));
}

#[test]
fn unsafe_is_only_in_net_and_says_why() {
    assert_none(unsafe_faults(&sources()));
}

#[test]
fn files_and_functions_are_small() {
    assert_none(size_faults(&sources()));
}

#[test]
fn names_say_something() {
    assert_none(name_faults(&sources()));
}

#[test]
fn nothing_is_left_to_do() {
    assert_none(leftover_faults(&sources()));
}

/// The design: the package's top level is exactly these, "plus hidden files".
#[test]
fn the_top_level_is_what_the_design_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "benches",
        "deploy",
        "tests",
        "README.md",
        "target",
    ];
    let entries = std::fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_none(
        entries
            .filter(|name| !name.starts_with('.') && !known.contains(&name.as_str()))
            .collect(),
    );
}

/// Issue 2: "README (≤ 130 lines, operator's order)".
#[test]
fn the_readme_is_short() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let lines = std::fs::read_to_string(readme).map_or(0, |text| text.lines().count());
    assert!(lines <= 130, "{lines} lines");
}

/// "Imports go down only": a file names only its own floor and floors of a lower storey.
fn floor_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let Some(own) = floor(file) else { continue };
        for path in paths(file, text, sources) {
            let Some(other) = path.first().filter(|f| storey(f).is_some()) else {
                continue;
            };
            if other != own && storey(other) >= storey(own) {
                faults.push(format!(
                    "{file}: {own} may not know {other} ({})",
                    path.join("::")
                ));
            }
        }
    }
    faults
}

/// No circle between files; a name that a module re-exports stands for the file it comes from.
fn circle_faults(sources: &Sources) -> Vec<String> {
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let passed_on: PassedOn = sources
        .iter()
        .map(|(file, text)| (file.as_str(), reexports(file, text, sources)))
        .collect();
    for (file, text) in sources {
        let needed = needed_paths(file, text, sources);
        let targets = needed
            .iter()
            .filter_map(|path| resolve(path, sources, &passed_on, 0));
        edges.insert(file, targets.filter(|target| target != file).collect());
    }
    let mut faults = vec![];
    for start in edges.keys() {
        if let Some(circle) = circle_through(start, &edges)
            && circle.iter().min() == Some(start)
        {
            faults.push(format!("{} -> {start}", circle.join(" -> ")));
        }
    }
    faults
}

/// `wire` and `turn` read no clock, own no socket, spawn nothing, wait for nothing.
fn purity_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources
        .iter()
        .filter(|(file, _)| matches!(floor(file), Some("wire" | "turn")))
    {
        let tokens = tokens(&without_tests(text));
        faults.extend(
            tokens
                .iter()
                .filter(|t| IMPURE.contains(&t.as_str()))
                .map(|t| format!("{file}: {t}")),
        );
        for path in plain_paths(&tokens) {
            let path = path.join("::");
            faults.extend(
                IMPURE_PATHS
                    .iter()
                    .filter(|p| path.starts_with(**p))
                    .map(|p| format!("{file}: {p}")),
            );
        }
    }
    faults
}

/// `unsafe` stays in `net`, and each has a SAFETY sentence within the six lines above it.
fn unsafe_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let bare = without_comments(text);
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in bare
            .lines()
            .enumerate()
            .filter(|(_, line)| tokens(line).iter().any(|t| t == "unsafe"))
        {
            let above = &lines[number.saturating_sub(6)..=number];
            if floor(file) != Some("net") {
                faults.push(format!(
                    "{file}:{}: unsafe outside net: {}",
                    number + 1,
                    line.trim()
                ));
            } else if !above.iter().any(|l| l.contains("SAFETY:")) {
                faults.push(format!(
                    "{file}:{}: unsafe without a SAFETY sentence",
                    number + 1
                ));
            }
        }
    }
    faults
}

/// Bounds on code lines (no blanks, no comments, no tests) of a file and of a function.
fn size_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let code = without_tests(text);
        let count = |part: &str| part.lines().filter(|l| !l.trim().is_empty()).count();
        if count(&code) > FILE_LINES {
            faults.push(format!("{file}: {} code lines", count(&code)));
        }
        for (name, body) in functions(&code) {
            if count(body) > FUNCTION_LINES {
                faults.push(format!("{file}: fn {name} has {} code lines", count(body)));
            }
        }
    }
    faults
}

/// Words that say nothing are in no file name and no declaration.
fn name_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let tokens = tokens(&without_comments(text));
        let declared = tokens
            .windows(2)
            .filter(|pair| DECLARING.contains(&pair[0].as_str()))
            .map(|pair| pair[1].as_str());
        let stems = file.trim_end_matches(".rs").split('/');
        for name in declared.chain(stems) {
            if words(name)
                .iter()
                .any(|w| EMPTY_WORDS.contains(&w.trim_end_matches('s')))
            {
                faults.push(format!("{file}: {name}"));
            }
        }
    }
    faults
}

/// No note to self, no stub.
fn leftover_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        for (number, line) in text.lines().enumerate() {
            faults.extend(
                LEFTOVERS
                    .iter()
                    .filter(|l| line.contains(**l))
                    .map(|l| format!("{file}:{}: {l}", number + 1)),
            );
        }
    }
    faults
}

/// How high a floor lies; two floors of one storey do not know each other.
fn storey(floor: &str) -> Option<u8> {
    Some(match floor {
        "wire" => 0,
        "turn" | "net" => 1,
        "relay" | "client" => 2,
        "service" => 3,
        "config" | "peer" | "bench" => 4,
        "cli" => 5,
        _ => return None,
    })
}

fn floor(file: &str) -> Option<&str> {
    file.split(['/', '.'])
        .next()
        .filter(|f| storey(f).is_some())
}

/// Every path in a file that leads into this crate, from the crate's root on.
fn paths(file: &str, text: &str, sources: &Sources) -> Vec<Vec<String>> {
    let here = module_of(file);
    let mut found = vec![];
    // Who may see a thing is not whom it needs.
    let text = without_tests(text).replace("pub(super)", "pub");
    for path in plain_paths(&tokens(&text)) {
        let mut absolute = match path[0].as_str() {
            "crate" | "hairpin" => vec![],
            "self" => here.clone(),
            "super" => here[..here.len().saturating_sub(1)].to_vec(),
            child
                if path.len() > 1
                    && file_of(&[&here[..], &[child.to_owned()]].concat(), sources).is_some() =>
            {
                [&here[..], &[child.to_owned()]].concat()
            }
            _ => continue,
        };
        for segment in &path[1..] {
            match segment.as_str() {
                "super" => drop(absolute.pop()),
                name => absolute.push(name.to_owned()),
            }
        }
        found.push(absolute);
    }
    found
}

/// The paths that a file's own code needs: a re-export that it only passes on is none.
fn needed_paths(file: &str, text: &str, sources: &Sources) -> Vec<Vec<String>> {
    let code = without_tests(text);
    let (passed_on, own): (Vec<&str>, Vec<&str>) = code
        .split_inclusive(';')
        .partition(|statement| is_reexport(statement));
    let own = own.concat();
    let names = tokens(&own);
    let mut needed = paths(file, &own, sources);
    let reexported = passed_on
        .iter()
        .flat_map(|statement| paths(file, statement, sources));
    needed.extend(reexported.filter(|path| path.last().is_some_and(|name| names.contains(name))));
    needed
}

/// What a file passes on, from the crate's root on.
fn reexports(file: &str, text: &str, sources: &Sources) -> Vec<Vec<String>> {
    let code = without_tests(text);
    code.split_inclusive(';')
        .filter(|statement| is_reexport(statement))
        .flat_map(|s| paths(file, s, sources))
        .collect()
}

fn is_reexport(statement: &str) -> bool {
    let tokens = tokens(statement);
    let visible = tokens.iter().rposition(|t| t == "pub");
    visible.is_some_and(|at| tokens[at..].iter().take(5).any(|t| t == "use"))
}

/// The file that defines what a path names: the deepest module on it, or where that module re-exports the next name from.
fn resolve<'a>(
    path: &[String],
    sources: &'a Sources,
    passed_on: &PassedOn,
    depth: u8,
) -> Option<&'a str> {
    let known = (0..=path.len())
        .rev()
        .find(|n| file_of(&path[..*n], sources).is_some())?;
    let file = file_of(&path[..known], sources)?;
    let Some(name) = path.get(known).filter(|_| depth < 8) else {
        return Some(file);
    };
    for target in &passed_on[file] {
        if target.last() == Some(name) && *target != path[..=known] {
            return resolve(target, sources, passed_on, depth + 1);
        }
    }
    Some(file)
}

fn module_of(file: &str) -> Vec<String> {
    let stem = file
        .trim_end_matches(".rs")
        .trim_end_matches("mod")
        .trim_end_matches('/');
    stem.split('/')
        .filter(|s| !s.is_empty() && !["lib", "main"].contains(s))
        .map(str::to_owned)
        .collect()
}

fn file_of<'a>(module: &[String], sources: &'a Sources) -> Option<&'a str> {
    let stem = module.join("/");
    let candidates = if stem.is_empty() {
        vec!["lib.rs".to_owned()]
    } else {
        vec![format!("{stem}.rs"), format!("{stem}/mod.rs")]
    };
    candidates
        .iter()
        .find_map(|c| sources.get_key_value(c))
        .map(|(file, _)| file.as_str())
}

/// Every `a::b::c` in the tokens, with the groups of `use` trees spread out.
fn plain_paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut at = 0;
    while at < tokens.len() {
        match is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::") {
            true => at = path_at(tokens, at, &[], &mut found),
            false => at += 1,
        }
    }
    found
}

/// Reads one path, which may end in a group, that starts at `at` behind `prefix`; the index behind it.
fn path_at(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        path.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).is_none_or(|t| t != "::") {
            break;
        }
        match tokens.get(at + 1).map(String::as_str) {
            Some("{") => {
                at += 2;
                while tokens.get(at).is_some_and(|t| t != "}") {
                    at = if is_name(&tokens[at]) {
                        path_at(tokens, at, &path, found)
                    } else {
                        at + 1
                    };
                }
                return at + 1;
            }
            Some(next) if is_name(next) => at += 1,
            _ => break,
        }
    }
    if path.last().is_some_and(|l| l == "self") && path.len() > 1 {
        path.pop();
    }
    found.push(path);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and every other sign by itself; literals are gone.
fn tokens(code: &str) -> Vec<String> {
    let code = without_comments(code);
    let mut found = vec![];
    let mut rest = code.as_str();
    while let Some(first) = rest.chars().next() {
        let word = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let size = if word > 0 {
            word
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            found.push(rest[..size].to_owned());
        }
        rest = &rest[size..];
    }
    found
}

/// The text with comments and the insides of literals blanked, lines kept.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let size = blank_at(rest);
        match size {
            0 => out.push(first),
            _ => out.extend(rest[..size].chars().filter(|c| *c == '\n')),
        }
        rest = &rest[size.max(first.len_utf8())..];
    }
    out
}

/// How many octets at the start of `rest` are a comment or a literal.
fn blank_at(rest: &str) -> usize {
    let until = |end: &str, from: usize| {
        rest[from..]
            .find(end)
            .map_or(rest.len(), |n| from + n + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return until("*/", 2);
    }
    if rest.starts_with("r#\"") {
        return until("\"#", 3);
    }
    if let Some(inside) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = inside.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        return end.map_or(rest.len(), |n| n + 2);
    }
    let mut characters = rest.chars();
    match (characters.next(), characters.next(), characters.next()) {
        (Some('\''), Some('\\'), Some(c)) => until("'", 2 + c.len_utf8()),
        (Some('\''), Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

/// The code without comments and without `#[cfg(test)]` modules.
fn without_tests(text: &str) -> String {
    let mut code = without_comments(text);
    while let Some(start) = code.find("#[cfg(test)]") {
        let end = match code[start..].find(['{', ';']) {
            Some(n) if code[start + n..].starts_with('{') => closing(&code, start + n),
            Some(n) => start + n,
            None => code.len() - 1,
        };
        code.replace_range(start..=end, "");
    }
    code
}

/// The index of the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, octet) in code.bytes().enumerate().skip(open) {
        depth += i32::from(octet == b'{') - i32::from(octet == b'}');
        if depth == 0 {
            return at;
        }
    }
    code.len() - 1
}

/// Name and text of every function with a body.
fn functions(code: &str) -> Vec<(&str, &str)> {
    let mut found = vec![];
    for (start, _) in code.match_indices("fn ") {
        let name = code[start + 3..]
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
            .unwrap_or_default();
        let Some(open) = code[start..].find(['{', ';']).map(|n| start + n) else {
            continue;
        };
        if !name.is_empty() && code[open..].starts_with('{') {
            found.push((name, &code[start..=closing(code, open)]));
        }
    }
    found
}

/// `RelayedId` and `relayed_id` as words in lower case.
fn words(name: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            all.push(String::new());
        }
        all.last_mut()
            .unwrap()
            .extend(c.to_lowercase().filter(|c| *c != '_'));
    }
    all
}

fn circle_through<'a>(
    start: &'a str,
    edges: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Option<Vec<&'a str>> {
    let mut queue = std::collections::VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(route) = queue.pop_front() {
        for next in edges.get(route.last()?).into_iter().flatten() {
            if *next == start {
                return Some(route);
            }
            if seen.insert(*next) {
                queue.push_back([&route[..], &[*next]].concat());
            }
        }
    }
    None
}

fn sources() -> Sources {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Sources::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                all.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(all.len() > 10, "the sources are where this test looks");
    all
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

const IMPURE: &[&str] = &[
    "async",
    "await",
    "tokio",
    "socket2",
    "libc",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "SystemTime",
    "println",
    "eprintln",
];
const IMPURE_PATHS: &[&str] = &[
    "std::time::Instant",
    "std::thread",
    "std::fs",
    "std::io",
    "std::process",
    "std::env",
    "tracing",
];
const DECLARING: &[&str] = &[
    "fn", "struct", "enum", "trait", "mod", "type", "const", "static", "union",
];
const EMPTY_WORDS: &[&str] = &[
    "handler", "manager", "provider", "context", "session", "util", "helper", "common",
];
const LEFTOVERS: &[&str] = &["TODO", "FIXME", "XXX", "todo!(", "unimplemented!("];
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 60;

mod planted {
    use super::*;

    /// A small crate in which every rule holds.
    fn sound() -> Sources {
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
                "mod server;\nmod time;\npub use self::{server::Server, time::Instant};\n",
            ),
            (
                "turn/server.rs",
                "use super::Instant;\nuse crate::wire::Message;\npub struct Server;\nfn f() -> &'static str { \"tokio::spawn // async\" }\n",
            ),
            (
                "turn/time.rs",
                "use std::time::Duration;\npub struct Instant(u64);\n",
            ),
            (
                "net/mod.rs",
                "fn f() {\n    // SAFETY: nothing is read.\n    unsafe { g() }\n}\n",
            ),
            (
                "relay/mod.rs",
                "use crate::{net, turn::{Instant, Server}};\n#[cfg(test)]\nmod tests { use crate::cli; fn t() { unsafe {} } }\n",
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

    fn with(file: &str, text: &str) -> Sources {
        let mut sources = sound();
        *sources.entry(file.to_owned()).or_default() += text;
        sources
    }

    const RULES: [fn(&Sources) -> Vec<String>; 7] = [
        floor_faults,
        circle_faults,
        purity_faults,
        unsafe_faults,
        size_faults,
        name_faults,
        leftover_faults,
    ];

    #[test]
    fn a_sound_crate_has_no_faults() {
        let mut sound = sound();
        sound
            .get_mut("relay/mod.rs")
            .unwrap()
            .clone_from(&"use crate::{net, turn::{Instant, Server}};\n".to_owned());
        for rule in RULES {
            assert_none(rule(&sound));
        }
    }

    #[test]
    fn tests_inside_files_are_left_alone() {
        assert_none(floor_faults(&sound()));
        assert_eq!(unsafe_faults(&sound()).len(), 1, "but not with unsafe");
    }

    #[test]
    fn an_import_that_goes_up_is_found() {
        for (file, text) in [
            ("wire/message.rs", "use crate::turn::Server;"),
            ("turn/server.rs", "use crate::net::UdpSocket;"),
            (
                "turn/server.rs",
                "fn g() { let s = crate::relay::start(); }",
            ),
            ("net/mod.rs", "use crate::turn;"),
            ("wire/message.rs", "use super::super::cli::run;"),
            ("relay/mod.rs", "use crate::{net, service::{web, metrics}};"),
            ("wire/mod.rs", "pub(crate) use crate::cli::run as walk;"),
        ] {
            let faults = floor_faults(&with(file, text));
            assert!(!faults.is_empty(), "{file}: {text}");
        }
    }

    #[test]
    fn a_circle_is_found() {
        for (file, text) in [
            ("turn/time.rs", "use super::server::Server;"),
            ("turn/time.rs", "use crate::turn::Server;"),
            ("turn/time.rs", "fn f(s: &super::Server) {}"),
            ("wire/message.rs", "use super::Own;"),
        ] {
            let mut sources = with(file, text);
            sources
                .get_mut("wire/mod.rs")
                .unwrap()
                .push_str("pub struct Own(Message);");
            let faults = circle_faults(&sources);
            assert_eq!(faults.len(), 1, "{file}: {text}: {faults:?}");
        }
    }

    #[test]
    fn a_clock_a_socket_and_a_runtime_are_found() {
        for text in [
            "use std::time::Instant;",
            "use std::time::{Duration, Instant};",
            "fn f() { std::time::SystemTime::now(); }",
            "use std::net::{SocketAddr, UdpSocket};",
            "async fn f() {}",
            "use tokio::sync::mpsc;",
            "fn f() { std::thread::spawn(g); }",
        ] {
            for file in ["wire/message.rs", "turn/time.rs"] {
                assert!(!purity_faults(&with(file, text)).is_empty(), "{text}");
            }
            assert_none(purity_faults(&with("relay/mod.rs", text)));
        }
    }

    #[test]
    fn unsafe_is_found_outside_net_and_without_a_reason() {
        assert_eq!(
            unsafe_faults(&with("turn/time.rs", "fn f() { unsafe { g() } }")).len(),
            2
        );
        assert_eq!(
            unsafe_faults(&with("net/mod.rs", "\n\n\n\n\n\nfn f() { unsafe { g() } }")).len(),
            2
        );
        assert_eq!(
            unsafe_faults(&with(
                "net/mod.rs",
                "// SAFETY: fine.\nunsafe impl Send for X {}"
            ))
            .len(),
            1
        );
    }

    #[test]
    fn what_is_too_long_is_found() {
        let lines = "let x = 1;\n".repeat(FUNCTION_LINES);
        assert_eq!(
            size_faults(&with("cli/mod.rs", &format!("fn long() {{\n{lines}}}\n"))).len(),
            1
        );
        assert_eq!(
            size_faults(&with(
                "cli/mod.rs",
                &"const A: u8 = 0;\n".repeat(FILE_LINES)
            ))
            .len(),
            1
        );
        assert_none(size_faults(&with(
            "cli/mod.rs",
            &"// a comment\n\n".repeat(FILE_LINES),
        )));
    }

    #[test]
    fn empty_words_are_found() {
        for text in [
            "struct ConnectionManager;",
            "mod helpers;",
            "fn session_of() {}",
            "trait Handler {}",
        ] {
            assert_eq!(name_faults(&with("cli/mod.rs", text)).len(), 1, "{text}");
        }
        assert_eq!(name_faults(&with("net/util.rs", "")).len(), 1);
        assert_none(name_faults(&with("net/futile.rs", "fn f() { context(); }")));
    }

    #[test]
    fn leftovers_are_found() {
        assert_eq!(
            leftover_faults(&with("cli/mod.rs", "// TODO: later")).len(),
            1
        );
        assert_eq!(
            leftover_faults(&with("cli/mod.rs", "fn f() { todo!() }")).len(),
            1
        );
    }
}
