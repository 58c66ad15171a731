//! The configuration file: TOML with one key per line. An unknown key is an error that names the
//! nearest known key.

use crate::config::error::{Diagnostic, Error, Source};
use crate::config::layer::{Layer, RawValue};
use crate::config::schema;
use crate::config::schema::{AnyKey, Arity};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Reads a file.
///
/// # Errors
/// A file that cannot be read, and the errors of [`parse`].
pub fn read(path: &Path) -> Result<Layer, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Diagnostic::new(&Source::Default, message)
    })?;
    parse(path, &text)
}

/// Parses the text of a file. `path` names the file in errors.
///
/// # Errors
/// Invalid TOML, unknown keys and values of a wrong type, each with its line and column.
pub fn parse(path: &Path, text: &str) -> Result<Layer, Error> {
    let mut parser = Parser {
        file: Arc::new(path.to_owned()),
        text,
        diagnostics: Vec::new(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let message = format!("invalid TOML: {}", error.message());
        Diagnostic::new(&parser.source(offset), message)
    })?;
    let layer = parser.top_level(table.get_ref());
    if parser.diagnostics.is_empty() {
        Ok(layer)
    } else {
        Err(Error::new(parser.diagnostics))
    }
}

struct Parser<'a> {
    file: Arc<PathBuf>,
    text: &'a str,
    diagnostics: Vec<Diagnostic>,
}

impl Parser<'_> {
    fn top_level(&mut self, table: &DeTable) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in table.iter() {
            if name.get_ref() == REALMS {
                layer.realms = self.realms(name.span().start, value);
                continue;
            }
            let names = schema::keys().map(|key| key.info().name).chain([REALMS]);
            self.entry(&mut layer, name, value, schema::key, names);
        }
        layer
    }

    fn realms(&mut self, offset: usize, value: &Spanned<DeValue>) -> Vec<Layer> {
        let DeValue::Array(list) = value.get_ref() else {
            self.error(
                offset,
                "realms: write each realm as a table that starts with [[realms]]",
            );
            return Vec::new();
        };
        let mut realms = Vec::new();
        for item in list.iter() {
            let Some(table) = item.get_ref().as_table() else {
                continue;
            };
            let realm = self.realm(table);
            if !realm.has(&schema::NAME) {
                self.error(
                    item.span().start,
                    "this realm lacks its name; write name = \"…\"",
                );
            }
            realms.push(realm);
        }
        realms
    }

    fn realm(&mut self, table: &DeTable) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in table.iter() {
            let find = |name: &str| schema::realm_keys().find(|key| key.info().name == name);
            let names = schema::realm_keys().map(|key| key.info().name);
            self.entry(&mut layer, name, value, find, names);
        }
        layer
    }

    /// Parses one line: a key and its values.
    fn entry(
        &mut self,
        layer: &mut Layer,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue>,
        find: impl Fn(&str) -> Option<&'static dyn AnyKey>,
        names: impl Iterator<Item = &'static str>,
    ) {
        let offset = name.span().start;
        let name: &str = name.get_ref();
        let Some(key) = find(name) else {
            self.error(offset, unknown_key(name, names));
            return;
        };
        match self.values(key.arity(), value) {
            Ok(values) => layer.set(key, values),
            Err((offset, error)) => self.error(offset, format!("{}: {error}", key.info().name)),
        }
    }

    fn values(
        &self,
        arity: Arity,
        value: &Spanned<DeValue>,
    ) -> Result<Vec<RawValue>, (usize, TypeError)> {
        let offset = value.span().start;
        let single = |text: &str| Ok(vec![RawValue::new(text, &self.source(offset))]);
        match (value.get_ref(), arity) {
            (DeValue::Array(list), Arity::Many) => {
                let parts = list.iter().map(|part| match part.get_ref() {
                    DeValue::Array(_) => Err((part.span().start, TypeError::NestedList)),
                    _ => self.values(arity, part),
                });
                Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
            }
            (DeValue::Boolean(value), Arity::Switch) => single(&value.to_string()),
            (_, Arity::Switch) => Err((offset, TypeError::NotABoolean)),
            (DeValue::String(text), Arity::One | Arity::Many) => single(text),
            (DeValue::Integer(number), Arity::One | Arity::Many) => {
                single(&number.as_str().replace('_', ""))
            }
            (other, Arity::Many) => Err((offset, TypeError::NotAList(article(other)))),
            (other, Arity::One) => Err((offset, TypeError::NotAText(article(other)))),
        }
    }

    fn error(&mut self, offset: usize, message: impl Into<String>) {
        let diagnostic = Diagnostic::new(&self.source(offset), message);
        self.diagnostics.push(diagnostic);
    }

    fn source(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let last_line = before.rsplit('\n').next().unwrap_or(before);
        Source::File {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: last_line.chars().count() + 1,
        }
    }
}

