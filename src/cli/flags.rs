//! The flags of `hairpin serve`: one for each key of the schema, and `--config`.

use crate::config;
use crate::config::schema;
use crate::config::schema::{Key, Shape};
use crate::config::{Diagnostic, Error, Layer, RawValue, Source, file};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::path::{Path, PathBuf};

/// What the command line says about a configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    config: Option<PathBuf>,
    written: Layer,
}

impl Flags {
    /// The file that counts: the one that was named, else the usual one where it exists.
    pub fn file(&self) -> Option<&Path> {
        let usual = Path::new(USUAL);
        self.config
            .as_deref()
            .or_else(|| usual.exists().then_some(usual))
    }

    /// All that was written: the file, over it the environment, over it the flags; and the files that these name.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn written(&self) -> Result<Layer, Error> {
        let file = self.file().map(file::read).transpose()?.unwrap_or_default();
        refuse_removed_variables()?;
        let environment = Layer::from_environment(|name| std::env::var(name).ok());
        Ok(file
            .overlay(environment)
            .overlay(self.written.clone())
            .open_files())
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!(
                "The configuration file [env: HAIRPIN_CONFIG] [default: {USUAL} when it exists]"
            ))
            .env("HAIRPIN_CONFIG")
            .hide_env(true);
        let removed = schema::REMOVED_KEYS.iter().map(|(name, _)| {
            Arg::new(name)
                .long(name.replace('_', "-"))
                .num_args(0..)
                .hide(true)
        });
        let command = command.arg(file).args(removed);
        schema::GROUPS.iter().fold(command, |command, group| {
            command
                .next_help_heading(group.title)
                .args(group.keys.iter().map(argument))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags {
            config: matches.get_one::<PathBuf>("config").cloned(),
            written: Layer::default(),
        };
        for (name, replacement) in schema::REMOVED_KEYS {
            if matches.contains_id(name) {
                let flag = name.replace('_', "-");
                return Err(clap::Error::raw(
                    clap::error::ErrorKind::UnknownArgument,
                    format!(
                        "`--{flag}` was removed: {}",
                        config::render::flags(replacement)
                    ),
                ));
            }
        }
        for key in schema::keys() {
            let Some(values) = matches.get_many::<String>(key.name) else {
                continue;
            };
            let origin = Source::Flag(format!("--{}", key.flag()));
            let values = values.map(|text| RawValue::new(text, &origin));
            flags.written.set(key, values.collect());
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Refuses environment variables of keys that no longer exist: ignoring a limit that the operator set would be worse.
fn refuse_removed_variables() -> Result<(), Error> {
    let diagnostics: Vec<Diagnostic> = schema::REMOVED_KEYS
        .iter()
        .filter_map(|(name, replacement)| {
            let variable = format!("HAIRPIN_{}", name.to_uppercase());
            std::env::var_os(&variable)?;
            let message = format!("this variable was removed: {replacement}");
            Some(Diagnostic::new(&Source::Environment(variable), message))
        })
        .collect();
    if diagnostics.is_empty() {
        Ok(())
    } else {
        Err(Error::new(diagnostics))
    }
}

fn argument(key: &Key) -> Arg {
    let default = match key.default {
        "" => String::new(),
        default => {
            let list = default
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(default);
            format!(" [default: {}]", list.replace('"', ""))
        }
    };
    let argument = Arg::new(key.name)
        .long(key.flag())
        .value_name(key.placeholder)
        .help(format!(
            "{} [env: {}]{default}",
            key.summary(),
            key.described_variable()
        ))
        .long_help(format!(
            "{}\n\n[env: {}]{default}",
            config::render::flags(key.about),
            key.described_variable()
        ));
    match key.shape {
        // A number below zero is a value that the key's reader refuses by name, and no flag that nobody knows.
        Shape::One => argument.action(ArgAction::Set).allow_negative_numbers(true),
        Shape::Many => argument
            .action(ArgAction::Append)
            .allow_negative_numbers(true),
        Shape::Switch => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .default_missing_value("true"),
    }
}

/// Where the file is looked for.
const USUAL: &str = "/etc/hairpin/hairpin.toml";
