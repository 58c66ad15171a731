//! The built binary as a process: usage, exit codes, signals, output, operator's interfaces.

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod config;
mod credentials;
mod deploy;
mod drain;
mod external;
mod handover;
mod listeners;
mod logs;
mod operator;
mod printing;
mod quota;
mod records;
mod reload;
mod serve;
mod service;
mod status;
mod tools;
mod usage;

use std::process::{Command, Output, Stdio};

/// Runs `hairpin` with these arguments until it exits.
fn hairpin(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// `hairpin` with these arguments and none of our environment's settings.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAIRPIN_")) {
        command.env_remove(name);
    }
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The first JSON value in a text that is more than a bare word.
fn json_in(text: &str) -> serde_json::Value {
    let starts = text.match_indices(['{', '[']).map(|(at, _)| at);
    let mut values = starts.filter_map(|at| {
        let value = serde_json::Deserializer::from_str(&text[at..])
            .into_iter::<serde_json::Value>()
            .next()?;
        value.ok().filter(|v| v.to_string().contains("credential"))
    });
    values
        .next()
        .unwrap_or_else(|| panic!("no JSON with credentials in:\n{text}"))
}

/// The string under this key, however deep.
fn find_text(value: &serde_json::Value, key: &str) -> Option<String> {
    match value {
        serde_json::Value::Object(map) => match map.get(key) {
            Some(serde_json::Value::String(text)) => Some(text.clone()),
            _ => map.values().find_map(|v| find_text(v, key)),
        },
        serde_json::Value::Array(all) => all.iter().find_map(|v| find_text(v, key)),
        _ => None,
    }
}
