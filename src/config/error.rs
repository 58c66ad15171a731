//! Errors and warnings about a configuration, each with the place that the operator has to change.

use crate::config::schema::AnyKey;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The schema.
    Default,
    /// A flag of the command line, with its hyphens.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A file. Line and column count from 1, columns in characters.
    File {
        /// The path.
        file: Arc<PathBuf>,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Flag(flag) => f.write_str(flag),
            Source::Environment(variable) => f.write_str(variable),
            Source::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
        }
    }
}

/// One error or warning: its place, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where the operator wrote the value.
    pub source: Source,
    /// What is wrong, and what would be accepted.
    pub message: String,
    /// The configuration may be right: another server did not answer, and may at the next start.
    pub transient: bool,
}

impl Diagnostic {
    /// An error that the operator has to correct.
    pub fn new(source: &Source, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            source: source.clone(),
            message: message.into(),
            transient: false,
        }
    }

    /// An error of a key. A flag and a variable name their key, a line of a file is given its name.
    pub(crate) fn of_key(
        source: &Source,
        key: &dyn AnyKey,
        message: impl fmt::Display,
    ) -> Diagnostic {
        let message = match source {
            Source::Flag(_) | Source::Environment(_) => message.to_string(),
            Source::File { .. } | Source::Default => format!("{}: {message}", key.info().name),
        };
        Diagnostic::new(source, message)
    }

    pub(crate) fn transient(self) -> Diagnostic {
        Diagnostic {
            transient: true,
            ..self
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Default => f.write_str(&self.message),
            source => write!(f, "{source}: {}", self.message),
        }
    }
}

/// Everything that is wrong with a configuration: at least one diagnostic. Diagnostics of a file
/// are in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The errors.
    pub diagnostics: Vec<Diagnostic>,
}

impl Error {
    /// Sorts the errors of a file by line and column.
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Error {
        diagnostics.sort_by_key(|diagnostic| match diagnostic.source {
            Source::File { line, column, .. } => (line, column),
            Source::Default | Source::Flag(_) | Source::Environment(_) => (0, 0),
        });
        Error { diagnostics }
    }

    /// Returns true if the next start may succeed with the same configuration.
    pub fn is_transient(&self) -> bool {
        self.diagnostics
            .iter()
            .all(|diagnostic| diagnostic.transient)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{diagnostic}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Diagnostic> for Error {
    fn from(diagnostic: Diagnostic) -> Error {
        Error {
            diagnostics: vec![diagnostic],
        }
    }
}
