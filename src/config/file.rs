//! The configuration file: TOML, one key a line, unknown keys refused with the nearest known one.

use crate::config::error::{Diagnostic, Error, Source};
use crate::config::layers::{Layer, RawValue};
use crate::config::nearest::nearest;
use crate::config::schema;
use crate::config::schema::{Key, Shape};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file.
///
/// # Errors
/// A file that cannot be read, and whatever [`parse`] finds.
pub fn read(path: &Path) -> Result<Layer, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::new(
            &Source::Default,
            format!("{} cannot be read: {error}", path.display()),
        )
    })?;
    parse(path, &text)
}

/// Reads a file's text; `path` is what errors call it.
///
/// # Errors
/// Everything that is not TOML, no known key, or of a wrong type, each with its line and column.
pub fn parse(path: &Path, text: &str) -> Result<Layer, Error> {
    let place = FileText {
        file: Arc::new(path.to_owned()),
        text,
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Diagnostic::new(
            &place.origin(at),
            format!("this is not TOML: {}", error.message()),
        )
    })?;
    let mut diagnostics = Vec::new();
    let written = place.table(table.get_ref(), &TOP, &mut diagnostics);
    if diagnostics.is_empty() {
        Ok(written)
    } else {
        Err(Error::new(diagnostics))
    }
}

/// Offsets into a text as places in its file.
struct FileText<'a> {
    file: Arc<PathBuf>,
    text: &'a str,
}

/// Which keys a table may have.
struct KnownKeys {
    key: fn(&str) -> Option<&'static Key>,
    names: fn() -> Vec<&'static str>,
    realms: bool,
}

