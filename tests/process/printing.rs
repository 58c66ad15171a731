//! Standard output that is a closed pipe or a full disk.

use crate::support::directory::Directory;
use crate::support::process::Setup;
use crate::{command, stderr};
use std::fs::File;
use std::process::Stdio;

/// Every kind of command that prints a result and exits.
fn commands(directory: &Directory, admin: &str) -> Vec<Vec<String>> {
    let right = directory.write("right.toml", "realm = \"a\"\n");
    let coturn = directory.write("turnserver.conf", "realm=a\n");
    let lines = [
        "credentials --shared-secret a-secret-of-some-length".into(),
        "config print".into(),
        format!("config check {right}"),
        format!("config from-coturn {coturn}"),
        format!("--admin {admin} status"),
        format!("--admin {admin} --json list"),
    ];
    let words = |line: &String| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let mut commands: Vec<Vec<String>> = lines.iter().map(words).collect();
    commands
        .iter_mut()
        .filter(|words| words[0] == "--admin")
        .for_each(|words| words.insert(0, "admin".into()));
    commands
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let (server, directory) = (Setup::new().start(), Directory::new("printing-left"));
    for words in commands(&directory, &server.admin.to_string()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(&words)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), stderr(&output).as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let (server, directory) = (Setup::new().start(), Directory::new("printing-full"));
    for words in commands(&directory, &server.admin.to_string()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(&words)
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(
            error.starts_with("error: standard output cannot be written: "),
            "{words:?}: {error}"
        );
    }
}
