//! Debian's coturn tools: `turnutils_uclient` with `turnutils_peer`, `turnutils_stunclient`.

use crate::client::{PASSWORD, USER};
use crate::fixture::{SECRET, Server, Setup, free_ports};
use crate::is_installed;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

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
    if let Some(uclient) = run(server, &["-u", USER, "-w", PASSWORD, "-P"], server.v4.ip(), None) {
        assert!(uclient.sent > 0 && uclient.received * 2 == uclient.sent, "{}", uclient.text);
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

/// `turnutils_stunclient`: a Binding transaction.
#[test]
fn stunclient() {
    if !is_installed("turnutils_stunclient") {
        return;
    }
    let server = Server::shared();
    let output =
        Command::new("turnutils_stunclient").args(["-p", &server.v4.port().to_string(), "127.0.0.1"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("UDP reflexive addr: 127.0.0.1"), "{text}");
}

/// `turnutils_natdiscovery`: mapping and filtering tests of RFC 5780 against two addresses and two ports.
#[test]
fn natdiscovery() {
    if !is_installed("turnutils_natdiscovery") {
        return;
    }
    let alternate = SocketAddr::from(([127, 0, 0, 2], free_ports(1)));
    let server = Setup::new().flag("--alternate-listen", &alternate.to_string()).start();
    let output = Command::new("turnutils_natdiscovery")
        .args(["-m", "-f", "-p", &server.v4.port().to_string(), "-L", "127.0.0.1", "127.0.0.1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("NAT with Endpoint Independent Mapping") || text.contains("No NAT"), "{text}");
    assert!(text.contains("Endpoint Independent Filtering"), "{text}");
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
    let peer =
        (!["-y", "-T", "-P"].iter().any(|f| flags.contains(f))).then(|| EchoPeer::start(peer_ip.parse().unwrap()));
    let all = [&["-u", USER, "-w", PASSWORD], flags].concat();
    if let Some(uclient) = run(server, &all, server_ip.parse().unwrap(), peer.as_ref().map(|p| p.address)) {
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

fn run(server: &Server, flags: &[&str], server_ip: IpAddr, peer: Option<SocketAddr>) -> Option<Uclient> {
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
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = bounded(child, most);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let last = |key: &str| {
        let value = text.rsplit(key).next().filter(|_| text.contains(key))?;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let (sent, received) = (last("tot_send_msgs=").unwrap_or(0), last("tot_recv_msgs=").unwrap_or(0));
    Some(Uclient { text, sent, received })
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
    std::process::Output { status, stdout: text.into(), stderr: reader.join().unwrap().into() }
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
        probe.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while probe.send_to(&[0; 100], address).and_then(|_| probe.recv(&mut [0; 200])).is_err() {
            assert!(Instant::now() < end, "turnutils_peer does not answer on {address}");
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