/// Why a value has the wrong type. Types are named with their article.
enum TypeError {
    NestedList,
    NotABoolean,
    NotAList(String),
    NotAText(String),
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TypeError::NestedList => f.write_str("a list inside of a list; write [\"…\", \"…\"]"),
            TypeError::NotABoolean => f.write_str("write true or false, without quotes"),
            TypeError::NotAList(kind) => write!(f, "{kind} is not a list of texts; write [\"…\"]"),
            TypeError::NotAText(kind) => write!(f, "{kind} is not a text or a number"),
        }
    }
}

fn article(value: &DeValue) -> String {
    match value.type_str() {
        kind if kind.starts_with(['a', 'i']) => format!("an {kind}"),
        kind => format!("a {kind}"),
    }
}

fn unknown_key(name: &str, known: impl Iterator<Item = &'static str>) -> String {
    if let Some(key) = schema::removed_key(name) {
        return format!("`{name}` was removed: {}", key.replacement);
    }
    match schema::nearest::nearest(&name.to_lowercase().replace('-', "_"), known) {
        Some(key) => format!("there is no key `{name}`; the nearest is `{key}`"),
        None => format!("there is no key `{name}`; `hairpin config print` lists all keys"),
    }
}

/// The array of tables of further realms.
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
    fn values_keep_their_line_and_column() {
        let text = "listen = [\"127.0.0.1:1\",\n  \"[::1]:2\"]\nshards = 1_0\nsha1 = false\nadmin = \"off\"\n";
        let layer = parse(Path::new("f"), text).unwrap();
        let listen = layer.get(&schema::LISTEN);
        assert_eq!(listen[1].text, "[::1]:2");
        assert_eq!(listen[1].source.to_string(), "f:2:3");
        assert_eq!(layer.get(&schema::SHARDS)[0].text, "10");
        assert_eq!(layer.get(&schema::SHA1)[0].text, "false");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_key() {
        assert_eq!(
            diagnostics("realm = \"a\"\n\n  relay-prots = \"1-2\"\nzzz = 1\n"),
            [
                "hairpin.toml:3:3: there is no key `relay-prots`; the nearest is `relay_ports`",
                "hairpin.toml:4:1: there is no key `zzz`; `hairpin config print` lists all keys",
            ]
        );
    }

    #[test]
    fn realms_are_tables_with_their_own_keys() {
        let layer = parse(
            Path::new("f"),
            "[[realms]]\nname = 'a'\nuser = ['x:y']\n[[realms]]\nname = 'b'",
        )
        .unwrap();
        assert_eq!(layer.realms.len(), 2);
        assert_eq!(
            layer.realms[0].get(&schema::USER)[0].source.to_string(),
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
    fn wrong_types_and_syntax_are_refused_with_their_place() {
        assert_eq!(
            diagnostics("sha1 = \"yes\""),
            ["hairpin.toml:1:8: sha1: write true or false, without quotes"]
        );
        assert_eq!(
            diagnostics("user = [[\"a\"]]"),
            ["hairpin.toml:1:9: user: a list inside of a list; write [\"…\", \"…\"]"]
        );
        assert_eq!(
            diagnostics("realm = 2.5"),
            ["hairpin.toml:1:9: realm: a float is not a text or a number"]
        );
        assert!(
            diagnostics("realm = \"a\"\nrealm = \"b\"")[0]
                .starts_with("hairpin.toml:2:1: invalid TOML: ")
        );
        assert!(diagnostics("a b")[0].starts_with("hairpin.toml:1:"));
    }
}
