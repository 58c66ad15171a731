//! Imports go down only, and there is no circle between files or between folders.

use crate::sources::{Crate, Sources, assert_none, crates, floor, sound, sound_with, src};
use crate::syntax::{plain_paths, tokens, without_tests};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A path from the root of its crate on.
type Path = Vec<String>;
/// Each node's direct dependencies, with a file that has the dependency.
type Edges = BTreeMap<String, BTreeMap<String, String>>;

#[test]
fn imports_go_down_only() {
    assert_none(floor_faults(&src()));
}

#[test]
fn no_circle_between_files() {
    assert_none(crates().iter().flat_map(file_circles).collect());
}

#[test]
fn no_circle_between_folders() {
    assert_none(folder_circles(&Crate::new("src", src())));
}

/// A file may import its own floor and floors of a lower storey.
fn floor_faults(sources: &Sources) -> Vec<String> {
    let mut faults = vec![];
    for (file, text) in sources {
        let Some(own) = floor(file) else { continue };
        let Some(height) = storey(own) else {
            faults.push(format!("{file}: {own} is no floor of the map"));
            continue;
        };
        for path in paths(file, text, sources) {
            let other = path.first().map_or("", String::as_str);
            if other != own && storey(other).is_some_and(|other| other >= height) {
                faults.push(format!("{file}: {own} may not use {}", path.join("::")));
            }
        }
    }
    faults
}

/// The height of a floor. Floors of one height do not import each other.
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

fn file_circles(krate: &Crate) -> Vec<String> {
    circles(&krate.name, &file_edges(&krate.sources))
}

/// A circle between the files and sub-folders of one folder. A sub-folder has the
/// dependencies of all its files; the folder's own `mod.rs`, which re-exports from its children, is
/// left out.
fn folder_circles(krate: &Crate) -> Vec<String> {
    let files = file_edges(&krate.sources);
    let folders: BTreeSet<&str> = krate
        .sources
        .keys()
        .flat_map(|file| file.match_indices('/').map(|(at, _)| &file[..=at]))
        .collect();
    let mut faults = vec![];
    for folder in folders {
        let mut edges = Edges::new();
        for (file, targets) in &files {
            for target in targets.keys() {
                let (Some(from), Some(to)) = (child_of(folder, file), child_of(folder, target))
                else {
                    continue;
                };
                if from != to {
                    let evidence = format!("{file} uses {target}");
                    edges.entry(from).or_default().entry(to).or_insert(evidence);
                }
            }
        }
        faults.extend(circles(&format!("{}/{folder}", krate.name), &edges));
    }
    faults
}

/// The file or sub-folder of `folder` that `file` belongs to.
fn child_of(folder: &str, file: &str) -> Option<String> {
    let rest = file.strip_prefix(folder).filter(|rest| *rest != "mod.rs")?;
    Some(
        rest.split_once('/')
            .map_or(rest, |(child, _)| child)
            .to_owned(),
    )
}

/// The files that each file depends on. A name that a module re-exports stands for the file that
/// defines it.
fn file_edges(sources: &Sources) -> Edges {
    let reexports: BTreeMap<&str, Vec<Path>> = sources
        .iter()
        .map(|(file, text)| (file.as_str(), reexports(file, text, sources)))
        .collect();
    let mut edges = Edges::new();
    for (file, text) in sources {
        let targets = edges.entry(file.clone()).or_default();
        for path in own_paths(file, text, sources) {
            if let Some(target) = resolve(&path, sources, &reexports, 0)
                && target != file
            {
                targets.entry(target.to_owned()).or_default();
            }
        }
    }
    edges
}

/// One fault for each circle, listing its nodes in order.
fn circles(place: &str, edges: &Edges) -> Vec<String> {
    let mut faults = vec![];
    for start in edges.keys() {
        let Some(circle) = shortest_circle(start, edges) else {
            continue;
        };
        if circle.iter().min() == Some(&start.as_str()) {
            let ends = circle.iter().skip(1).chain([&circle[0]]);
            let steps = circle.iter().zip(ends).map(|(from, to)| {
                let evidence = &edges[*from][*to];
                match evidence.is_empty() {
                    true => format!("-> {to}"),
                    false => format!("-> {to} ({evidence})"),
                }
            });
            let steps: Vec<String> = steps.collect();
            faults.push(format!("{place}: {start} {}", steps.join(" ")));
        }
    }
    faults
}

fn shortest_circle<'a>(start: &'a str, edges: &'a Edges) -> Option<Vec<&'a str>> {
    let mut queue = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(route) = queue.pop_front() {
        for next in edges
            .get(*route.last()?)
            .into_iter()
            .flat_map(BTreeMap::keys)
        {
            if next == start {
                return Some(route);
            }
            if seen.insert(next) {
                queue.push_back([&route[..], &[next.as_str()]].concat());
            }
        }
    }
    None
}

/// Every path in a file that leads into its own crate.
fn paths(file: &str, text: &str, sources: &Sources) -> Vec<Path> {
    let here = module_of(file);
    // A visibility is no dependency.
    let text = without_tests(text).replace("pub(super)", "pub");
    let written = plain_paths(&tokens(&text));
    let mut found: Vec<Path> = written
        .iter()
        .filter_map(|path| absolute(path, &here, sources))
        .collect();
    // A path may start at a module that the file imports.
    let imported: Vec<Path> = found
        .iter()
        .filter(|path| !path.is_empty() && file_of(path, sources).is_some())
        .cloned()
        .collect();
    for path in written.iter().filter(|path| path.len() > 1) {
        let module = imported.iter().find(|module| module.last() == path.first());
        if let Some(module) = module
            && absolute(path, &here, sources).is_none()
        {
            found.push([&module[..], &path[1..]].concat());
        }
    }
    found
}

