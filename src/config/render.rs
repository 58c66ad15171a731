//! The schema as a file: complete, commented, every key as it is by default. `deploy/hairpin.toml` is this text.

use crate::config::schema;
use crate::config::schema::{GROUPS, Key};
use std::fmt::Write;

/// The whole file. Prose stands behind `# `, keys that say what holds anyway or only give an example behind `#`.
pub fn file() -> String {
    let mut out = HEAD.to_owned();
    for group in GROUPS {
        let _ = write!(
            out,
            "\n# ==== {} {}\n",
            group.title,
            "=".repeat(80_usize.saturating_sub(group.title.len()))
        );
        for key in group.keys {
            out.push('\n');
            out.push_str(&entry(key));
        }
    }
    out
}

fn entry(key: &Key) -> String {
    let mut out = String::new();
    for line in wrapped(&remarks(key), WIDTH) {
        let _ = writeln!(out, "# {line}");
    }
    let value = if key.default.is_empty() {
        key.example
    } else {
        key.default
    };
    let _ = writeln!(out, "#{} = {value}", key.name);
    out
}

fn remarks(key: &Key) -> String {
    let mut text = key.about.to_owned();
    if key.restart {
        text.push_str(" A change needs a restart.");
    }
    if key.default.is_empty() {
        text.push_str(" No default; an example:");
    }
    text
}

/// A text about keys as the command line's help says it: keys become flags.
pub fn flags(text: &str) -> String {
    let is_key = |word: &str| schema::key(word).is_some() && word.contains('_');
    let flagged = |word: &str| {
        let bare = word.trim_end_matches(['.', ',', ';', ':', ')']);
        if is_key(bare) {
            format!(
                "--{}{}",
                bare.replace('_', "-"),
                word.get(bare.len()..).unwrap_or_default()
            )
        } else {
            word.to_owned()
        }
    };
    text.split(' ').map(flagged).collect::<Vec<_>>().join(" ")
}

/// Breaks a text between words into lines of at most `width` characters.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

const HEAD: &str = "\
# Hairpin's configuration: every key, with its default or an example. Remove the # in front of a key to set it.
#
# The server reads this file from /etc/hairpin/hairpin.toml, or from where --config says. Every key is a flag too
# (relay_ports is --relay-ports) and an environment variable (HAIRPIN_RELAY_PORTS); flags beat variables, and both beat
# this file. A variable has the values of a list between commas; those of users, secrets and keys, which may have commas
# themselves, one a line. `hairpin config check FILE` says what is wrong with this file. SIGHUP reads it again.
";
const WIDTH: usize = 116;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::resolve;
    use crate::config::{HostInfo, file};
    use std::path::Path;

    fn uncommented(choose: impl Fn(&Key) -> bool) -> String {
        let keep = |line: &str| {
            let name = line
                .strip_prefix('#')
                .and_then(|rest| rest.split_once(" = "))
                .map(|(name, _)| name);
            name.and_then(schema::key).is_some_and(&choose)
        };
        super::file()
            .lines()
            .map(|line| if keep(line) { &line[1..] } else { line }.to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_file_says_what_holds_anyway() {
        let host = HostInfo {
            ipv6: true,
            secret: "a secret that nobody wrote".into(),
            ..HostInfo::default()
        };
        let written = file::parse(Path::new("f"), &super::file()).unwrap();
        assert_eq!(written, super::super::Layer::default());
        let defaults =
            file::parse(Path::new("f"), &uncommented(|key| !key.default.is_empty())).unwrap();
        let (plain, spelled) = (
            resolve(&written, &host).unwrap(),
            resolve(&defaults, &host).unwrap(),
        );
        assert_eq!(format!("{plain:?}"), format!("{spelled:?}"));
    }

    #[test]
    fn every_key_has_a_value_that_parses_and_an_explanation() {
        for key in schema::keys() {
            assert!(
                !key.about.is_empty() && (key.default.is_empty() != key.example.is_empty()),
                "{}",
                key.name
            );
        }
        let all = file::parse(Path::new("f"), &uncommented(|_| true)).unwrap();
        assert!(schema::keys().all(|key| all.has(key)));
    }

    #[test]
    fn the_deployed_file_is_the_schema() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/hairpin.toml");
        let deployed = std::fs::read_to_string(path).unwrap();
        assert!(
            deployed == super::file(),
            "write it anew: hairpin config print > deploy/hairpin.toml"
        );
    }
}
