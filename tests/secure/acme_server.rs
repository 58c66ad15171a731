//! Let's Encrypt's ACME server for tests (`pebble`) on loopback, with the DNS server that it
//! resolves names by.

use crate::support::directory::Directory;
use crate::support::missing::is_installed;
use crate::support::process::free_port;
use crate::support::transport::{accept_any_certificate, connect, tls_handshake};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The addresses of an ACME server and of the relay that it validates; they outlive both.
pub struct Addresses {
    /// Files of both.
    pub directory: Directory,
    pub relay: SocketAddr,
    acme: SocketAddr,
    acme_admin: SocketAddr,
    dns: SocketAddr,
    dns_admin: SocketAddr,
}

/// A running ACME server, which forgets its accounts and orders when it is dropped.
pub struct AcmeServer<'a> {
    processes: [Child; 2],
    addresses: &'a Addresses,
}

impl Addresses {
    pub fn new(name: &str) -> Addresses {
        let [relay, acme, acme_admin, dns, dns_admin] =
            [(); 5].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let directory = Directory::new(name);
        write_certificates(&directory);
        Addresses {
            directory,
            relay,
            acme,
            acme_admin,
            dns,
            dns_admin,
        }
    }

    /// The ACME directory's URL.
    pub fn url(&self) -> String {
        format!("https://{}/dir", self.acme)
    }
}

impl<'a> AcmeServer<'a> {
    /// Starts a server that resolves every name to `ip`; `None` if pebble is not installed.
    pub fn start(
        addresses: &'a Addresses,
        validity: Duration,
        ip: Ipv4Addr,
    ) -> Option<AcmeServer<'a>> {
        if !is_installed("pebble") {
            return None;
        }
        let directory = &addresses.directory;
        let config = serde_json::json!({ "pebble": {
            "listenAddress": addresses.acme.to_string(),
            "managementListenAddress": addresses.acme_admin.to_string(),
            "certificate": directory.text("server.pem"),
            "privateKey": directory.text("server.key"),
            "httpPort": 1,
            "tlsPort": addresses.relay.port(),
            "certificateValidityPeriod": validity.as_secs(),
        } });
        let config = directory.write("pebble.json", &config.to_string());
        let dns = addresses.dns.to_string();
        let off = "";
        let dns_server = Command::new("pebble-challtestsrv")
            .args(["-defaultIPv4", &ip.to_string(), "-defaultIPv6", off])
            .args(["-http01", off, "-https01", off, "-tlsalpn01", off])
            .args(["-dns01", &dns])
            .args(["-management", &addresses.dns_admin.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let log = std::fs::File::create(directory.join("pebble.log")).unwrap();
        let pebble = Command::new("pebble")
            .args(["-strict", "-config", &config, "-dnsserver", &dns])
            // Validate at once and for every order; refuse one nonce in ten, which a client must
            // retry.
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
        let server = AcmeServer {
            processes: [dns_server, pebble],
            addresses,
        };
        for address in [addresses.acme, addresses.acme_admin, addresses.dns_admin] {
            let deadline = Instant::now() + Duration::from_secs(20);
            while TcpStream::connect(address).is_err() {
                assert!(
                    Instant::now() < deadline,
                    "pebble did not start:\n{}",
                    server.log()
                );
                std::thread::yield_now();
            }
        }
        Some(server)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.addresses.directory.join("pebble.log")).unwrap()
    }

    /// The root certificate of everything that the server issues, in PEM.
    pub fn root(&self) -> String {
        let stream = connect(self.addresses.acme_admin);
        let mut stream = tls_handshake(accept_any_certificate(), stream, "localhost").unwrap();
        write!(stream, "GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let mut response = String::new();
        // Pebble closes the connection without close_notify, which rustls reports as an error.
        let _ = stream.read_to_string(&mut response);
        response.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Resolves `name` to `ip` from now on.
    pub fn resolve(&self, name: &str, ip: Ipv4Addr) {
        let body = serde_json::json!({ "host": name, "addresses": [ip] }).to_string();
        let mut stream = connect(self.addresses.dns_admin);
        let length = body.len();
        write!(
            stream,
            "POST /add-a HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.contains(" 200 "), "{response}");
    }
}

impl Drop for AcmeServer<'_> {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Writes a certificate for the ACME server's own address, and the authority that its clients must
/// trust.
fn write_certificates(directory: &Directory) {
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