/// The path from the crate's root on; `None` if it leads elsewhere.
fn absolute(path: &[String], here: &[String], sources: &Sources) -> Option<Path> {
    let child = |name: &String| [here, std::slice::from_ref(name)].concat();
    let is_library = sources.contains_key("lib.rs");
    let mut absolute = match path[0].as_str() {
        "crate" => vec![],
        "hairpin" if is_library => vec![],
        "self" => here.to_vec(),
        "super" => here[..here.len().saturating_sub(1)].to_vec(),
        _ if path.len() > 1 && file_of(&child(&path[0]), sources).is_some() => child(&path[0]),
        _ => return None,
    };
    for segment in &path[1..] {
        match segment.as_str() {
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    Some(absolute)
}

/// The paths that a file's own code uses. A re-export counts only if the file also uses the name
/// itself.
fn own_paths(file: &str, text: &str, sources: &Sources) -> Vec<Path> {
    let code = without_tests(text);
    let (reexporting, own): (Vec<&str>, Vec<&str>) = code
        .split_inclusive(';')
        .partition(|statement| is_reexport(statement));
    let own = own.concat();
    let names = tokens(&own);
    let mut used = paths(file, &own, sources);
    let reexported = reexporting
        .iter()
        .flat_map(|statement| paths(file, statement, sources));
    used.extend(reexported.filter(|path| path.last().is_some_and(|name| names.contains(name))));
    used
}

fn reexports(file: &str, text: &str, sources: &Sources) -> Vec<Path> {
    let code = without_tests(text);
    code.split_inclusive(';')
        .filter(|statement| is_reexport(statement))
        .flat_map(|statement| paths(file, statement, sources))
        .collect()
}

fn is_reexport(statement: &str) -> bool {
    let tokens = tokens(statement);
    let visible = tokens.iter().rposition(|t| t == "pub");
    visible.is_some_and(|at| tokens[at..].iter().take(5).any(|t| t == "use"))
}

/// The file that defines the item of a path: the file of the deepest module on the path, or the
/// file from which that module re-exports the next name.
fn resolve<'a>(
    path: &[String],
    sources: &'a Sources,
    reexports: &BTreeMap<&str, Vec<Path>>,
    depth: u8,
) -> Option<&'a str> {
    let known = (0..=path.len())
        .rev()
        .find(|n| file_of(&path[..*n], sources).is_some())?;
    let file = file_of(&path[..known], sources)?;
    let Some(name) = path.get(known).filter(|_| depth < 8) else {
        return Some(file);
    };
    for target in &reexports[file] {
        if target.last() == Some(name) && *target != path[..=known] {
            return resolve(target, sources, reexports, depth + 1);
        }
    }
    Some(file)
}

fn module_of(file: &str) -> Path {
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
        vec!["lib.rs".to_owned(), "main.rs".to_owned()]
    } else {
        vec![format!("{stem}.rs"), format!("{stem}/mod.rs")]
    };
    candidates
        .iter()
        .find_map(|c| sources.get_key_value(c))
        .map(|(file, _)| file.as_str())
}

#[test]
fn a_sound_crate_has_no_faults() {
    assert_none(floor_faults(&sound()));
    let sound = Crate::new("sound", sound());
    assert_none(file_circles(&sound));
    assert_none(folder_circles(&sound));
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
        ("cellar/mod.rs", ""),
    ] {
        let faults = floor_faults(&sound_with(file, text));
        assert!(!faults.is_empty(), "{file}: {text}");
    }
    let in_tests = "#[cfg(test)]\nmod tests { use crate::cli; }";
    assert_none(floor_faults(&sound_with("relay/mod.rs", in_tests)));
}

#[test]
fn a_circle_between_files_is_found() {
    for (file, text) in [
        ("turn/ids/time.rs", "use crate::turn::server::Server;"),
        ("turn/ids/time.rs", "use crate::turn::Server;"),
        ("turn/ids/time.rs", "fn f(s: &super::super::Server) {}"),
        (
            "turn/ids/time.rs",
            "use crate::turn;\nfn f(s: &turn::Server) {}",
        ),
        ("wire/message.rs", "use super::Own;"),
    ] {
        let mut sources = sound_with(file, text);
        sources
            .get_mut("wire/mod.rs")
            .unwrap()
            .push_str("pub struct Own(Message);");
        let faults = file_circles(&Crate::new("planted", sources));
        assert_eq!(faults.len(), 1, "{file}: {text}: {faults:?}");
    }
}

#[test]
fn a_circle_between_folders_is_found_though_no_file_is_on_one() {
    let mut sources = sound_with("turn/ids/number.rs", "use crate::turn::table::Table;");
    sources.insert(
        "turn/ids/mod.rs".into(),
        "pub mod number;\npub mod time;".into(),
    );
    let planted = Crate::new("planted", sources);
    assert_none(file_circles(&planted));
    let faults = folder_circles(&planted);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("turn/ids/number.rs uses turn/table/route.rs"));
}

#[test]
fn a_circle_in_a_benchmark_is_found() {
    let sources = [
        (
            "main.rs",
            "mod row;\nmod table;\nfn main() { table::print(); }",
        ),
        ("row.rs", "use crate::table::Column;\npub struct Row;"),
        ("table.rs", "use super::row::Row;\npub struct Column;"),
    ];
    let sources = sources.map(|(file, text)| (file.to_owned(), text.to_owned()));
    let faults = file_circles(&Crate::new("benches/planted", sources.into()));
    assert_eq!(faults, ["benches/planted: row.rs -> table.rs -> row.rs"]);
}
