//! `hairpin config`: what an operator does with a configuration before a server runs on it.

use crate::cli::ice_servers;
use crate::cli::output::{print_error, print_result, usage_error};
use crate::config::resolve::resolve;
use crate::config::{Diagnostic, Error, HostInfo, Layer, coturn, file, render};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check, print or convert a configuration file
#[derive(Args, Clone, Debug)]
pub struct Config {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Clone, Debug)]
enum Verb {
    /// Say what is wrong with a file: line, column, and what would be right. Exits with 2 when something is
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print what a turnserver.conf of coturn would be here, and list on standard error what could not be converted
    FromCoturn {
        /// The file
        file: PathBuf,
    },
    /// Print a complete, commented file: every key with its default
    Print,
}

/// Runs it.
pub fn run(args: &Config) -> ExitCode {
    match &args.verb {
        Verb::Print => print_result(&render::file().trim_end(), ExitCode::SUCCESS),
        Verb::FromCoturn { file } => match std::fs::read_to_string(file) {
            Ok(text) => {
                let converted = coturn::convert(&text);
                let code = print_result(&converted.text.trim_end(), ExitCode::SUCCESS);
                for (line, what, why) in converted.left {
                    print_error(&format_args!("{}:{line}: {what}: {why}", file.display()));
                }
                code
            }
            Err(error) => usage_error(&format!("{} cannot be read: {error}", file.display())),
        },
        Verb::Check { file } => match check(file) {
            Ok(advice) => {
                advice.iter().for_each(|advice| print_error(advice));
                print_result(
                    &format_args!("{}: right", file.display()),
                    ExitCode::SUCCESS,
                )
            }
            Err(error) => usage_error(&error),
        },
    }
}

/// Contradictions count here, although a server would run with them. What had better be known is given back.
fn check(path: &Path) -> Result<Vec<Diagnostic>, Error> {
    let written: Layer = file::read(path)?.open_files();
    let settings = resolve(&written, &HostInfo::detect(ice_servers::random_secret()))?;
    if settings.warnings.is_empty() {
        Ok(settings.advice)
    } else {
        Err(Error {
            diagnostics: settings.warnings,
        })
    }
}
