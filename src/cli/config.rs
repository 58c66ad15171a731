//! `hairpin config`: check a configuration file before a server runs with it, print a complete one,
//! or convert one.

use crate::cli::ice_servers;
use crate::cli::output::{config_error, print_error, print_result, usage_error};
use crate::config::{Diagnostic, Error, HostInfo, coturn, file, render, resolve};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Check, print or convert a configuration file
#[derive(Args, Clone, Debug)]
pub(super) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Clone, Debug)]
enum Action {
    /// Check a configuration file
    ///
    /// Reports every error and probable mistake with its line and column, and exits with 2 if there
    /// is one. Reports notable settings too, which do not fail the check.
    Check {
        /// File to check
        file: PathBuf,
    },
    /// Convert a turnserver.conf of coturn
    ///
    /// Prints the configuration to standard output, and the options that could not be converted to
    /// standard error.
    FromCoturn {
        /// File to convert
        file: PathBuf,
    },
    /// Print a complete, commented configuration file with every key and its default
    Print,
}

pub(super) fn run(config: &Config) -> ExitCode {
    match &config.action {
        Action::Print => print_result(&render::file().trim_end(), ExitCode::SUCCESS),
        Action::FromCoturn { file } => convert(file),
        Action::Check { file } => match check(file) {
            Ok(advice) => {
                for advice in advice {
                    print_error(&format_args!("advice: {advice}"));
                }
                print_result(
                    &format_args!("{}: valid", file.display()),
                    ExitCode::SUCCESS,
                )
            }
            Err(error) => config_error(&error),
        },
    }
}

/// Checks a file and returns its notable settings. A probable mistake fails the check, although a
/// server would run with it.
fn check(path: &Path) -> Result<Vec<Diagnostic>, Error> {
    let layer = file::read(path)?.read_files();
    let settings = resolve(&layer, &HostInfo::detect(ice_servers::random_secret()))?;
    match settings.warnings.is_empty() {
        true => Ok(settings.advice),
        false => Err(Error {
            diagnostics: settings.warnings,
        }),
    }
}

fn convert(path: &Path) -> ExitCode {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            return usage_error(&format_args!("{} cannot be read: {error}", path.display()));
        }
    };
    let converted = coturn::convert(&text);
    let code = print_result(&converted.text.trim_end(), ExitCode::SUCCESS);
    for coturn::Unconverted {
        line,
        option,
        reason,
    } in converted.unconverted
    {
        print_error(&format_args!(
            "{}:{line}: {option}: {reason}",
            path.display()
        ));
    }
    code
}
