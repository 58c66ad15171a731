//! coturn's tools as clients: `turnutils_uclient` with `turnutils_peer`, `turnutils_oauth`,
//! `turnutils_stunclient` and `turnutils_natdiscovery`.

use crate::support::client::{PASSWORD, USER};
use crate::support::codec::*;
use crate::support::directory::Directory;
use crate::support::missing::is_installed;
use crate::support::process::{SECRET, Server, Setup, free_ports};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// `turnutils_uclient` gets back every message that it sends, through a relay with these flags.
#[test]
fn uclient_relays_without_loss() {
    if !is_installed("turnutils_uclient") {
        return;
    }
    // Each run waits most of its time, so several run at once.
    for runs in RUNS.chunks(6) {
        std::thread::scope(|scope| {
            for run in runs {
                scope.spawn(|| relay_without_loss(run));
            }
        });
    }
}

/// One run of the tool: its flags, the server's address, and the address of the peer that echoes,
/// unless the tool's ends reach each other.
struct Run {
    flags: &'static [&'static str],
    server: &'static str,
    peer: Option<&'static str>,
}

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

const fn to_peer(flags: &'static [&'static str]) -> Run {
    between(flags, V4, V4)
}

const fn between(flags: &'static [&'static str], server: &'static str, peer: &'static str) -> Run {
    Run {
        flags,
        server,
        peer: Some(peer),
    }
}

const fn to_each_other(flags: &'static [&'static str]) -> Run {
    Run {
        flags,
        server: V4,
        peer: None,
    }
}

const RUNS: &[Run] = &[
    // UDP, channels, pairs for RTP and RTCP (EVEN-PORT and RESERVATION-TOKEN).
    to_peer(&[]),
    // Without RTCP.
    to_peer(&["-c"]),
    // TCP to the server.
    to_peer(&["-t"]),
    // Send indications.
    to_peer(&["-s"]),
    to_peer(&["-s", "-t"]),
    // Client to client, both relayed here.
    to_each_other(&["-y"]),
    to_each_other(&["-y", "-c", "-s"]),
    to_each_other(&["-y", "-t"]),
    // ChannelData padded over UDP too, as pjnath does.
    to_peer(&["-D"]),
    // DONT-FRAGMENT.
    to_peer(&["-g", "-s"]),
    // Redundant CreatePermission and ChannelBind requests, for several peers at once.
    to_peer(&["-G"]),
    // REQUESTED-ADDRESS-FAMILY: IPv4 (`-X`) or IPv6 (`-x`), from clients of both.
    to_peer(&["-X"]),
    between(&["-x"], V4, V6),
    between(&["-x"], V6, V6),
    between(&["-X"], V6, V4),
    between(&["-x", "-t"], V6, V6),
    // TCP allocations (RFC 6062).
    to_each_other(&["-T"]),
    // Mobility (RFC 8016): the five-tuple changes in the middle.
    to_each_other(&["-M", "-y"]),
    to_each_other(&["-M", "-y", "-s"]),
    // Many large messages.
    to_peer(&["-l", "1300", "-n", "200", "-z", "2"]),
    to_peer(&["-l", "1300", "-n", "200", "-z", "2", "-t"]),
];

fn relay_without_loss(case: &Run) {
    let server = Server::shared();
    let peer = case.peer.map(|ip| EchoPeer::start(ip.parse().unwrap()));
    let flags = [&["-u", USER, "-w", PASSWORD], case.flags].concat();
    let address = peer.as_ref().map(|peer| peer.address);
    run(server, &flags, case.server.parse().unwrap(), address)
        .unwrap()
        .assert_lossless();
}

/// `-P`: the peer connects to a TCP allocation. The tool's own peer does not answer, so it receives
/// half of the messages that it counts as sent, from coturn's server as well.
#[test]
fn uclients_peer_connects_to_a_tcp_allocation() {
    let server = Server::shared();
    if let Some(uclient) = run(
        server,
        &["-u", USER, "-w", PASSWORD, "-P"],
        server.v4.ip(),
        None,
    ) {
        assert!(
            uclient.sent > 0 && uclient.received * 2 == uclient.sent,
            "{}",
            uclient.text
        );
    }
}

