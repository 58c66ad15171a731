//! Programs that a test needs and the machine may lack: the test is then skipped with a message, or
//! fails if everything must run.

use std::io::Write;
use std::process::{Command, Stdio};

/// Returns true if the program is on the PATH; otherwise the calling test is reported as skipped.
pub fn is_installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        skipped(&format!(
            "{program} is not installed; tests/all installs it"
        ));
    }
    found
}

/// Reports that the calling test does not run; panics if every test must.
pub fn skipped(reason: &str) {
    assert!(!must_run_all(), "SKIPPED: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    // The harness captures `eprintln!`, and shows it only for failures.
    let line = format!("SKIPPED: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Returns true if a test that cannot run must fail: in continuous integration.
pub fn must_run_all() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}
