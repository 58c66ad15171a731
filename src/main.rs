//! The `hairpin` binary.

use clap::Parser;
use hairpin::cli::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    Command::parse().run()
}
