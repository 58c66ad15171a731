//! Prints results to standard output and errors to standard error, and returns the exit codes: 0
//! success, 1 failure, 2 usage error.

use crate::config;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

/// Prints an error that the user has to correct, and returns exit code 2.
pub(crate) fn usage_error(error: &dyn Display) -> ExitCode {
    print_error(&format_args!("error: {error}"));
    ExitCode::from(2)
}

/// Prints an error that the user need not correct, and returns exit code 1.
pub(crate) fn failure(error: &dyn Display) -> ExitCode {
    print_error(&format_args!("error: {error}"));
    ExitCode::from(1)
}

/// Prints the errors of a configuration. The exit code is 1 if the next start may succeed with the
/// same configuration, so that a service manager tries again.
pub(crate) fn config_error(error: &config::Error) -> ExitCode {
    match error.is_transient() {
        true => failure(error),
        false => usage_error(error),
    }
}

/// Prints a result and returns `code`, or exit code 1 if it could not be printed.
pub(crate) fn print_result(result: &impl Display, code: ExitCode) -> ExitCode {
    match print(result) {
        Ok(()) => code,
        Err(error) => failure(&error),
    }
}

/// Prints a result and a line break. A reader that has closed the pipe, such as `head`, is not an
/// error.
pub(crate) fn print(result: &impl Display) -> Result<(), PrintError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{result}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(PrintError(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Standard output could not be written, for example because the disk is full.
#[derive(Debug)]
pub(crate) struct PrintError(io::Error);

impl Display for PrintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "standard output cannot be written: {}", self.0)
    }
}

impl std::error::Error for PrintError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Prints a line to standard error. A closed standard error is ignored.
pub(crate) fn print_error(line: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