/// `-W`: time-limited credentials from a shared secret.
#[test]
fn uclient_uses_time_limited_credentials() {
    let server = Server::shared();
    if let Some(uclient) = run(server, &["-W", SECRET, "-y"], server.v4.ip(), None) {
        uclient.assert_lossless();
    }
}

/// `-R`, `-N`, `-B`: the tool's negative tests, which run until they are stopped. The server relays
/// afterwards.
#[test]
fn uclients_negative_tests_do_no_harm() {
    let server = Server::shared();
    for flag in ["-R", "-N", "-B"] {
        let flags = ["-u", USER, "-w", PASSWORD, "-y", flag];
        if run_for(Duration::from_secs(6), server, &flags, server.v4.ip(), None).is_none() {
            return;
        }
    }
    relay_without_loss(&to_each_other(&["-y"]));
}

/// `-S -E`: TLS and DTLS. The tool verifies the server's certificate only if it has a client
/// certificate (`-i`, `-k`), and then refuses a certificate of another authority.
#[test]
fn uclient_verifies_the_servers_certificate() {
    if !is_installed("turnutils_uclient") {
        return;
    }
    let directory = Directory::new("authority");
    let (certificate, key) = (directory.text("server.pem"), directory.text("server.key"));
    write_certificates(&directory);
    let server = Setup::new()
        .flag("--certificate", &certificate)
        .flag("--private-key", &key)
        .start();
    let (own, own_key) = (directory.text("other.pem"), directory.text("other.key"));
    for transport in [&["-S", "-t"][..], &["-S"]] {
        let common = [
            "-u", USER, "-w", PASSWORD, "-y", "-c", "-i", &own, "-k", &own_key,
        ];
        let checked = |authority: &str, most| {
            let authority = directory.text(authority);
            let flags = [transport, &common, &["-E", &authority]].concat();
            run_for(
                Duration::from_secs(most),
                &server,
                &flags,
                server.v4.ip(),
                None,
            )
            .unwrap()
        };
        checked("ca.pem", 60).assert_lossless();
        let refused = checked("other.pem", 5);
        assert_eq!(refused.received, 0, "{}", refused.text);
    }
}

/// `-J`: access tokens (RFC 7635) under one of three keys, another one for each Refresh, over UDP
/// and TCP, with mobility.
#[test]
fn uclient_uses_access_tokens() {
    let server = with_tokens("turn.example.org");
    for flags in [
        &["-J", "-y"][..],
        &["-J", "-y", "-t"],
        &["-J", "-y", "-M"],
        &["-J", "-y", "-s"],
        &["-J", "-T"],
    ] {
        let Some(uclient) = run(&server, flags, server.v4.ip(), None) else {
            return;
        };
        uclient.assert_lossless();
    }
    let named = |kid: &str| server.printed().contains(&format!("user={kid} "));
    assert!(
        ["north", "union", "oldempire"].into_iter().any(named) && !named(USER),
        "{}",
        server.printed()
    );
}

/// The server accepts a token from `turnutils_oauth`, and the tool decrypts a token of RFC 7635
/// §6.2; both only under the right server name.
#[test]
fn tokens_are_interchangeable_with_turnutils_oauth() {
    if !is_installed("turnutils_oauth") {
        return;
    }
    let mac_key = b"01234567890123456789";
    let sealed = oauth_tool(
        &["-e", "-p", &BASE64.encode(mac_key), "-r", "600"],
        SERVER_NAME,
    );
    let (_, rest) = sealed
        .split_once("\"access_token\":\"")
        .unwrap_or_else(|| panic!("{sealed}"));
    let token = BASE64.decode(rest.split('"').next().unwrap()).unwrap();
    for (name, outcome) in [(SERVER_NAME, None), ("other.example.org", Some(401))] {
        let server = with_tokens(name);
        let mut client = server.udp();
        client.login("north", "");
        let credentials = client.credentials.as_mut().unwrap();
        credentials.key = Some(mac_key.to_vec());
        credentials.extra = vec![Attribute::Plain(ACCESS_TOKEN, token.clone())];
        assert_eq!(
            client.ask(Outgoing::allocate()).error(),
            outcome,
            "a token for {SERVER_NAME} at {name}"
        );
    }
    let ours = BASE64.encode(token_of_the_rfc(mac_key));
    let read = oauth_tool(&["-d", "-v", "-t", &ours], SERVER_NAME);
    let read_whole = ["Valid token", "mac key: 01234567890123456789\n", "600"]
        .iter()
        .all(|part| read.contains(part));
    assert!(read_whole, "{read}");
    let refused = oauth_tool(&["-d", "-v", "-t", &ours], "other.example.org");
    assert!(
        !refused.contains("Valid token") && !refused.contains("mac key: 0123"),
        "{refused}"
    );
}

