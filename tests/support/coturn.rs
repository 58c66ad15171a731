//! Debian's coturn on loopback: a TURN server that is not ours.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server for `user` with password `pass`, and for names minted from the secret `secret` when started so. Gone when dropped.
pub struct Coturn {
    /// Its port, UDP and TCP.
    pub port: u16,
    child: Child,
}

impl Coturn {
    /// Starts one with these further arguments and waits until it listens; `None`, said aloud, where it is not installed.
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
        let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "turnserver is not installed (Debian: coturn)"
            );
            eprintln!(
                "SKIPPED: what needs another TURN server: turnserver is not installed (Debian: coturn)"
            );
            return None;
        };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("Total General servers"));
        assert!(ready, "turnserver ended before it listened");
        // Its threads listen a moment after it has counted them.
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "turnserver does not listen on {port}");
            std::thread::yield_now();
        }
        // It must be able to go on printing.
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
