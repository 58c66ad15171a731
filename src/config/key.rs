//! What is known of a key of the configuration, whichever it is.

/// One thing that can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// As the file says it; with hyphens it is the flag, in capitals behind `HAIRPIN_` the variable.
    pub name: &'static str,
    /// What a value looks like.
    pub placeholder: &'static str,
    /// How many values it takes.
    pub shape: Shape,
    /// The default as the file would say it; empty when there is none.
    pub default: &'static str,
    /// A value as the file would say it, for keys without a default.
    pub example: &'static str,
    /// What it is for. The first sentence stands in the help text too.
    pub about: &'static str,
    /// Its value is never shown.
    pub secret: bool,
    /// Its value names a file, whose content counts.
    pub file: bool,
    /// A changed value needs a restart; all others take effect on reload.
    pub restart: bool,
}

/// How many values a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// Any number: a list in the file, a repeated flag; in the environment separated by commas, and where the values are
    /// secrets, which may have commas, by line breaks.
    Many,
    /// `true` or `false`; the flag alone says `true`.
    Switch,
}

/// Keys that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The keys, in the order of the file.
    pub keys: &'static [Key],
}

impl Key {
    /// A key of this shape.
    pub(super) const fn new(name: &'static str, placeholder: &'static str, shape: Shape) -> Key {
        Key {
            name,
            placeholder,
            shape,
            default: "",
            example: "",
            about: "",
            secret: false,
            file: false,
            restart: false,
        }
    }

    /// A key with one value.
    pub(super) const fn one(name: &'static str, placeholder: &'static str) -> Key {
        Key::new(name, placeholder, Shape::One)
    }

    /// A key with any number of values.
    pub(super) const fn many(name: &'static str, placeholder: &'static str) -> Key {
        Key::new(name, placeholder, Shape::Many)
    }

    /// A key that is on or off.
    pub(super) const fn switch(name: &'static str, default: &'static str) -> Key {
        Key::new(name, "true|false", Shape::Switch).default(default)
    }

    /// With this default.
    pub(super) const fn default(self, default: &'static str) -> Key {
        Key { default, ..self }
    }

    /// With this example.
    pub(super) const fn example(self, example: &'static str) -> Key {
        Key { example, ..self }
    }

    /// With this explanation.
    pub(super) const fn about(self, about: &'static str) -> Key {
        Key { about, ..self }
    }

    /// Its value is never shown.
    pub(super) const fn secret(self) -> Key {
        Key {
            secret: true,
            ..self
        }
    }

    /// Its value names a file.
    pub(super) const fn file(self) -> Key {
        Key { file: true, ..self }
    }

    /// A change needs a restart.
    pub(super) const fn restart(self) -> Key {
        Key {
            restart: true,
            ..self
        }
    }

    /// The flag without its two hyphens.
    pub fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("HAIRPIN_{}", self.name.to_uppercase())
    }

    /// The environment variable for people, and how it has several values where that is not by commas.
    pub fn described_variable(&self) -> String {
        let lines = self.secret && self.shape == Shape::Many;
        format!(
            "{}{}",
            self.variable(),
            if lines { ", one a line" } else { "" }
        )
    }

    /// The first sentence of what it is for.
    pub fn summary(&self) -> &'static str {
        self.about
            .split_once(". ")
            .map_or(self.about, |(first, _)| first)
            .trim_end_matches('.')
    }
}
