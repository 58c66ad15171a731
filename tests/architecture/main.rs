//! The map of the crate's documentation, enforced: floors, circles, forbidden dependencies, sizes,
//! names and language.
//!
//! Each rule is a function from sources to faults. Beside each rule stand a test that the tree
//! keeps it and a test that a planted fault is found.

mod imports;
mod language;
mod limits;
mod purity;
mod sources;
mod syntax;

use sources::{assert_none, repository_root};

#[test]
fn the_top_level_holds_only_what_the_design_names() {
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
    let entries = std::fs::read_dir(repository_root())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_none(
        entries
            .filter(|name| !name.starts_with('.') && !known.contains(&name.as_str()))
            .collect(),
    );
}

#[test]
fn the_readme_has_at_most_130_lines() {
    let readme = repository_root().join("README.md");
    let lines = std::fs::read_to_string(readme).map_or(0, |text| text.lines().count());
    assert!(lines <= 130, "{lines} lines");
}
