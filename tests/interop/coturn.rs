//! Debian's coturn tools: `turnutils_uclient` with `turnutils_peer`, `turnutils_stunclient`.

use crate::is_installed;
use crate::support::client::{PASSWORD, USER};
use crate::support::codec::*;
use crate::support::process::{SECRET, Server, Setup, free_ports};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// UDP to the server, channels, RTP and RTCP pairs (EVEN-PORT and RESERVATION-TOKEN) toward a peer that echoes.
#[test]
fn udp() {
    relays(&[]);
}

/// Without the RTCP pair.
#[test]
fn udp_without_rtcp() {
    relays(&["-c"]);
}

/// `-t`: TCP to the server.
#[test]
fn tcp() {
    relays(&["-t"]);
}

/// `-s`: Send indications in place of channels.
#[test]
fn send_indications() {
    relays(&["-s"]);
    relays(&["-s", "-t"]);
}

/// `-y`: client to client, both ends relayed here.
#[test]
fn client_to_client() {
    relays(&["-y"]);
    relays(&["-y", "-c", "-s"]);
    relays(&["-y", "-t"]);
}

/// `-D`: ChannelData padded over UDP as well, as pjnath does.
#[test]
fn padded_channels() {
    relays(&["-D"]);
}

/// `-g`: DONT-FRAGMENT.
#[test]
fn dont_fragment() {
    relays(&["-g", "-s"]);
}

/// `-G`: extra CreatePermission and ChannelBind requests, several peers at once.
#[test]
fn extra_requests() {
    relays(&["-G"]);
}

/// `-X`: REQUESTED-ADDRESS-FAMILY IPv4.
#[test]
fn explicit_ipv4_relay() {
    relays(&["-X"]);
}

/// `-x`: an IPv6 relay for a client on IPv4, toward an IPv6 peer.
#[test]
fn ipv6_relay() {
    relays_over(&["-x"], "127.0.0.1", "::1");
}

/// IPv6 to the server, and IPv6 or IPv4 behind it.
#[test]
fn ipv6_client() {
    relays_over(&["-x"], "::1", "::1");
    relays_over(&["-X"], "::1", "127.0.0.1");
    relays_over(&["-x", "-t"], "::1", "::1");
}

/// `-T`: TCP relays (RFC 6062), client to client.
#[test]
fn tcp_relays() {
    relays(&["-T"]);
}

