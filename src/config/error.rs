//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nowhere: it is the default.
    Default,
    /// A flag of the command line, with its hyphens.
    Flag(String),
    /// An environment variable.
    Environment(String),
    /// A file; line and column count from 1, columns in characters.
    File {
        /// Which.
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

/// One fault: where, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it was written.
    pub origin: Source,
    /// What is wrong, and what would be right.
    pub message: String,
    /// What is written may be right: somebody else did not answer, and may the next time.
    pub transient: bool,
}

impl Diagnostic {
    /// A fault at a place.
    pub fn new(origin: &Source, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            origin: origin.clone(),
            message: message.into(),
            transient: false,
        }
    }

    /// The same for what may be right the next time.
    pub fn transient(self) -> Diagnostic {
        Diagnostic {
            transient: true,
            ..self
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Source::Default => f.write_str(&self.message),
            origin => write!(f, "{origin}: {}", self.message),
        }
    }
}

/// Everything that is wrong with a configuration: at least one fault, in the order of writing where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}

impl Error {
    /// An error of at least one fault; those of files come in the order of writing.
    pub fn new(mut diagnostics: Vec<Diagnostic>) -> Error {
        diagnostics.sort_by_key(|fault| match fault.origin {
            Source::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        Error { diagnostics }
    }

    /// Whether nothing has to be written otherwise: the same may be right the next time.
    pub fn is_transient(&self) -> bool {
        self.diagnostics.iter().all(|fault| fault.transient)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.diagnostics.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Diagnostic> for Error {
    fn from(fault: Diagnostic) -> Error {
        Error {
            diagnostics: vec![fault],
        }
    }
}
