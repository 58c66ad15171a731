//! The flags of `hairpin serve`: one for each key of the schema, and `--config`.

use crate::config::render::keys_as_flags;
use crate::config::schema::{AnyKey, Arity, REMOVED_KEYS, SECTIONS};
use crate::config::{Diagnostic, Error, Layer, RawValue, Source, file, schema};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use std::path::{Path, PathBuf};

/// The configuration given on the command line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    config: Option<PathBuf>,
    layer: Layer,
}

impl Flags {
    /// Merges all sources: the file, the environment, and the flags. Reads the files that they
    /// name.
    ///
    /// # Errors
    /// The errors of the file, and removed keys in the environment.
    pub(crate) fn load(&self) -> Result<Layer, Error> {
        let file = self.file().map(file::read).transpose()?.unwrap_or_default();
        refuse_removed_variables()?;
        let environment = Layer::from_environment(|name| std::env::var(name).ok());
        Ok(file
            .overlay(environment)
            .overlay(self.layer.clone())
            .read_files())
    }

    /// The file of `--config`, else the default file if it exists.
    fn file(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        self.config
            .as_deref()
            .or_else(|| default.exists().then_some(default))
    }
}

fn refuse_removed_variables() -> Result<(), Error> {
    let diagnostics: Vec<Diagnostic> = REMOVED_KEYS
        .iter()
        .filter_map(|key| {
            let variable = format!("HAIRPIN_{}", key.name.to_uppercase());
            std::env::var_os(&variable)?;
            let message = format!("this variable was removed: {}", key.replacement);
            Some(Diagnostic::new(&Source::Environment(variable), message))
        })
        .collect();
    match diagnostics.is_empty() {
        true => Ok(()),
        false => Err(Error::new(diagnostics)),
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!(
                "Configuration file [env: HAIRPIN_CONFIG] [default: {DEFAULT_FILE} if it exists]"
            ))
            .env("HAIRPIN_CONFIG")
            .hide_env(true);
        let removed = REMOVED_KEYS.iter().map(|key| {
            Arg::new(key.name)
                .long(key.name.replace('_', "-"))
                .num_args(0..)
                .hide(true)
        });
        let command = command.arg(file).args(removed);
        SECTIONS.iter().fold(command, |command, section| {
            command
                .next_help_heading(section.title)
                .args(section.keys.iter().map(|key| argument(*key)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        if let Some(key) = REMOVED_KEYS
            .iter()
            .find(|key| matches.contains_id(key.name))
        {
            return Err(clap::Error::raw(
                clap::error::ErrorKind::UnknownArgument,
                format!(
                    "`--{}` was removed: {}\n",
                    key.name.replace('_', "-"),
                    keys_as_flags(key.replacement)
                ),
            ));
        }
        let mut flags = Flags {
            config: matches.get_one::<PathBuf>("config").cloned(),
            layer: Layer::default(),
        };
        for key in schema::keys() {
            let Some(values) = matches.get_many::<String>(key.info().name) else {
                continue;
            };
            let source = Source::Flag(format!("--{}", key.info().flag()));
            let values = values.map(|text| RawValue::new(text, &source));
            flags.layer.set(key, values.collect());
        }
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn argument(key: &dyn AnyKey) -> Arg {
    let info = key.info();
    let separator = match info.secret && key.arity() == Arity::Many {
        true => ", one per line",
        false => "",
    };
    let mut suffix = format!("[env: {}{separator}]", info.variable());
    let default = key.default_in_file();
    let list = default
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if !default.is_empty() {
        let values = list.unwrap_or(&default).replace('"', "");
        suffix.push_str(&format!(" [default: {values}]"));
    }
    let argument = Arg::new(info.name)
        .long(info.flag())
        .value_name(info.placeholder)
        .help(format!("{} {suffix}", info.summary()))
        .long_help(format!("{}\n\n{suffix}", keys_as_flags(info.about)));
    // A negative number is accepted here, so that the key's parser refuses it by the name of the
    // key.
    match key.arity() {
        Arity::One => argument.action(ArgAction::Set).allow_negative_numbers(true),
        Arity::Many => argument
            .action(ArgAction::Append)
            .allow_negative_numbers(true),
        Arity::Switch => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .default_missing_value("true"),
    }
}

const DEFAULT_FILE: &str = "/etc/hairpin/hairpin.toml";
