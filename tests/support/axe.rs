//! axe-core, the accessibility checker: fetched once through npm into the build directory, never
//! committed or shipped.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::missing::skipped;

/// Fetches the script unless it was fetched before. The browser tests run without a network, so
/// this is done first.
pub fn fetch() {
    if file().is_file() {
        return;
    }
    let mut npm = Command::new("npm");
    npm.args([
        "install",
        "--no-save",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--fetch-retries=1",
        "--prefix",
    ]);
    let fetched = npm
        .arg(folder())
        .arg("axe-core@4")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !fetched.is_ok_and(|status| status.success()) {
        eprintln!("npm could not fetch axe-core");
    }
}

/// The script, if it could be fetched; otherwise the calling test is reported as skipped.
pub fn script() -> Option<String> {
    let script = std::fs::read_to_string(file()).ok();
    if script.is_none() {
        skipped("axe-core could not be fetched; npm install axe-core");
    }
    script
}

fn file() -> PathBuf {
    folder().join("node_modules/axe-core/axe.min.js")
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("axe")
}

/// The expression that runs it and returns the violations with their elements.
pub const RUN: &str = "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) =>
    violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html, any }) => [html, any.map((check) => check.message)]) })))";
