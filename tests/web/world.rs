//! A network of its own for the browser tests: one interface with a default route that leads nowhere, so that Chromium
//! gathers candidates and nothing leaves the machine.

use std::process::Command;

use crate::support::axe;
use crate::support::browser::{chromium, needs};

/// Runs the tests of [`crate::calls`] in it, one after another, in a process of their own.
#[test]
fn the_call_page_in_a_browser() {
    if !needs("chromium (apt-get install chromium)", chromium().is_some()) {
        return;
    }
    axe::fetch();
    let tests = std::env::current_exe().expect("own path");
    let arguments = ["--ignored", "--test-threads=1", "--nocapture"];
    let boxed = Command::new("unshare")
        .args(["--net", "true"])
        .status()
        .is_ok_and(|status| status.success());
    let mut command = if boxed {
        let mut command = Command::new("unshare");
        command
            .args(["--net", "sh", "-c", FURNISH, "sh"])
            .arg(tests);
        command
    } else {
        eprintln!(
            "not root: the browser tests use this machine's own network, and need a default route in it"
        );
        Command::new(tests)
    };
    let status = command
        .args(arguments)
        .arg(which())
        .status()
        .expect("the tests start");
    assert!(status.success(), "the browser tests failed: see above");
}

/// Fewer tests, for whoever works on one: `HAIRPIN_CALLS=name`.
fn which() -> String {
    format!(
        "calls::{}",
        std::env::var("HAIRPIN_CALLS").unwrap_or_default()
    )
}

const FURNISH: &str = "
set -e
ip link set lo up
ip link add out0 type veth peer name out1
ip address add 198.18.77.2/24 dev out0
ip link set out0 up
ip link set out1 up
ip route add default via 198.18.77.1
exec \"$@\"
";
