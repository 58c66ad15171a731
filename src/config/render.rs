//! Writes the schema as a complete, commented file. `deploy/hairpin.toml` is this text.

use crate::config::schema;
use crate::config::schema::{AnyKey, SECTIONS};
use std::fmt::Write;

/// The whole file. Explanations follow `# `, keys with their default or an example follow `#`.
pub fn file() -> String {
    let mut out = HEAD.to_owned();
    for section in SECTIONS {
        let rule = "=".repeat(80_usize.saturating_sub(section.title.len()));
        let _ = write!(out, "\n# ==== {} {rule}\n", section.title);
        for key in section.keys {
            out.push('\n');
            write_entry(&mut out, *key);
        }
    }
    out
}

fn write_entry(out: &mut String, key: &dyn AnyKey) {
    let info = key.info();
    let default = key.default_in_file();
    let mut text = info.about.to_owned();
    if info.restart {
        text.push_str(" A change needs a restart.");
    }
    if default.is_empty() {
        text.push_str(" No default; an example:");
    }
    for line in wrap(&text, WIDTH) {
        let _ = writeln!(out, "# {line}");
    }
    let value = if default.is_empty() {
        info.example
    } else {
        &default
    };
    let _ = writeln!(out, "#{} = {value}", info.name);
}

/// Replaces the names of keys in an explanation by their flags, for the help of the command line.
pub fn keys_as_flags(text: &str) -> String {
    let replace = |word: &str| {
        let name = word.trim_end_matches(['.', ',', ';', ':', ')']);
        // A key of one word, such as `user` or `web`, cannot be distinguished from the English
        // word.
        match schema::key(name).filter(|_| name.contains('_')) {
            Some(key) => {
                let punctuation = word.strip_prefix(name).unwrap_or_default();
                format!("--{}{punctuation}", key.info().flag())
            }
            None => word.to_owned(),
        }
    };
    text.split(' ').map(replace).collect::<Vec<_>>().join(" ")
}

/// Breaks a text between words into lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

const HEAD: &str = "\
# Configuration of Hairpin: every key with its default or an example. Remove the # in front of a key to set it.
#
# The server reads this file from /etc/hairpin/hairpin.toml, or from the path of --config. Every key is also a flag
# (relay_ports is --relay-ports) and an environment variable (HAIRPIN_RELAY_PORTS). Flags override variables, and both
# override this file. A variable separates the values of a list by commas; users, secrets and keys, which may contain
# commas, stand one per line. `hairpin config check FILE` checks a file. SIGHUP reloads it.
";
const WIDTH: usize = 116;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve;
    use crate::config::{HostInfo, file};
    use std::path::Path;

    fn uncommented(select: impl Fn(&dyn AnyKey) -> bool) -> String {
        let keep = |line: &str| {
            let name = line
                .strip_prefix('#')
                .and_then(|rest| rest.split_once(" = "))
                .map(|(name, _)| name);
            name.and_then(schema::key).is_some_and(&select)
        };
        super::file()
            .lines()
            .map(|line| if keep(line) { &line[1..] } else { line }.to_owned() + "\n")
            .collect()
    }

    #[test]
    fn the_file_contains_the_defaults() {
        let host = HostInfo {
            ipv6: true,
            secret: "a generated secret".into(),
            ..HostInfo::default()
        };
        let layer = file::parse(Path::new("f"), &super::file()).unwrap();
        assert_eq!(layer, crate::config::Layer::default());
        let defaults = file::parse(
            Path::new("f"),
            &uncommented(|key| !key.default_in_file().is_empty()),
        )
        .unwrap();
        let (plain, spelled) = (
            resolve(&layer, &host).unwrap(),
            resolve(&defaults, &host).unwrap(),
        );
        assert_eq!(format!("{plain:?}"), format!("{spelled:?}"));
    }

    #[test]
    fn every_key_has_an_explanation_and_a_default_or_example() {
        for key in schema::keys() {
            let info = key.info();
            assert!(
                !info.about.is_empty()
                    && (key.default_in_file().is_empty() != info.example.is_empty()),
                "{}",
                info.name
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
            "regenerate it: hairpin config print > deploy/hairpin.toml"
        );
    }
}
