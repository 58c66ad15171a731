//! A configuration as it was written: texts and where each was found, nothing understood yet. Layers lie on one another:
//! a flag hides the variable, which hides the file, which hides the default.

use crate::config::error::{Diagnostic, Source};
use crate::config::nearest;
use crate::config::schema;
use crate::config::schema::{Key, Shape};
use std::collections::HashMap;

/// One value, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawValue {
    /// What was written.
    pub text: String,
    /// Where.
    pub origin: Source,
    /// For a key that names files: what stood in this one when [`Layer::open_files`] looked, or why nothing could be read.
    pub content: Option<Result<String, String>>,
}

impl RawValue {
    /// A text and where it was written.
    pub fn new(text: impl Into<String>, origin: &Source) -> RawValue {
        RawValue {
            text: text.into(),
            origin: origin.clone(),
            content: None,
        }
    }
}

/// What was written in one place, or in several laid on one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    values: HashMap<&'static str, Vec<RawValue>>,
    /// Further realms, which only a file can name.
    pub realms: Vec<Layer>,
}

impl Layer {
    /// Sets a key, in place of what was there.
    pub fn set(&mut self, key: &Key, values: Vec<RawValue>) {
        self.values.insert(key.name, values);
    }

    /// What was written for a key; empty when nothing was.
    pub fn get(&self, key: &Key) -> &[RawValue] {
        self.values
            .get(key.name)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether anything was written for a key, even an empty list.
    pub fn has(&self, key: &Key) -> bool {
        self.values.contains_key(key.name)
    }

    /// Lays another layer on top: what it sets counts from here on.
    pub fn overlay(mut self, upper: Layer) -> Layer {
        self.values.extend(upper.values);
        self.realms.extend(upper.realms);
        self
    }

    /// What the environment says: one variable for each key; an empty one says nothing.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Layer {
        let mut written = Layer::default();
        for key in schema::keys() {
            let name = key.variable();
            let Some(text) = variable(&name).filter(|text| !text.is_empty()) else {
                continue;
            };
            let origin = Source::Environment(name);
            let given = |text: &str| RawValue::new(text, &origin);
            let values = match (key.shape, key.secret) {
                // Any character may be part of a secret but a line break.
                (Shape::Many, true) => text
                    .lines()
                    .filter(|line| !line.is_empty())
                    .map(given)
                    .collect(),
                (_, true) => vec![given(text.trim_end_matches(['\r', '\n']))],
                (Shape::Many, false) => text
                    .split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(given)
                    .collect(),
                (Shape::One | Shape::Switch, false) => vec![given(text.trim())],
            };
            written.set(key, values);
        }
        written
    }

    /// Variables that look like a key's, and are none: each with the key's that was meant.
    pub fn misspelt(variables: impl Iterator<Item = String>) -> Vec<(String, String)> {
        let nearest = |name: &str| {
            let bare = name.strip_prefix("HAIRPIN_")?.to_lowercase();
            let key = nearest::nearest(&bare, schema::keys().map(|key| key.name))?;
            (key != bare).then(|| schema::key(key).map(Key::variable))?
        };
        variables
            .filter_map(|name| nearest(&name).map(|meant| (name, meant)))
            .collect()
    }

    /// Reads the files that are named, so that what they say now is part of what was written.
    pub fn open_files(mut self) -> Layer {
        for key in schema::keys().filter(|key| key.file) {
            for given in self.values.get_mut(key.name).into_iter().flatten() {
                let read = std::fs::read_to_string(&given.text);
                given.content =
                    Some(read.map_err(|error| format!("{} cannot be read: {error}", given.text)));
            }
        }
        self.realms = self.realms.into_iter().map(Layer::open_files).collect();
        self
    }

    /// Puts back what another configuration says of some keys.
    pub fn keep(mut self, other: &Layer, keys: impl Fn(&Key) -> bool) -> Layer {
        for key in schema::keys().filter(|key| keys(key)) {
            match other.values.get(key.name) {
                Some(values) => self.values.insert(key.name, values.clone()),
                None => self.values.remove(key.name),
            };
        }
        self
    }

