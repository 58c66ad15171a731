//! Parses the command line, dispatches, and turns the outcome into an exit code.

use clap::Parser;
use hairpin::cli::Command;
use std::process::ExitCode;

fn main() -> ExitCode {
    Command::parse().run()
}