#[test]
fn stunclient_learns_its_address() {
    if !is_installed("turnutils_stunclient") {
        return;
    }
    let server = Server::shared();
    let output = Command::new("turnutils_stunclient")
        .args(["-p", &server.v4.port().to_string(), "127.0.0.1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("UDP reflexive addr: 127.0.0.1"), "{text}");
}

/// The mapping and filtering tests of RFC 5780, with two addresses and two ports.
#[test]
fn natdiscovery_finds_no_nat() {
    if !is_installed("turnutils_natdiscovery") {
        return;
    }
    let alternate = SocketAddr::from(([127, 0, 0, 2], free_ports(1)));
    let server = Setup::new()
        .flag("--alternate-listen", &alternate.to_string())
        .start();
    let output = Command::new("turnutils_natdiscovery")
        .args([
            "-m",
            "-f",
            "-p",
            &server.v4.port().to_string(),
            "-L",
            "127.0.0.1",
            "127.0.0.1",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("NAT with Endpoint Independent Mapping") || text.contains("No NAT"),
        "{text}"
    );
    assert!(text.contains("Endpoint Independent Filtering"), "{text}");
}

/// A server of this name that accepts tokens under the keys that are built into
/// `turnutils_uclient`.
fn with_tokens(server_name: &str) -> Server {
    let keys = [
        ("north", NORTH),
        ("union", &b"1234567890123456"[..]),
        ("oldempire", b"12345678901234567890123456789012"),
    ];
    // Ports that the kernel gives to no other program: a reserved port that another program has
    // taken fails the run.
    let first = free_ports(300);
    let setup = Setup::new().flag("--token-server", server_name);
    let setup = setup.flag("--relay-ports", &format!("{first}-{}", first + 299));
    keys.iter()
        .fold(setup, |setup, (kid, key)| {
            setup.flag("--token-key", &format!("{kid}:{}", BASE64.encode(key)))
        })
        .start()
}

/// The output of `turnutils_oauth` with the key `north`.
fn oauth_tool(arguments: &[&str], server_name: &str) -> String {
    let now = seconds().to_string();
    let key = [
        "-i",
        server_name,
        "-j",
        "north",
        "-k",
        &BASE64.encode(NORTH),
        "-l",
        &now,
        "-m",
        "3600",
        "-n",
        "A256GCM",
    ];
    let output = Command::new("turnutils_oauth")
        .args(arguments)
        .args(key)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A token of RFC 7635 §6.2 for 600 seconds from now, under the key `north`.
fn token_of_the_rfc(mac_key: &[u8]) -> Vec<u8> {
    let mut block = (mac_key.len() as u16).to_be_bytes().to_vec();
    block.extend(mac_key);
    block.extend((seconds() << 16).to_be_bytes());
    block.extend(600_u32.to_be_bytes());
    let nonce = [7; 12];
    let payload = Payload {
        msg: &block,
        aad: SERVER_NAME.as_bytes(),
    };
    let sealed = Aes256Gcm::new_from_slice(NORTH)
        .unwrap()
        .encrypt(&Nonce::from(nonce), payload)
        .unwrap();
    [&[0, 12][..], &nonce, &sealed].concat()
}

fn seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// Writes `ca.pem`, with `server.pem` and `server.key` of this authority, and `other.pem` and
/// `other.key` of another one.
fn write_certificates(directory: &Directory) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let key = || KeyPair::generate().unwrap();
    let (ca_key, other_key, server_key) = (key(), key(), key());
    let ca = authority("authority").self_signed(&ca_key).unwrap();
    let other = authority("another").self_signed(&other_key).unwrap();
    let issuer = Issuer::new(authority("authority"), ca_key);
    let server = CertificateParams::new(["relay.example".to_owned()])
        .unwrap()
        .signed_by(&server_key, &issuer)
        .unwrap();
    directory.write("ca.pem", &ca.pem());
    directory.write("other.pem", &other.pem());
    directory.write("other.key", &other_key.serialize_pem());
    directory.write("server.pem", &server.pem());
    directory.write("server.key", &server_key.serialize_pem());
}

/// The output of the tool, and its totals.
struct Uclient {
    text: String,
    sent: u64,
    received: u64,
}

impl Uclient {
    /// The exit code is 0 even if messages were lost.
    fn assert_lossless(&self) {
        assert!(
            self.sent > 0 && self.sent == self.received,
            "{} sent, {} received:\n{}",
            self.sent,
            self.received,
            self.text
        );
    }
}

fn run(
    server: &Server,
    flags: &[&str],
    server_ip: IpAddr,
    peer: Option<SocketAddr>,
) -> Option<Uclient> {
    run_for(Duration::from_secs(60), server, flags, server_ip, peer)
}

fn run_for(
    most: Duration,
    server: &Server,
    flags: &[&str],
    server_ip: IpAddr,
    peer: Option<SocketAddr>,
) -> Option<Uclient> {
    if !is_installed("turnutils_uclient") {
        return None;
    }
    let mut command = Command::new("turnutils_uclient");
    if !flags.contains(&"-n") {
        command.args(["-n", "20", "-l", "160", "-z", "5"]);
    }
    command.args(["-m", "2"]).args(flags);
    if let Some(peer) = peer {
        command.args(["-e", &peer.ip().to_string(), "-r", &peer.port().to_string()]);
    }
    command.args(["-p", &server.v4.port().to_string(), &server_ip.to_string()]);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = output_within(child, most);
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    let last = |key: &str| {
        let value = text.rsplit(key).next().filter(|_| text.contains(key))?;
        value
            .split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let (sent, received) = (
        last("tot_send_msgs=").unwrap_or(0),
        last("tot_recv_msgs=").unwrap_or(0),
    );
    Some(Uclient {
        text,
        sent,
        received,
    })
}

/// Waits until the child has ended, and stops it after `most`.
fn output_within(mut child: Child, most: Duration) -> std::process::Output {
    let pid = child.id();
    let end = Instant::now() + most;
    let watch = std::thread::spawn(move || {
        while Instant::now() < end {
            if !std::path::Path::new(&format!("/proc/{pid}/fd")).exists() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        drop(Command::new("kill").arg(pid.to_string()).status());
    });
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let reader = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
    let text = std::io::read_to_string(stdout).unwrap_or_default();
    let status = child.wait().unwrap();
    watch.join().unwrap();
    std::process::Output {
        status,
        stdout: text.into(),
        stderr: reader.join().unwrap().into(),
    }
}

/// `turnutils_peer` on two ports, because the tool sends RTCP to the second one.
struct EchoPeer {
    child: Child,
    address: SocketAddr,
}

impl EchoPeer {
    fn start(ip: IpAddr) -> EchoPeer {
        let port = free_ports(2);
        let child = Command::new("turnutils_peer")
            .args(["-L", &ip.to_string(), "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::new(ip, port);
        let probe = UdpSocket::bind((ip, 0)).unwrap();
        probe
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while probe
            .send_to(&[0; 100], address)
            .and_then(|_| probe.recv(&mut [0; 200]))
            .is_err()
        {
            assert!(
                Instant::now() < end,
                "turnutils_peer does not answer on {address}"
            );
        }
        EchoPeer { child, address }
    }
}

impl Drop for EchoPeer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The key of that name in `turnutils_uclient`.
const NORTH: &[u8] = b"01234567890123456789012345678901";
const SERVER_NAME: &str = "turn.example.org";
