//! `hairpin serve` on the lab's server, and its metrics.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::lab::Lab;

/// A running server: TURN on 198.18.0.11 and 2001:db8::11, port 443, UDP and TCP; page and
/// signaling on 198.18.0.10 and 2001:db8::10, port 443. Stopped when it is dropped.
pub struct Serving {
    child: Child,
}

/// Packets that the server has relayed in both directions, by the transport of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Relayed {
    /// For clients over UDP.
    pub udp: u64,
    /// For clients over TCP.
    pub tcp: u64,
    /// For clients over TLS.
    pub tls: u64,
}

impl Serving {
    /// Starts the server with additional arguments and waits until it listens. It may relay to the
    /// lab's homes, whose addresses are refused by default.
    pub fn start(lab: &Lab, further: &[&str]) -> Serving {
        // The page may not bind port 443 of its address, so the port is redirected.
        lab.server.nft(PAGE_ON_443);
        let mut child = lab.server.enter(|| {
            let mut command = Command::new(hairpin());
            command.arg("serve").args(ARGUMENTS).args(further);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("start hairpin serve")
        });
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.starts_with("{\"iceServers\""));
        assert!(ready, "hairpin serve ended before it listened");
        // A full pipe would block the server.
        std::thread::spawn(move || lines.for_each(drop));
        Serving { child }
    }

    /// Packets relayed since the start.
    pub fn relayed(&self, lab: &Lab) -> Relayed {
        let metrics = self.metrics(lab);
        let over = |transport: &str| {
            let label = format!("transport=\"{transport}\"");
            let lines = metrics.lines().filter(|line| {
                line.starts_with("hairpin_relayed_packets_total{") && line.contains(&label)
            });
            let values = lines.map(|line| {
                line.rsplit(' ')
                    .next()
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(0)
            });
            values.sum::<u64>()
        };
        assert!(
            metrics.contains("hairpin_relayed_packets_total{"),
            "no such metric:\n{metrics}"
        );
        Relayed {
            udp: over("udp") + over("dtls"),
            tcp: over("tcp"),
            tls: over("tls"),
        }
    }

    /// The text of its metrics.
    pub fn metrics(&self, lab: &Lab) -> String {
        lab.server.enter(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9641").expect("its admin listener");
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .expect("a request");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("an answer");
            text
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Relayed {
    /// For all clients.
    pub fn all(self) -> u64 {
        self.udp + self.stream()
    }

    /// For clients over TCP or TLS.
    pub fn stream(self) -> u64 {
        self.tcp + self.tls
    }
}

impl std::ops::Sub for Relayed {
    type Output = Relayed;

    fn sub(self, earlier: Relayed) -> Relayed {
        Relayed {
            udp: self.udp - earlier.udp,
            tcp: self.tcp - earlier.tcp,
            tls: self.tls - earlier.tls,
        }
    }
}

/// The tested program: the built binary, or another binary (for example a packaged one) that
/// `HAIRPIN_UNDER_TEST` names.
pub fn hairpin() -> PathBuf {
    std::env::var_os("HAIRPIN_UNDER_TEST")
        .map_or_else(|| env!("CARGO_BIN_EXE_hairpin").into(), PathBuf::from)
}

/// The URL of the signaling endpoint.
pub const SIGNAL: &str = "ws://app.test:443/signal";

/// The server's shared secret.
pub const SECRET: &str = "the secret of the NAT lab";

const ARGUMENTS: [&str; 20] = [
    "--listen",
    "198.18.0.11:443",
    "--listen",
    "[2001:db8::11]:443",
    "--relay-address",
    "198.18.0.11",
    "--relay-address",
    "2001:db8::11",
    "--allow-peer",
    "198.18.0.0/15",
    "--allow-peer",
    "2001:db8::/32",
    "--shared-secret",
    SECRET,
    "--web",
    "[::]:80",
    "--ice-open",
    "public",
    "--admin",
    "127.0.0.1:9641",
];

const PAGE_ON_443: &str = "flush ruleset
table inet page {
  chain arriving { type nat hook prerouting priority dstnat;
    ip daddr 198.18.0.10 tcp dport 443 redirect to :80
    ip6 daddr 2001:db8::10 tcp dport 443 redirect to :80
  }
}
";
