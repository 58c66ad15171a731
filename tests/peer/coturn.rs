//! coturn on loopback: another implementation of a TURN server.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::missing::is_installed;

/// A running server, stopped when it is dropped.
pub struct Coturn {
    /// For UDP and TCP.
    pub port: u16,
    child: Child,
}

impl Coturn {
    /// Starts a server with these additional arguments and waits until it listens; `None` if it is
    /// not installed.
    pub fn start(further: &[&str]) -> Option<Coturn> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut command = Command::new("turnserver");
        command
            .args(ARGUMENTS.split(' '))
            .args(["-p", &port.to_string()])
            .args(further);
        if !is_installed("turnserver") {
            return None;
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("Total General servers"));
        assert!(ready, "turnserver ended before it listened");
        // The threads are counted before they listen.
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "turnserver does not listen on {port}");
            std::thread::yield_now();
        }
        // A full pipe would block the server.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Coturn { port, child })
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const ARGUMENTS: &str = "-n -L 127.0.0.1 -E 127.0.0.1 -r test --no-cli --log-file stdout -m 1";
