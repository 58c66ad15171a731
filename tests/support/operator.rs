//! An operator's actions on a running server: requests to its admin listener, signals, a
//! configuration file.

use super::TIMEOUT;
use super::process::{Server, Setup};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// A server that has its users from this configuration file.
pub fn on_file(file: &str) -> Setup {
    let setup = Setup::new().without_users();
    setup.flag("--config", file).flag("--web", "off")
}

/// Sends a request to the admin listener; returns the status and the body.
pub fn ask(admin: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&admin, TIMEOUT).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

/// The JSON body of a response, which must have status 200.
pub fn json(server: &Server, method: &str, path: &str) -> Value {
    let (status, body) = ask(server.admin, method, path, "", "");
    assert_eq!(status, 200, "{method} {path}: {body}");
    serde_json::from_str(&body).unwrap()
}

pub fn signal(server: &Server, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &server.pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until the condition holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Returns true if the server no longer accepts connections.
pub fn is_gone(server: &Server) -> bool {
    TcpStream::connect(server.v4).is_err()
}