    /// What was written, key by key, for operators: secrets stay hidden.
    pub fn describe(&self) -> Vec<KeyDescription> {
        let described = |key: &'static Key| {
            let given = self.get(key);
            let texts = given.iter().map(|given| {
                if key.secret {
                    "…".to_owned()
                } else {
                    given.text.clone()
                }
            });
            let origins = given.iter().map(|given| given.origin.to_string());
            KeyDescription {
                key: key.name,
                values: texts.collect(),
                origins: origins.collect(),
                default: key.default,
            }
        };
        schema::keys().map(described).collect()
    }

    /// The keys whose values differ between two configurations, in the order of the schema.
    pub fn differences<'a>(&'a self, other: &'a Layer) -> impl Iterator<Item = &'static Key> + 'a {
        let says = |written: &'a Layer, key: &Key| -> Vec<_> {
            written
                .get(key)
                .iter()
                .map(|given| (&given.text, &given.content))
                .collect()
        };
        schema::keys().filter(move |key| says(self, key) != says(other, key))
    }
}

/// One key as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct KeyDescription {
    /// Its name.
    pub key: &'static str,
    /// What was written; nothing where the default holds.
    pub values: Vec<String>,
    /// Where.
    pub origins: Vec<String>,
    /// What holds when nothing is written.
    pub default: &'static str,
}

/// Understands what was written, one key at a time, and gathers everything that is wrong on the way.
#[derive(Debug)]
pub struct Resolver<'a> {
    written: &'a Layer,
    /// What was found wrong so far.
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Resolver<'a> {
    /// Reads what was written.
    pub fn new(written: &'a Layer) -> Resolver<'a> {
        Resolver {
            written,
            diagnostics: Vec::new(),
        }
    }

    /// The value of a key that takes one; `None` when nothing was written, or something wrong.
    pub fn one<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.many(key, parse).pop()
    }

    /// The values of a key that takes many.
    pub fn many<T>(&mut self, key: &Key, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        self.many_at(key, parse)
            .into_iter()
            .map(|(_, value)| value)
            .collect()
    }

    /// The values of a key that takes many, each with its place.
    pub fn many_at<T>(
        &mut self,
        key: &Key,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<(Source, T)> {
        let mut values = Vec::new();
        for given in self.written.get(key) {
            match parse(&given.text) {
                Ok(value) => values.push((given.origin.clone(), value)),
                Err(message) => self.wrong_at(&given.origin, key, &message),
            }
        }
        values
    }

    /// The contents of the files that a key names, each with its path and where that was written.
    pub fn contents(&mut self, key: &Key) -> Vec<(Source, String, String)> {
        let mut contents = Vec::new();
        for given in self.written.get(key) {
            match &given.content {
                Some(Ok(content)) => {
                    contents.push((given.origin.clone(), given.text.clone(), content.clone()))
                }
                Some(Err(message)) => self.wrong_at(&given.origin, key, message),
                None => {}
            }
        }
        contents
    }

    /// Notes that something is wrong with a key, wherever it was written first.
    pub fn wrong(&mut self, key: &Key, message: &str) {
        let origin = self
            .written
            .get(key)
            .first()
            .map_or(Source::Default, |given| given.origin.clone());
        self.wrong_at(&origin, key, message);
    }

    /// Whether a key was written at all.
    pub fn has(&self, key: &Key) -> bool {
        self.written.has(key)
    }

    /// Notes that something is wrong with a key at a place.
    pub fn wrong_at(&mut self, origin: &Source, key: &Key, message: &str) {
        self.diagnostics.push(Resolver::fault(origin, key, message));
    }

    /// The same for what somebody else may have right the next time.
    pub fn transient_at(&mut self, origin: &Source, key: &Key, message: &str) {
        self.diagnostics
            .push(Resolver::fault(origin, key, message).transient());
    }

    fn fault(origin: &Source, key: &Key, message: &str) -> Diagnostic {
        let message = match origin {
            Source::Flag(_) | Source::Environment(_) => message.to_owned(),
            Source::File { .. } | Source::Default => format!("{}: {message}", key.name),
        };
        Diagnostic::new(origin, message)
    }
}
