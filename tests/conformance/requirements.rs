//! `requirements.tsv` lists every MUST and SHOULD for a server, with the tests that cover it or the
//! reason why there is none.

const TABLE: &str = include_str!("requirements.tsv");
/// The sources that the last column may name.
const SOURCES: &[(&str, &str)] = &[
    ("allocate", include_str!("allocate.rs")),
    ("auth", include_str!("auth.rs")),
    ("channel", include_str!("channel.rs")),
    ("corners", include_str!("corners.rs")),
    ("families", include_str!("families.rs")),
    ("header", include_str!("header.rs")),
    ("limits", include_str!("limits.rs")),
    ("peers", include_str!("peers.rs")),
    ("permission", include_str!("permission.rs")),
    ("refresh", include_str!("refresh.rs")),
    ("relay", include_str!("relay.rs")),
    ("security", include_str!("security.rs")),
    ("stream", include_str!("stream.rs")),
    ("stun", include_str!("stun.rs")),
    ("vectors", include_str!("vectors.rs")),
    ("virtual_time", include_str!("virtual_time.rs")),
    ("policy", include_str!("policy.rs")),
    ("icmp", include_str!("icmp.rs")),
];

#[test]
fn every_requirement_names_existing_tests_or_a_reason() {
    let faults = faults(TABLE);
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let rows = TABLE.lines().filter(|l| !l.starts_with('#')).count();
    assert!(rows > 150, "only {rows} rows");
}

/// A row without a test, with a test that does not exist, or without a column.
#[test]
fn a_planted_fault_is_found() {
    for row in [
        "RFC 8489 §5\tMUST\tSomething.\t",
        "RFC 8489 §5\tMUST\t\tstun::garbage_is_dropped_without_harm",
        "RFC 8489 §5\tMUST\tSomething.",
        "RFC 8489 §5\tMUST\tSomething.\tstun::no_such_test",
        "RFC 8489 §5\tMUST\tSomething.\tno_such_file::garbage_is_dropped_without_harm",
        "RFC 8489 §5\tMUST\tSomething.\tnone: ",
        "RFC 8489 §5\tPERHAPS\tSomething.\tnone: because",
        "RFC 8489 §5\tMUST\tSomething.\tauth::rest_password",
    ] {
        assert_eq!(faults(row).len(), 1, "{row}");
    }
    assert!(
        faults("# a comment\nRFC 8489 §5\tMUST\tSomething.\tstun::garbage_is_dropped_without_harm")
            .is_empty()
    );
}

fn faults(table: &str) -> Vec<String> {
    let rows = table.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| Some(format!("{row}: {}", fault(row)?)))
        .collect()
}

fn fault(row: &str) -> Option<String> {
    let columns: Vec<&str> = row.split('\t').map(str::trim).collect();
    let [section, level, requirement, proof] = columns[..] else {
        return Some("not four columns".into());
    };
    if !section.starts_with("RFC ")
        || !section.contains('§')
        || requirement.is_empty()
        || proof.is_empty()
    {
        return Some("an empty column".into());
    }
    if !LEVELS.contains(&level) {
        return Some(format!("unknown level {level}"));
    }
    match proof.strip_prefix("none:") {
        Some(reason) => reason.trim().is_empty().then(|| "no reason".into()),
        None => proof
            .split(' ')
            .find(|test| !exists(test))
            .map(|test| format!("no test {test}")),
    }
}

fn exists(test: &str) -> bool {
    let Some((file, function)) = test.split_once("::") else {
        return false;
    };
    let Some((_, source)) = SOURCES.iter().find(|s| s.0 == file) else {
        return false;
    };
    source.contains(&format!("#[test]\nfn {function}("))
}

const LEVELS: &[&str] = &[
    "MUST",
    "MUST NOT",
    "SHOULD",
    "SHOULD NOT",
    "RECOMMENDED",
    "rule",
];
