//! The configuration: file, environment and flags, and `hairpin config`.

use crate::support::directory::Directory;
use crate::{command, hairpin, stderr, stdout};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn check_reports_line_column_and_the_nearest_key() {
    let directory = Directory::new("config-check");
    let file = directory.write(
        "wrong.toml",
        "realm = \"a\"\nrelay_prots = \"1-2\"\nlisten = [\"nowhere\"]\n",
    );
    let output = hairpin(&["config", "check", &file]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains("wrong.toml:2:1: ") && text.contains("`relay_ports`"),
        "{text}"
    );
    let file = directory.write(
        "values.toml",
        "relay_ports = \"9-5\"\nlisten = [\"127.0.0.1:1\",\n  \"nowhere\"]\n",
    );
    let text = stderr(&hairpin(&["config", "check", &file]));
    assert!(
        text.contains("values.toml:1:15: ") && text.contains("values.toml:3:3: "),
        "{text}"
    );
}

#[test]
fn check_fails_for_probable_mistakes_that_serve_accepts() {
    let directory = Directory::new("config-contradictions");
    for (text, word) in [
        (
            "relay_ports = \"50000-50009\"\nmax_allocations = 11\nrelay_address = [\"127.0.0.1\"]",
            "11 allocations",
        ),
        (
            "relay_address = [\"127.0.0.1\"]\nexternal_address = [\"10.1.1.1\"]",
            "10.1.1.1 is not a public address",
        ),
        (
            "relay_address = [\"10.1.1.1\"]\nexternal_address = [\"10.1.1.1\"]",
            "1.1.1 is not a public address",
        ),
        (
            "relay_ports = \"50000-50009\"\nuser_allocations = 20\nrelay_address = [\"127.0.0.1\"]",
            "20 allocations",
        ),
        ("shared_secret = [\"short\"]", "can be guessed"),
    ] {
        let file = directory.write("contradiction.toml", text);
        let output = hairpin(&["config", "check", &file]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
    }
    let file = directory.write("right.toml", "shared_secret = [\"long enough to be one\"]");
    assert_eq!(hairpin(&["config", "check", &file]).status.code(), Some(0));
}

#[test]
fn print_writes_the_deployed_file_and_it_is_valid() {
    let directory = Directory::new("config-print");
    let printed = stdout(&hairpin(&["config", "print"]));
    assert_eq!(printed, include_str!("../../deploy/hairpin.toml"));
    let file = directory.write("printed.toml", &printed);
    assert_eq!(hairpin(&["config", "check", &file]).status.code(), Some(0));
}

#[test]
fn serve_refuses_an_invalid_file_with_its_place() {
    let directory = Directory::new("config-serve");
    let file = directory.write("hairpin.toml", "shards = \"many\"\n");
    let output = hairpin(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("hairpin.toml:1:10: "),
        "{}",
        stderr(&output)
    );
    let missing = hairpin(&["serve", "--config", "/no/such/file.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("/no/such/file.toml"));
    let missing = hairpin(&["config", "check", "/no/such/file.toml"]);
    assert!(
        stderr(&missing).starts_with("error: /no/such/file.toml cannot be read"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn the_help_shows_defaults_as_values_are_written() {
    let help = stdout(&hairpin(&["serve", "--help"]));
    assert!(
        help.contains("[default: 0.0.0.0:3478, [::]:3478]"),
        "{help}"
    );
    let error = stderr(&hairpin(&["serve", "--admin", "nowhere"]));
    assert!(error.contains("unix:/run/hairpin/admin.sock"), "{error}");
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let directory = Directory::new("config-layers");
    let file = directory.write(
        "hairpin.toml",
        "listen = [\"file\"]\nrelay_ports = \"file\"\nshards = \"file\"\n",
    );
    let mut command = command(&["serve", "--config", &file, "--listen", "flag"]);
    let output = command
        .env("HAIRPIN_LISTEN", "variable")
        .env("HAIRPIN_RELAY_PORTS", "variable")
        .output()
        .unwrap();
    let text = stderr(&output);
    assert!(text.contains("--listen: `flag`"), "{text}");
    assert!(text.contains("HAIRPIN_RELAY_PORTS: `variable`"), "{text}");
    assert!(text.contains("hairpin.toml:3:10: shards: `file`"), "{text}");
}

#[test]
fn a_removed_key_is_refused_in_a_file_a_flag_and_a_variable() {
    let directory = Directory::new("config-removed");
    let file = directory.write("removed.toml", "room_name = 3\n");
    for output in [
        hairpin(&["serve", "--config", &file]),
        hairpin(&["serve", "--room-name", "3"]),
        hairpin(&["serve", "--room-name"]),
        command(&["serve"])
            .env("HAIRPIN_ROOM_NAME", "3")
            .output()
            .unwrap(),
    ] {
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.contains("removed: a room name has at most 64 characters"),
            "{text}"
        );
    }
}

/// The converter knows every option of coturn's own help, and converts those that the operator's
/// guide has an equivalent for.
#[test]
fn every_option_of_coturn_is_known() {
    let directory = Directory::new("config-options");
    let convert = |options: &BTreeSet<String>| {
        let lines: Vec<String> = options
            .iter()
            .map(|option| format!("{option}={}", example(option)))
            .collect();
        let output = hairpin(&[
            "config",
            "from-coturn",
            &directory.write("turnserver.conf", &lines.join("\n")),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    let guide =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/README.md"))
            .unwrap();
    let (_, table) = guide.split_once("| coturn | Hairpin |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let named = |row: &str| {
        row.split('|')
            .nth(1)
            .unwrap()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let guided: BTreeSet<String> = rows.flat_map(|row| -> Vec<String> { named(row) }).collect();
    assert!(guided.len() > 40, "{guided:?}");
    assert_eq!(convert(&guided), "");

    let Some(mut coturn) = crate::tools::installed("turnserver") else {
        return;
    };
    let output = coturn.arg("--help").output().unwrap();
    let help = stdout(&output) + &stderr(&output);
    let words = help
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"));
    let names = words.map(|word| {
        word.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c))
            .next()
            .unwrap()
    });
    let theirs: BTreeSet<String> = names
        .filter(|name| name.len() > 1)
        .map(str::to_owned)
        .collect();
    assert!(theirs.len() > 80, "{theirs:?}");
    let left = convert(&theirs);
    for line in left.lines().filter(|line| line.contains("no such option")) {
        // Options of its command line only, and a typo in its help.
        assert!(
            ["version:", "help:", "no_dtls:"]
                .iter()
                .any(|own| line.contains(own)),
            "{line}"
        );
    }
}

/// A value that coturn accepts.
fn example(option: &str) -> &'static str {
    match option {
        "listening-ip" | "relay-ip" | "external-ip" | "denied-peer-ip" | "allowed-peer-ip" => {
            "192.0.2.1"
        }
        "alternate-server" | "aux-server" => "192.0.2.1:3478",
        "listening-port" | "tls-listening-port" | "min-port" | "max-port" => "5000",
        "max-allocate-lifetime" | "channel-lifetime" | "stale-nonce" => "600",
        "permission-lifetime" => "300",
        "user-quota" | "total-quota" | "max-bps" | "bps-capacity" => "1000",
        "rest-api-separator" => ":",
        "user" => "ann:password",
        _ => "1",
    }
}

#[test]
fn a_coturn_file_is_converted_and_the_rest_is_listed() {
    let directory = Directory::new("config-coturn");
    let coturn = "listening-port=3479\nlistening-ip=10.0.0.5\nmin-port=50000\nmax-port=50999\nexternal-ip=20.30.40.50/10.0.0.5\n\
                  realm=example.org\nuse-auth-secret\nstatic-auth-secret=a secret of some length\nuser=ann:password\n\
                  denied-peer-ip=10.0.0.0-10.255.255.255\nuser-quota=5\ntotal-quota=100\nno-such-option=1\n# comment\n";
    let file = directory.write("turnserver.conf", coturn);
    let output = hairpin(&["config", "from-coturn", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for line in [
        "listen = [\"10.0.0.5:3479\"]",
        "relay_ports = \"50000-50999\"",
        "realm = \"example.org\"",
        "shared_secret = [\"a secret of some length\"]",
        "user = [\"ann:password\"]",
        "external_address = [\"10.0.0.5=20.30.40.50\"]",
        "deny_peer = [\"10.0.0.0/8\"]",
        "user_allocations = 5",
        "max_allocations = 100",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
    assert!(
        stderr(&output).contains("13: no-such-option"),
        "{}",
        stderr(&output)
    );
    let converted = directory.write("converted.toml", &text);
    let checked = hairpin(&["config", "check", &converted]);
    assert_eq!(checked.status.code(), Some(0), "{}", stderr(&checked));
}
