//! How a command tells what came of it, and ends when it could not do what was asked.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// Says on standard error what went wrong, and what the process ends with: 2, somebody has to write something else.
pub fn usage(sentence: &dyn Display) -> ExitCode {
    eprintln!("error: {sentence}");
    ExitCode::from(2)
}

/// The same for what went wrong although it was said right.
pub fn failure(sentence: &dyn Display) -> ExitCode {
    eprintln!("error: {sentence}");
    ExitCode::from(1)
}

/// Prints a result. Whoever has read enough of it (`| head`) may be gone.
pub fn tell(result: &impl Display) {
    let _ = writeln!(io::stdout().lock(), "{result}");
}
