//! What the tests of a server that is operated have in common: a server on a configuration file, and requests to its operators'
//! listener.

use super::client::PATIENCE;
use super::process::{Server, Setup};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// A directory that goes with the test.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A server that reads `file`, in which users stand.
pub fn on_file(file: &str) -> Setup {
    let setup = Setup::new().without_users();
    setup.flag("--config", file).flag("--web", "off")
}

/// Asks the operators' listener; the status and the body.
pub fn ask(admin: SocketAddr, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
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

/// Asks for JSON, which must be given.
pub fn json(server: &Server, method: &str, path: &str) -> Value {
    let (status, body) = ask(server.admin, method, path, "", "");
    assert_eq!(status, 200, "{method} {path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Sends a signal.
pub fn signal(server: &Server, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &server.pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
}

/// Whether nobody listens there any more.
pub fn is_gone(server: &Server) -> bool {
    TcpStream::connect(server.v4).is_err()
}
