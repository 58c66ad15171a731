//! An ACME server on loopback: Let's Encrypt's own for tests (`pebble`), with a name server beside it that says where names lead.

use crate::support::line::{connect, secured, trusting};
use crate::support::operating::Directory;
use crate::support::process::free_port;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The name that certificates are ordered for.
pub const NAME: &str = "relay.example";

/// Where an ACME server is, whether it runs or not, and the relay that it validates.
pub struct Place {
    /// What both keep.
    pub directory: Directory,
    /// The relay.
    pub relay: SocketAddr,
    listening: SocketAddr,
    operating: SocketAddr,
    dns: SocketAddr,
    naming: SocketAddr,
}

/// A running ACME server.
pub struct Authority<'a> {
    processes: [Child; 2],
    place: &'a Place,
}

impl Place {
    /// On ports that nobody has.
    pub fn new(name: &str) -> Place {
        let [relay, listening, operating, dns, naming] =
            [(); 5].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let directory = Directory::new(name);
        identify(&directory);
        Place {
            directory,
            relay,
            listening,
            operating,
            dns,
            naming,
        }
    }

    /// Where an ACME client begins.
    pub fn url(&self) -> String {
        format!("https://{}/dir", self.listening)
    }
}

impl<'a> Authority<'a> {
    /// Starts one to which every name leads to `leads`. Its memory ends with it. `None`, with a word, where it is not installed.
    pub fn start(place: &'a Place, validity: Duration, leads: Ipv4Addr) -> Option<Authority<'a>> {
        let Place {
            directory,
            relay,
            listening,
            operating,
            dns,
            naming,
        } = place;
        let config = serde_json::json!({ "pebble": {
            "listenAddress": listening.to_string(),
            "managementListenAddress": operating.to_string(),
            "certificate": directory.0.join("server.pem"),
            "privateKey": directory.0.join("server.key"),
            "httpPort": 1,
            "tlsPort": relay.port(),
            "certificateValidityPeriod": validity.as_secs(),
        } });
        let config = directory.write("pebble.json", &config.to_string());
        let names = Command::new("pebble-challtestsrv")
            .args([
                "-defaultIPv4",
                &leads.to_string(),
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
            ])
            .args([
                "-dns01",
                &dns.to_string(),
                "-management",
                &naming.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(names) = names else {
            assert!(std::env::var_os("CI").is_none(), "pebble is missing");
            eprintln!("SKIPPED: pebble is not installed");
            return None;
        };
        let log = std::fs::File::create(directory.0.join("pebble.log")).unwrap();
        let pebble = Command::new("pebble")
            .args([
                "-strict",
                "-config",
                &config,
                "-dnsserver",
                &dns.to_string(),
            ])
            // Validate at once, every time; and accept every nonce but some, which a client has to live with.
            .envs([
                ("PEBBLE_VA_NOSLEEP", "1"),
                ("PEBBLE_AUTHZREUSE", "0"),
                ("PEBBLE_WFE_NONCEREJECT", "10"),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let authority = Authority {
            processes: [names, pebble],
            place,
        };
        for address in [listening, operating, naming] {
            let end = Instant::now() + Duration::from_secs(20);
            while TcpStream::connect(address).is_err() {
                assert!(
                    Instant::now() < end,
                    "pebble did not start:\n{}",
                    authority.said()
                );
                std::thread::yield_now();
            }
        }
        Some(authority)
    }

    /// All that it said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.place.directory.0.join("pebble.log")).unwrap()
    }

    /// The certificate that all that it issues comes from, in PEM.
    pub fn root(&self) -> String {
        let mut stream = secured(trusting(), connect(self.place.operating), "localhost").unwrap();
        write!(stream, "GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        // It ends without a farewell.
        let _ = stream.read_to_string(&mut answer);
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// From here on a name leads to `ip`.
    pub fn lead(&self, name: &str, ip: Ipv4Addr) {
        let body = serde_json::json!({ "host": name, "addresses": [ip] }).to_string();
        let mut stream = TcpStream::connect(self.place.naming).unwrap();
        let length = body.len();
        write!(
            stream,
            "POST /add-a HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
    }
}

impl Drop for Authority<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Gives the ACME server a certificate for its own address, and who trusts it an authority to trust.
fn identify(directory: &Directory) {
    let (root, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut authority = CertificateParams::new([]).unwrap();
    authority
        .distinguished_name
        .push(DnType::CommonName, "tests");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let server = server
        .signed_by(&own, &Issuer::from_params(&authority, &root))
        .unwrap();
    directory.write(
        "authority.pem",
        &authority.self_signed(&root).unwrap().pem(),
    );
    directory.write("server.pem", &server.pem());
    directory.write("server.key", &own.serialize_pem());
}
