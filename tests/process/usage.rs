//! Usage errors exit with 2 and name the wrong argument.

use crate::{hairpin, stderr, stdout};

#[test]
fn wrong_arguments_exit_with_2_and_are_named() {
    for (arguments, named) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["serve", "--no-such-flag"], "--no-such-flag"),
        (&["serve", "--listen", "nonsense"], "nonsense"),
        (&["serve", "--listen", "127.0.0.1"], "127.0.0.1"),
        (&["serve", "--listen", "127.0.0.1:70000"], "70000"),
        (&["serve", "--relay-address", "300.1.1.1"], "300.1.1.1"),
        (&["serve", "--external-address", "example"], "example"),
        (&["serve", "--relay-ports", "5"], "--relay-ports"),
        (&["serve", "--relay-ports", "600-500"], "600-500"),
        (&["serve", "--relay-ports", "49152-70000"], "49152-70000"),
        (&["serve", "--user", "nocolon"], "--user"),
        (&["serve", "--user", ":password"], "--user"),
        (&["serve", "--allow-peer", "10.0.0.0/33"], "10.0.0.0/33"),
        (&["serve", "--deny-peer", "everyone"], "everyone"),
        (&["serve", "--answer-rate", "many"], "many"),
        (&["serve", "--shards", "0"], "--shards"),
        (
            &["serve", "--max-allocations", "-1"],
            "--max-allocations: `-1`",
        ),
        (
            &["serve", "--user-bandwidth", "-5"],
            "--user-bandwidth: `-5`",
        ),
        (&["serve", "--sha1", "maybe"], "--sha1: `maybe`"),
        (&["serve", "--mobility=perhaps"], "--mobility: `perhaps`"),
        (
            &["serve", "--sha1", "false", "--shards", "x"],
            "--shards: `x`",
        ),
        (&["serve", "--sha1", "--shards", "x"], "--shards: `x`"),
        (&["serve", "--log-level", "loud"], "--log-level: `loud`"),
        (&["serve", "--admin", "here"], "here"),
        (&["credentials"], "--shared-secret"),
        (
            &["credentials", "--shared-secret", "s", "--ttl", "soon"],
            "soon",
        ),
    ] {
        let output = hairpin(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(
            text.contains(named),
            "{arguments:?} does not name {named:?}: {text}"
        );
        assert!(stdout(&output).is_empty(), "{arguments:?}");
    }
}

/// Logs would keep a password in an error message.
#[test]
fn secrets_are_not_in_errors() {
    let output = hairpin(&["serve", "--user", "alice:hunter2", "--listen", "nonsense"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("hunter2"));
}

#[test]
fn no_arguments_show_the_usage() {
    let output = hairpin(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("serve"), "{}", stderr(&output));
}

#[test]
fn help_lists_flags_and_variables() {
    let output = hairpin(&["serve", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = stdout(&output);
    for flag in [
        "listen",
        "relay-address",
        "external-address",
        "relay-ports",
        "realm",
        "user",
        "shared-secret",
        "allow-peer",
        "deny-peer",
        "answer-rate",
        "shards",
        "admin",
    ] {
        assert!(text.contains(&format!("--{flag}")), "--{flag}");
        let variable = format!("HAIRPIN_{}", flag.replace('-', "_").to_uppercase());
        assert!(text.contains(&variable), "{variable}");
    }
}

#[test]
fn the_version_is_the_version_of_the_package() {
    let output = hairpin(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains(env!("CARGO_PKG_VERSION")));
}
