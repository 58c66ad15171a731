//! Reads a configuration key by key, typed, and collects every error on the way.

use crate::config::error::{Diagnostic, Source};
use crate::config::layer::Layer;
use crate::config::schema::{AnyKey, Key, ListKey, OptionalKey};
use crate::config::value::ValueError;
use std::fmt::Display;

/// Parses the values of a layer. A value that cannot be parsed is recorded as a diagnostic and read
/// as if it were not set, so that one run reports all errors.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    layer: &'a Layer,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A value and where the operator wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Sourced<T> {
    pub(crate) source: Source,
    pub(crate) value: T,
}

/// The content of a file that a key names.
pub(crate) struct FileContent {
    /// Where the operator wrote the path.
    pub(crate) source: Source,
    pub(crate) path: String,
    pub(crate) content: String,
}

impl<'a> Resolver<'a> {
    pub(crate) fn new(layer: &'a Layer) -> Resolver<'a> {
        Resolver {
            layer,
            diagnostics: Vec::new(),
        }
    }

    /// The value of a key, or its default.
    pub(crate) fn get<T>(&mut self, key: &Key<T>) -> T {
        self.parse(key, |text| key.parse(text))
            .unwrap_or_else(|| key.default())
    }

    /// The value of a key, or the value that the realm inherits from the top level.
    pub(crate) fn get_or<T>(&mut self, key: &Key<T>, inherited: T) -> T {
        self.parse(key, |text| key.parse(text)).unwrap_or(inherited)
    }

    /// The value of a key without a default.
    pub(crate) fn get_optional<T>(&mut self, key: &OptionalKey<T>) -> Option<T> {
        self.parse(key, |text| key.parse(text))
    }

    /// The values of a key that takes many, or its default.
    pub(crate) fn get_list<T>(&mut self, key: &ListKey<T>) -> Vec<T> {
        if !self.has(key) {
            return key.default();
        }
        let values = self.get_sourced(key);
        values.into_iter().map(|sourced| sourced.value).collect()
    }

    /// The values that the operator wrote for a key, each with its source.
    pub(crate) fn get_sourced<T>(&mut self, key: &ListKey<T>) -> Vec<Sourced<T>> {
        self.parse_all(key, |text| key.parse(text))
    }

    /// The contents of the files that a key names.
    pub(crate) fn files(&mut self, key: &dyn AnyKey) -> Vec<FileContent> {
        let mut files = Vec::new();
        for raw in self.layer.get(key) {
            match &raw.content {
                Some(Ok(content)) => files.push(FileContent {
                    source: raw.source.clone(),
                    path: raw.text.clone(),
                    content: content.clone(),
                }),
                Some(Err(error)) => self.error_at(&raw.source, key, error),
                None => {}
            }
        }
        files
    }

    /// Returns true if the operator set the key, even to an empty list.
    pub(crate) fn has(&self, key: &dyn AnyKey) -> bool {
        self.layer.has(key)
    }

    /// Records an error of a key at its first value.
    pub(crate) fn error(&mut self, key: &dyn AnyKey, message: impl Display) {
        let source = self.layer.source(key);
        self.error_at(&source, key, message);
    }

    /// Records an error of a key at one of its values.
    pub(crate) fn error_at(&mut self, source: &Source, key: &dyn AnyKey, message: impl Display) {
        let diagnostic = Diagnostic::of_key(source, key, message);
        self.diagnostics.push(diagnostic);
    }

    /// Records an error that may disappear without a change of the configuration.
    pub(crate) fn transient_error_at(
        &mut self,
        source: &Source,
        key: &dyn AnyKey,
        message: impl Display,
    ) {
        let diagnostic = Diagnostic::of_key(source, key, message).transient();
        self.diagnostics.push(diagnostic);
    }

    fn parse<T>(
        &mut self,
        key: &dyn AnyKey,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Option<T> {
        self.parse_all(key, parse)
            .pop()
            .map(|sourced| sourced.value)
    }

    fn parse_all<T>(
        &mut self,
        key: &dyn AnyKey,
        parse: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Vec<Sourced<T>> {
        let mut values = Vec::new();
        for raw in self.layer.get(key) {
            match parse(&raw.text) {
                Ok(value) => values.push(Sourced {
                    source: raw.source.clone(),
                    value,
                }),
                Err(error) => self.error_at(&raw.source, key, error),
            }
        }
        values
    }
}
