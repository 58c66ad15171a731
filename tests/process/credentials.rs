//! `hairpin credentials`.

use crate::support::codec::{Outgoing, hmac_sha1};
use crate::support::process::{SECRET, Server};
use crate::{command, find_text, hairpin, json_in, stderr, stdout};
use base64::Engine;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn credentials_are_expiry_and_name_with_an_hmac_as_password() {
    for (flags, name, lifetime) in [
        (&[][..], None, 86_400),
        (&["--user", "carol"], Some("carol"), 86_400),
        (&["--user", "carol", "--ttl", "1h"], Some("carol"), 3600),
        (&["--ttl", "90s"], None, 90),
    ] {
        let output = hairpin(&[&["credentials", "--shared-secret", SECRET], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let text = stdout(&output);
        let json = json_in(&text);
        let username = find_text(&json, "username").unwrap();
        let password = find_text(&json, "credential").unwrap();
        let (expiry, rest) = username
            .split_once(':')
            .map_or((&username[..], None), |(e, r)| (e, Some(r)));
        assert_eq!(rest, name);
        let left = expiry.parse::<u64>().unwrap() - now();
        assert!(
            (lifetime - 5..=lifetime).contains(&left),
            "{left} s left of {lifetime}"
        );
        let mac = hmac_sha1(SECRET.as_bytes(), username.as_bytes());
        assert_eq!(
            password,
            base64::engine::general_purpose::STANDARD.encode(mac)
        );
        assert!(
            text.matches(&username).count() >= 2 && text.matches(&password).count() >= 2,
            "as JSON too:\n{text}"
        );
    }
}

/// The variable is the server's: commas belong to the secret, and the first of several lines is
/// used.
#[test]
fn the_environment_variable_is_read_as_the_server_reads_it() {
    let mut command = command(&["credentials"]);
    let output = command
        .env("HAIRPIN_SHARED_SECRET", "one, with a comma\nanother\n")
        .output()
        .unwrap();
    let json = json_in(&stdout(&output));
    let (username, password) = (
        find_text(&json, "username").unwrap(),
        find_text(&json, "credential").unwrap(),
    );
    let mac = hmac_sha1(b"one, with a comma", username.as_bytes());
    assert_eq!(
        password,
        base64::engine::general_purpose::STANDARD.encode(mac)
    );
}

#[test]
fn a_server_accepts_the_credentials() {
    let output = hairpin(&[
        "credentials",
        "--shared-secret",
        SECRET,
        "--user",
        "carol",
        "--ttl",
        "60s",
    ]);
    let json = json_in(&stdout(&output));
    let mut client = Server::shared().udp();
    client.login(
        &find_text(&json, "username").unwrap(),
        &find_text(&json, "credential").unwrap(),
    );
    assert!(client.ask(Outgoing::allocate()).is_success());
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