/// `-P`: TCP relays to which the peer connects. The tool's own peer answers nothing, so half of what it counts as sent comes back, with
/// coturn's server as well.
#[test]
fn tcp_relays_that_peers_connect_to() {
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

/// `-M`: mobility (RFC 8016): the tool changes its five-tuple in the middle.
#[test]
fn mobility() {
    relays(&["-M", "-y"]);
    relays(&["-M", "-y", "-s"]);
}

/// Large messages, many of them.
#[test]
fn large_messages() {
    relays(&["-l", "1300", "-n", "200", "-z", "2"]);
    relays(&["-l", "1300", "-n", "200", "-z", "2", "-t"]);
}

/// `-W`: time-limited names from the shared secret.
#[test]
fn rest_secret() {
    let server = Server::shared();
    if let Some(uclient) = run(server, &["-W", SECRET, "-y"], server.v4.ip(), None) {
        uclient.assert_lossless();
    }
}

/// `-R`, `-N`, `-B`: the tool's own negative tests, which end when they like; the server survives them and relays on.
#[test]
fn negative_tests_do_no_harm() {
    let server = Server::shared();
    for flag in ["-R", "-N", "-B"] {
        let flags = ["-u", USER, "-w", PASSWORD, "-y", flag];
        if run_for(Duration::from_secs(6), server, &flags, server.v4.ip(), None).is_none() {
            return;
        }
    }
    relays(&["-y"]);
}

/// `-S -E`: TLS and DTLS, and the server's certificate checked against an authority, which the tool does when it shows one of its own
/// (`-i`, `-k`). Against another authority it does not get through.
#[test]
fn certificates_are_checked() {
    if !is_installed("turnutils_uclient") {
        return;
    }
    let folder = Folder::new("authority");
    let (certificate, key) = (folder.path("server.pem"), folder.path("server.key"));
    folder.write_chain();
    let server = Setup::new()
        .flag("--certificate", &certificate)
        .flag("--private-key", &key)
        .start();
    let (own, own_key) = (folder.path("other.pem"), folder.path("other.key"));
    for transport in [&["-S", "-t"][..], &["-S"]] {
        let common = [
            "-u", USER, "-w", PASSWORD, "-y", "-c", "-i", &own, "-k", &own_key,
        ];
        let checked = |authority: &str, most| {
            let authority = folder.path(authority);
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

/// `-J`: access tokens (RFC 7635) under one of three keys, another with each Refresh, over UDP and TCP, with mobility.
#[test]
fn oauth() {
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

/// `turnutils_oauth`: a token that it seals is good here, and one that is sealed as RFC 7635 §6.2 has it is read by it the same; neither
/// is good for another server's name.
#[test]
fn tokens_of_others() {
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
    let ours = BASE64.encode(token_as_the_rfc_has_it(mac_key));
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

/// `turnutils_stunclient`: a Binding transaction.
#[test]
fn stunclient() {
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

/// `turnutils_natdiscovery`: mapping and filtering tests of RFC 5780 against two addresses and two ports.
#[test]
fn natdiscovery() {
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

/// A server that takes tokens under the keys that are built into `turnutils_uclient`, for a server of this name.
fn with_tokens(server_name: &str) -> Server {
    let keys = [
        ("north", NORTH),
        ("union", &b"1234567890123456"[..]),
        ("oldempire", b"12345678901234567890123456789012"),
    ];
    // No port of which is any program's that lets the system choose: the tool takes a reserved one that is gone for the end.
    let first = free_ports(300);
    let setup = Setup::new().flag("--token-server", server_name);
    let setup = setup.flag("--relay-ports", &format!("{first}-{}", first + 299));
    keys.iter()
        .fold(setup, |setup, (kid, key)| {
            setup.flag("--token-key", &format!("{kid}:{}", BASE64.encode(key)))
        })
        .start()
}

/// What `turnutils_oauth` prints, under the key `north`.
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

/// A token for 600 seconds from now, under the key `north`. RFC 7635 §6.2.
fn token_as_the_rfc_has_it(mac_key: &[u8]) -> Vec<u8> {
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

/// A folder of certificates, which goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().unwrap().to_owned()
    }

    /// `ca.pem`, `server.pem` and `server.key` of that authority, and `other.pem` and `other.key` of nobody's.
    fn write_chain(&self) {
        let write = |file: &str, text: String| std::fs::write(self.path(file), text).unwrap();
        let authority = |name: &str| {
            let mut parameters = CertificateParams::new(Vec::new()).unwrap();
            parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            parameters.distinguished_name.push(DnType::CommonName, name);
            parameters
        };
        let (key, other_key, server_key) = (
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap(),
            KeyPair::generate().unwrap(),
        );
        write(
            "ca.pem",
            authority("authority").self_signed(&key).unwrap().pem(),
        );
        write(
            "other.pem",
            authority("nobody").self_signed(&other_key).unwrap().pem(),
        );
        write("other.key", other_key.serialize_pem());
        let issuer = Issuer::new(authority("authority"), key);
        let server = CertificateParams::new(["relay.example".to_owned()])
            .unwrap()
            .signed_by(&server_key, &issuer)
            .unwrap();
        write("server.pem", server.pem());
        write("server.key", server_key.serialize_pem());
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn relays(flags: &[&str]) {
    relays_over(flags, "127.0.0.1", "127.0.0.1");
}

/// Runs the tool with these flags from one address toward a peer, which it starts unless the ends meet each other.
fn relays_over(flags: &[&str], server_ip: &str, peer_ip: &str) {
    if !is_installed("turnutils_peer") {
        return;
    }
    let server = Server::shared();
    let peer = (!["-y", "-T", "-P"].iter().any(|f| flags.contains(f)))
        .then(|| EchoPeer::start(peer_ip.parse().unwrap()));
    let all = [&["-u", USER, "-w", PASSWORD], flags].concat();
    if let Some(uclient) = run(
        server,
        &all,
        server_ip.parse().unwrap(),
        peer.as_ref().map(|p| p.address),
    ) {
        uclient.assert_lossless();
    }
}

/// What the tool printed, and the totals it counted.
struct Uclient {
    text: String,
    sent: u64,
    received: u64,
}

impl Uclient {
    /// Its exit code is 0 even with loss: the counts tell.
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
    let output = bounded(child, most);
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

/// Its output once it ends, by itself or because it has had its time.
fn bounded(mut child: Child, most: Duration) -> std::process::Output {
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

/// `turnutils_peer` on a port and its successor, since the tool sends RTCP one port higher.
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

/// The key that `turnutils_uclient` calls so.
const NORTH: &[u8] = b"01234567890123456789012345678901";
const SERVER_NAME: &str = "turn.example.org";
