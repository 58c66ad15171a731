//! The configuration as text: what the operator wrote for each key and where. A flag hides the
//! environment variable, which hides the file, which hides the default.

use crate::config::error::Source;
use crate::config::schema;
use crate::config::schema::{AnyKey, Arity};
use std::collections::HashMap;

/// One value as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// The text.
    pub text: String,
    /// Where the operator wrote it.
    pub source: Source,
    /// For a key that names files: the content of the file when [`Layer::read_files`] ran, or why
    /// it could not be read.
    pub content: Option<Result<String, FileError>>,
}

impl RawValue {
    /// A text from a source.
    pub fn new(text: impl Into<String>, source: &Source) -> RawValue {
        RawValue {
            text: text.into(),
            source: source.clone(),
            content: None,
        }
    }
}

/// Why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    path: String,
    // `io::Error` can be neither cloned nor compared, which reloading needs.
    reason: String,
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be read: {}", self.path, self.reason)
    }
}

impl std::error::Error for FileError {}

/// The values of one source, or of several merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    values: HashMap<&'static str, Vec<RawValue>>,
    /// The `[[realms]]` tables, which only a file can have.
    pub realms: Vec<Layer>,
}

impl Layer {
    /// Sets a key, replacing its values.
    pub fn set(&mut self, key: &'static dyn AnyKey, values: Vec<RawValue>) {
        self.values.insert(key.info().name, values);
    }

    /// The values of a key, empty if it is not set.
    pub fn get(&self, key: &dyn AnyKey) -> &[RawValue] {
        self.values
            .get(key.info().name)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Returns true if the key is set, even to an empty list.
    pub fn has(&self, key: &dyn AnyKey) -> bool {
        self.values.contains_key(key.info().name)
    }

    /// The source of a key's first value.
    pub fn source(&self, key: &dyn AnyKey) -> Source {
        let first = self.get(key).first();
        first.map_or(Source::Default, |raw| raw.source.clone())
    }

    /// Merges another layer into this one. Its values replace the values of this layer.
    pub fn overlay(mut self, upper: Layer) -> Layer {
        self.values.extend(upper.values);
        self.realms.extend(upper.realms);
        self
    }

    /// Reads one environment variable for each key. An empty variable counts as not set.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Layer {
        let mut layer = Layer::default();
        for key in schema::keys() {
            let name = key.info().variable();
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else {
                continue;
            };
            let source = Source::Environment(name);
            let raw = |text: &str| RawValue::new(text, &source);
            let values = match (key.arity(), key.info().secret) {
                // A secret may contain every character but a line break.
                (Arity::Many, true) => text
                    .lines()
                    .filter(|line| !line.is_empty())
                    .map(raw)
                    .collect(),
                (Arity::One | Arity::Switch, true) => {
                    vec![raw(text.trim_end_matches(['\r', '\n']))]
                }
                (Arity::Many, false) => text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(raw)
                    .collect(),
                (Arity::One | Arity::Switch, false) => vec![raw(text.trim())],
            };
            layer.set(key, values);
        }
        layer
    }

    /// Reads the files that keys such as `certificate` name. Their contents are part of the
    /// configuration, so that a reload notices a changed file.
    pub fn read_files(mut self) -> Layer {
        for key in schema::keys().filter(|key| key.info().file) {
            for raw in self.values.get_mut(key.info().name).into_iter().flatten() {
                let content = std::fs::read_to_string(&raw.text);
                raw.content = Some(content.map_err(|error| FileError {
                    path: raw.text.clone(),
                    reason: error.to_string(),
                }));
            }
        }
        self.realms = self.realms.into_iter().map(Layer::read_files).collect();
        self
    }

    /// Replaces the values of the selected keys with those of another layer.
    pub fn keep(mut self, other: &Layer, select: impl Fn(&dyn AnyKey) -> bool) -> Layer {
        for key in schema::keys().filter(|key| select(*key)) {
            let name = key.info().name;
            match other.values.get(name) {
                Some(values) => self.values.insert(name, values.clone()),
                None => self.values.remove(name),
            };
        }
        self
    }

    /// Describes every key for the admin API. Secrets are hidden.
    pub fn describe(&self) -> Vec<KeyDescription> {
        let describe = |key: &'static dyn AnyKey| {
            let info = key.info();
            let raw = self.get(key);
            let text = |raw: &RawValue| match info.secret {
                true => "…".to_owned(),
                false => raw.text.clone(),
            };
            KeyDescription {
                key: info.name,
                values: raw.iter().map(text).collect(),
                origins: raw.iter().map(|raw| raw.source.to_string()).collect(),
                default: key.default_in_file(),
            }
        };
        schema::keys().map(describe).collect()
    }

    /// The keys whose values differ between two layers, in the order of the schema.
    pub fn changed_keys<'a>(
        &'a self,
        other: &'a Layer,
    ) -> impl Iterator<Item = &'static dyn AnyKey> + 'a {
        let values = |layer: &'a Layer, key: &dyn AnyKey| -> Vec<_> {
            let raw = layer.get(key).iter();
            raw.map(|raw| (&raw.text, &raw.content)).collect()
        };
        schema::keys().filter(move |key| values(self, *key) != values(other, *key))
    }
}

/// Environment variables that resemble a key's variable but match none, each with the nearest
/// variable that exists.
pub fn misspelled_variables(names: impl Iterator<Item = String>) -> Vec<(String, String)> {
    let meant = |name: &str| {
        let bare = name.strip_prefix("HAIRPIN_")?.to_lowercase();
        let nearest = schema::nearest::nearest(&bare, schema::keys().map(|key| key.info().name))?;
        let key = schema::key(nearest).filter(|_| nearest != bare)?;
        Some(key.info().variable())
    };
    names
        .filter_map(|name| meant(&name).map(|meant| (name, meant)))
        .collect()
}

/// One key as the admin API shows it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeyDescription {
    /// The name.
    pub key: &'static str,
    /// The values that the operator wrote, empty if the default holds.
    pub values: Vec<String>,
    /// Where the operator wrote them.
    pub origins: Vec<String>,
    /// The default, as the file writes it.
    pub default: String,
}
