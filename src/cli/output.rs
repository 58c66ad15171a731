//! How a command tells what came of it, and ends when it could not do what was asked.

use crate::config;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// What is wrong with what was written, as a sentence.
pub trait UsageError: Display {
    /// Whether nothing has to be written otherwise: the same may be right the next time.
    fn is_transient(&self) -> bool {
        false
    }
}

impl UsageError for &str {}
impl UsageError for String {}
impl UsageError for config::Error {
    fn is_transient(&self) -> bool {
        config::Error::is_transient(self)
    }
}

/// Says on standard error what is wrong, and what the process ends with: 2, somebody has to write something else. What may
/// pass by itself is a [`failure`]: whoever started the process may try again.
pub fn usage_error(wrong: &impl UsageError) -> ExitCode {
    if wrong.is_transient() {
        return failure(wrong);
    }
    print_error(&format_args!("error: {wrong}"));
    ExitCode::from(2)
}

/// The same for what went wrong although it was said right.
pub fn failure(sentence: &dyn Display) -> ExitCode {
    print_error(&format_args!("error: {sentence}"));
    ExitCode::from(1)
}

/// Prints a result, and says what the process ends with: `code` where it was printed, and 1 with a word where it was not.
pub fn print_result(result: &impl Display, code: ExitCode) -> ExitCode {
    match print(result) {
        Ok(()) => code,
        Err(sentence) => failure(&sentence),
    }
}

/// Prints a result and ends its line. Whoever has read enough of it (`| head`) may be gone.
///
/// # Errors
/// Any other reason why it is not written, as a sentence: a disk that is full.
pub fn print(result: &impl Display) -> Result<(), String> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{result}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("standard output cannot be written: {error}"))
        }
        _ => Ok(()),
    }
}

/// Says a line on standard error, if anybody listens.
pub fn print_error(sentence: &dyn Display) {
    let _ = writeln!(io::stderr().lock(), "{sentence}");
}
