//! What a key is: its texts, its type, its parser and its default.

use crate::config::schema::format::{Format, Syntax};
use crate::config::value::ValueError;
use std::fmt;

/// The parts of a key that do not depend on its type.
#[derive(Clone, Copy, Debug)]
pub struct KeyInfo {
    /// The name in the file. With hyphens it is the flag, in capitals after `HAIRPIN_` the
    /// environment variable.
    pub name: &'static str,
    /// The placeholder for the value in help texts.
    pub placeholder: &'static str,
    /// A value as the file writes it, for keys without a default.
    pub example: &'static str,
    /// The explanation. Its first sentence is the short help of the flag.
    pub about: &'static str,
    /// The value is never shown.
    pub secret: bool,
    /// The value is the path of a file whose content is the actual value.
    pub file: bool,
    /// A changed value needs a restart. All other keys take effect on reload.
    pub restart: bool,
    /// A `[[realms]]` table may set it too.
    pub per_realm: bool,
}

impl KeyInfo {
    pub(super) const fn new(
        name: &'static str,
        placeholder: &'static str,
        about: &'static str,
    ) -> KeyInfo {
        KeyInfo {
            name,
            placeholder,
            example: "",
            about,
            secret: false,
            file: false,
            restart: false,
            per_realm: false,
        }
    }

    pub(super) const fn example(mut self, example: &'static str) -> KeyInfo {
        self.example = example;
        self
    }

    pub(super) const fn secret(mut self) -> KeyInfo {
        self.secret = true;
        self
    }

    pub(super) const fn file(mut self) -> KeyInfo {
        self.file = true;
        self
    }

    pub(super) const fn restart(mut self) -> KeyInfo {
        self.restart = true;
        self
    }

    pub(super) const fn per_realm(mut self) -> KeyInfo {
        self.per_realm = true;
        self
    }

    /// The flag without its two hyphens.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("HAIRPIN_{}", self.name.to_uppercase())
    }

    /// The first sentence of the explanation, without its full stop.
    pub fn summary(&self) -> &'static str {
        self.about
            .split_once(". ")
            .map_or(self.about, |(first, _)| first)
            .trim_end_matches('.')
    }
}

/// A key that takes one value and has a default.
pub struct Key<T> {
    info: KeyInfo,
    format: Format<T>,
    default: fn() -> T,
}

/// A key that takes one value and has no default.
pub struct OptionalKey<T> {
    info: KeyInfo,
    parse: fn(&str) -> Result<T, ValueError>,
}

/// A key that takes any number of values.
pub struct ListKey<T> {
    info: KeyInfo,
    format: Format<T>,
    default: fn() -> Vec<T>,
}

impl<T> Key<T> {
    pub(super) const fn new(info: KeyInfo, format: Format<T>, default: fn() -> T) -> Key<T> {
        Key {
            info,
            format,
            default,
        }
    }

    /// The value that holds if the operator sets none.
    pub fn default(&self) -> T {
        (self.default)()
    }

    pub(crate) fn parse(&self, text: &str) -> Result<T, ValueError> {
        (self.format.parse)(text)
    }
}

impl<T> OptionalKey<T> {
    pub(super) const fn new(
        info: KeyInfo,
        parse: fn(&str) -> Result<T, ValueError>,
    ) -> OptionalKey<T> {
        OptionalKey { info, parse }
    }

    pub(crate) fn parse(&self, text: &str) -> Result<T, ValueError> {
        (self.parse)(text)
    }
}

impl<T> ListKey<T> {
    pub(super) const fn new(info: KeyInfo, parse: fn(&str) -> Result<T, ValueError>) -> ListKey<T> {
        let format = Format {
            parse,
            write: |_| String::new(),
            syntax: Syntax::Quoted,
        };
        ListKey {
            info,
            format,
            default: Vec::new,
        }
    }

    pub(super) const fn with_default(
        info: KeyInfo,
        format: Format<T>,
        default: fn() -> Vec<T>,
    ) -> ListKey<T> {
        ListKey {
            info,
            format,
            default,
        }
    }

    /// The values that hold if the operator sets none.
    pub fn default(&self) -> Vec<T> {
        (self.default)()
    }

    pub(crate) fn parse(&self, text: &str) -> Result<T, ValueError> {
        (self.format.parse)(text)
    }
}

/// How many values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    /// One value.
    One,
    /// Any number of values: a list in the file, a repeated flag. The environment variable
    /// separates them by commas, or, because a secret may contain commas, by line breaks.
    Many,
    /// `true` or `false`. The flag alone means `true`.
    Switch,
}

/// A key without its type, as the file, the environment and the help texts see it.
pub trait AnyKey: Sync {
    /// The parts that do not depend on the type.
    fn info(&self) -> &KeyInfo;
    /// How many values the key takes.
    fn arity(&self) -> Arity;
    /// The default as the file writes it, empty if there is none.
    fn default_in_file(&self) -> String;
}

impl<T> AnyKey for Key<T> {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn arity(&self) -> Arity {
        match self.format.syntax {
            Syntax::Quoted | Syntax::Number => Arity::One,
            Syntax::Boolean => Arity::Switch,
        }
    }

    fn default_in_file(&self) -> String {
        self.format.write_in_file(&self.default())
    }
}

impl<T> AnyKey for OptionalKey<T> {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn arity(&self) -> Arity {
        Arity::One
    }

    fn default_in_file(&self) -> String {
        String::new()
    }
}

impl<T> AnyKey for ListKey<T> {
    fn info(&self) -> &KeyInfo {
        &self.info
    }

    fn arity(&self) -> Arity {
        Arity::Many
    }

    fn default_in_file(&self) -> String {
        let default = self.default();
        if default.is_empty() {
            return String::new();
        }
        let values: Vec<String> = default
            .iter()
            .map(|value| self.format.write_in_file(value))
            .collect();
        format!("[{}]", values.join(", "))
    }
}

impl fmt::Debug for dyn AnyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.info().name)
    }
}

/// Keys that belong together, under a title in the file and in the help texts.
pub struct Section {
    /// The title.
    pub title: &'static str,
    /// The keys in the order of the file.
    pub keys: &'static [&'static dyn AnyKey],
}

/// Declares the keys of a section and the section's list of them.
macro_rules! section {
    ($section:ident = $title:literal; $($name:ident: $kind:ty = $key:expr;)*) => {
        $(pub(crate) static $name: $kind = $key;)*
        pub(super) static $section: $crate::config::schema::Section = $crate::config::schema::Section {
            title: $title,
            keys: &[$(&$name),*],
        };
    };
}
pub(super) use section;
