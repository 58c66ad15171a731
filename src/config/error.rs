//! What is wrong with a configuration, and where.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Environment(variable) => f.write_str(variable),
            Origin::File { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
        }
    }
}

/// One fault: where, and a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong, and what would be right.
    pub message: String,
    /// What is written may be right: somebody else did not answer, and may the next time.
    pub passing: bool,
}

impl Fault {
    /// A fault at a place.
    pub fn new(origin: &Origin, message: impl Into<String>) -> Fault {
        Fault {
            origin: origin.clone(),
            message: message.into(),
            passing: false,
        }
    }

    /// The same for what may be right the next time.
    pub fn passing(self) -> Fault {
        Fault {
            passing: true,
            ..self
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Default => f.write_str(&self.message),
            origin => write!(f, "{origin}: {}", self.message),
        }
    }
}

/// Everything that is wrong with a configuration: at least one fault, in the order of writing where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The faults.
    pub faults: Vec<Fault>,
}

impl Error {
    /// An error of at least one fault; those of files come in the order of writing.
    pub fn new(mut faults: Vec<Fault>) -> Error {
        faults.sort_by_key(|fault| match fault.origin {
            Origin::File { line, column, .. } => (line, column),
            _ => (0, 0),
        });
        Error { faults }
    }

    /// Whether nothing has to be written otherwise: the same may be right the next time.
    pub fn is_passing(&self) -> bool {
        self.faults.iter().all(|fault| fault.passing)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error {
            faults: vec![fault],
        }
    }
}
