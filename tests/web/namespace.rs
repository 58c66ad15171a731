//! A network namespace for the browser tests: one interface with a default route that leads
//! nowhere, so that Chromium gathers candidates and no packet leaves the machine.

use std::process::Command;

use crate::support::axe;
use crate::support::browser::is_chromium_installed;

/// Runs the tests of [`crate::calls`] in the namespace, one after another, in a child process.
#[test]
fn the_call_page_in_a_browser() {
    if !is_chromium_installed() {
        return;
    }
    axe::fetch();
    let tests = std::env::current_exe().expect("own path");
    let arguments = ["--ignored", "--test-threads=1", "--nocapture"];
    let has_namespaces = Command::new("unshare")
        .args(["--net", "true"])
        .status()
        .is_ok_and(|status| status.success());
    let mut command = if has_namespaces {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", SET_UP, "sh"]).arg(tests);
        command
    } else {
        eprintln!(
            "not root: the browser tests use this machine's own network, and need a default route in it"
        );
        Command::new(tests)
    };
    let status = command
        .args(arguments)
        .arg(filter())
        .status()
        .expect("the tests start");
    assert!(status.success(), "the browser tests failed: see above");
}

/// `HAIRPIN_CALLS=name` runs only the tests whose name starts with `name`.
fn filter() -> String {
    format!(
        "calls::{}",
        std::env::var("HAIRPIN_CALLS").unwrap_or_default()
    )
}

const SET_UP: &str = "
set -e
ip link set lo up
ip link add out0 type veth peer name out1
ip address add 198.18.77.2/24 dev out0
ip link set out0 up
ip link set out1 up
ip route add default via 198.18.77.1
exec \"$@\"
";