impl FileText<'_> {
    fn table(
        &self,
        table: &DeTable,
        level: &KnownKeys,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Layer {
        let mut written = Layer::default();
        for (name, value) in table.iter() {
            let at = self.origin(name.span().start);
            let name: &str = name.get_ref();
            if level.realms && name == REALMS {
                written.realms = self.realms(&at, value, diagnostics);
                continue;
            }
            match (level.key)(name) {
                None => diagnostics.push(Diagnostic::new(&at, unknown(name, (level.names)()))),
                Some(key) => match self.values(key.shape, value) {
                    Ok(values) => written.set(key, values),
                    Err((at, message)) => {
                        diagnostics.push(Diagnostic::new(&at, format!("{}: {message}", key.name)))
                    }
                },
            }
        }
        written
    }

    fn realms(
        &self,
        at: &Source,
        value: &Spanned<DeValue>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Layer> {
        let DeValue::Array(list) = value.get_ref() else {
            diagnostics.push(Diagnostic::new(
                at,
                "realms: write each realm as a table that starts with [[realms]]",
            ));
            return Vec::new();
        };
        let tables = list.iter().filter_map(|table| {
            Some((self.origin(table.span().start), table.get_ref().as_table()?))
        });
        let read = tables.map(|(at, table)| {
            let realm = self.table(table, &REALM, diagnostics);
            if !realm.has(&schema::NAME) {
                diagnostics.push(Diagnostic::new(
                    &at,
                    "this realm lacks its name; write name = \"…\"",
                ));
            }
            realm
        });
        read.collect()
    }

    fn origin(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        Source::File {
            file: self.file.clone(),
            line,
            column,
        }
    }

    fn values(
        &self,
        shape: Shape,
        value: &Spanned<DeValue>,
    ) -> Result<Vec<RawValue>, (Source, String)> {
        let at = self.origin(value.span().start);
        let single = |text: String| Ok(vec![RawValue::new(text, &at)]);
        match (value.get_ref(), shape) {
            (DeValue::Array(list), Shape::Many) => {
                let parts = list.iter().map(|part| match part.get_ref() {
                    DeValue::Array(_) => Err((
                        self.origin(part.span().start),
                        "a list inside a list".to_owned(),
                    )),
                    _ => self.values(shape, part),
                });
                Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
            }
            (DeValue::Boolean(value), Shape::Switch) => single(value.to_string()),
            (_, Shape::Switch) => Err((at, "write true or false, without quotes".into())),
            (DeValue::String(text), _) => single(text.to_string()),
            (DeValue::Integer(number), _) => single(number.as_str().replace('_', "")),
            (other, Shape::Many) => Err((
                at,
                format!("{} is no list of texts: write [\"…\"]", article(other)),
            )),
            (other, Shape::One) => Err((at, format!("{} is no text or number", article(other)))),
        }
    }
}

fn article(value: &DeValue) -> String {
    match value.type_str() {
        kind if kind.starts_with(['a', 'i']) => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

/// The message for an unknown key: what replaces it if it was removed, else the nearest known key.
fn unknown(name: &str, known: Vec<&'static str>) -> String {
    if let Some(replacement) = schema::replacement(name) {
        return format!("`{name}` was removed: {replacement}");
    }
    match nearest(&name.to_lowercase().replace('-', "_"), known.into_iter()) {
        Some(key) => format!("there is no key `{name}`; the nearest is `{key}`"),
        None => format!("there is no key `{name}`; `hairpin config print` shows all of them"),
    }
}

const TOP: KnownKeys = KnownKeys {
    key: schema::key,
    names: || schema::keys().map(|key| key.name).chain([REALMS]).collect(),
    realms: true,
};
const REALM: KnownKeys = KnownKeys {
    key: |name| schema::REALM_KEYS.iter().find(|key| key.name == name),
    names: || schema::REALM_KEYS.iter().map(|key| key.name).collect(),
    realms: false,
};
/// The table of tables of further realms.
const REALMS: &str = "realms";

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostics(text: &str) -> Vec<String> {
        match parse(Path::new("hairpin.toml"), text) {
            Ok(_) => vec![],
            Err(error) => error
                .diagnostics
                .iter()
                .map(Diagnostic::to_string)
                .collect(),
        }
    }

    #[test]
    fn values_keep_their_places() {
        let text = "listen = [\"127.0.0.1:1\",\n  \"[::1]:2\"]\nshards = 1_0\nsha1 = false\nadmin = \"off\"\n";
        let written = parse(Path::new("f"), text).unwrap();
        let listen = written.get(&schema::LISTEN);
        assert_eq!(listen[1].text, "[::1]:2");
        assert_eq!(listen[1].origin.to_string(), "f:2:3");
        assert_eq!(written.get(&schema::SHARDS)[0].text, "10");
        assert_eq!(written.get(&schema::SHA1)[0].text, "false");
    }

    #[test]
    fn a_typo_is_told_with_line_column_and_the_nearest_key() {
        assert_eq!(
            diagnostics("realm = \"a\"\n\n  relay-prots = \"1-2\"\nzzz = 1\n"),
            [
                "hairpin.toml:3:3: there is no key `relay-prots`; the nearest is `relay_ports`",
                "hairpin.toml:4:1: there is no key `zzz`; `hairpin config print` shows all of them",
            ]
        );
    }

    #[test]
    fn a_removed_key_is_refused_with_its_replacement() {
        assert_eq!(
            diagnostics("room_name = 3"),
            ["hairpin.toml:1:1: `room_name` was removed: a room name has at most 64 characters"]
        );
    }

    #[test]
    fn realms_are_tables_with_keys_of_their_own() {
        let written = parse(
            Path::new("f"),
            "[[realms]]\nname = 'a'\nuser = ['x:y']\n[[realms]]\nname = 'b'",
        )
        .unwrap();
        assert_eq!(written.realms.len(), 2);
        assert_eq!(
            written.realms[0].get(&schema::USER)[0].origin.to_string(),
            "f:3:9"
        );
        assert_eq!(
            diagnostics("[[realms]]\nusr = ['x:y']\n"),
            [
                "hairpin.toml:1:1: this realm lacks its name; write name = \"…\"",
                "hairpin.toml:2:1: there is no key `usr`; the nearest is `user`",
            ]
        );
        assert!(diagnostics("realms = 3")[0].contains("[[realms]]"));
    }

    #[test]
    fn types_and_syntax_are_told_where_they_go_wrong() {
        assert_eq!(
            diagnostics("sha1 = \"yes\""),
            ["hairpin.toml:1:8: sha1: write true or false, without quotes"]
        );
        assert_eq!(
            diagnostics("user = [[\"a\"]]"),
            ["hairpin.toml:1:9: user: a list inside a list"]
        );
        assert_eq!(
            diagnostics("realm = 2.5"),
            ["hairpin.toml:1:9: realm: a float is no text or number"]
        );
        assert!(
            diagnostics("realm = \"a\"\nrealm = \"b\"")[0]
                .starts_with("hairpin.toml:2:1: this is not TOML: ")
        );
        assert!(diagnostics("a b")[0].starts_with("hairpin.toml:1:"));
    }
}
