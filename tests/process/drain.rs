//! Issue 8: "Drain (SIGTERM, or `POST /drain` with a deadline): no new allocations (300 Try Alternate to a configured sibling, or
//! 508), running ones live until they end or the deadline, `/readyz` answers 503 at once; [...] a second SIGTERM ends at once."

use crate::command;
use crate::support::TIMEOUT;
use crate::support::client::{Client, PASSWORD, Peer, USER};
use crate::support::codec::{Attribute, Outgoing, REFRESH};
use crate::support::directory::Directory;
use crate::support::operator::{is_gone, json, signal, until};
use crate::support::process::{Setup, free_port};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn sigterm_lets_calls_end_and_takes_no_new_ones() {
    let server = Setup::new()
        .flag("--drain-timeout", "10m")
        .flag("--web", "off")
        .start();
    assert!(server.get("/readyz").0.contains("200"));
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(508));
    client.send_channel(0x4000, b"still");
    assert_eq!(peer.receive().1, b"still");
    assert_eq!(server.metric("hairpin_draining", &[]), 1.0);
    client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    until("the end", || is_gone(&server));
}

/// "progress in logs and metrics", and readiness that is gone when the answer comes.
#[test]
fn progress_is_told_while_calls_end() {
    let server = Setup::new().flag("--web", "off").start();
    let (mut udp, mut tcp) = (server.udp(), server.tcp());
    let relayed = [udp.allocate(), tcp.allocate()];
    let peers = [Peer::v4(), Peer::v4()];
    udp.bind(0x4000, peers[0].address);
    tcp.bind(0x4000, peers[1].address);
    let answer = json(&server, "POST", "/drain?deadline=10m");
    assert!(server.get("/readyz").0.contains("503"));
    assert_eq!(
        (answer["allocations"].as_u64(), answer["seconds"].as_f64()),
        (Some(2), Some(600.0))
    );
    let left = server.metric("hairpin_drain_remaining_seconds", &[]);
    assert!((590.0..=600.0).contains(&left), "{left}");
    assert!(
        udp.ask(Outgoing::request(REFRESH)).is_success(),
        "what lives is refreshed"
    );
    udp.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    until("one that is left", || {
        server.metric("hairpin_allocations", &[]) == 1.0
    });
    let told = server.wait_for_line("allocations=1");
    assert!(
        told.contains("draining") && told.contains("seconds_left="),
        "{told}"
    );
    tcp.send_channel(0x4000, b"still");
    assert_eq!(peers[1].receive(), (relayed[1], b"still".to_vec()));
    peers[1].send(relayed[1], b"alive");
    assert_eq!(tcp.channel_data(), (0x4000, b"alive".to_vec()));
    drop(tcp);
    until("the end", || is_gone(&server));
}

/// systemd waits for a unit that says so: longer than its own TimeoutStopSec.
#[test]
fn a_service_manager_is_told() {
    let directory = Directory::new("drain-notify");
    let path = directory.join("notify");
    let heard = UnixDatagram::bind(&path).unwrap();
    heard.set_read_timeout(Some(TIMEOUT)).unwrap();
    let words = || {
        let mut octets = [0; 1000];
        let length = heard.recv(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    };
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let (at, user) = (listen.to_string(), format!("{USER}:{PASSWORD}"));
    let flags = [
        "serve",
        "--listen",
        &at,
        "--admin",
        "off",
        "--web",
        "off",
        "--relay-address",
        "127.0.0.1",
        "--user",
        &user,
    ];
    let mut serve = command(&flags);
    serve
        .args(["--drain-timeout", "10m"])
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = serve.spawn().unwrap();
    assert_eq!(words(), "READY=1");
    let mut client = Client::udp(listen);
    client.allocate();
    let kill = |name: &str| {
        Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status()
            .unwrap()
    };
    assert!(kill("TERM").success());
    let said = words();
    assert!(
        said.starts_with("STOPPING=1\n") && said.contains("\nSTATUS=Draining: 1 "),
        "{said}"
    );
    let patience = said
        .lines()
        .find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="))
        .unwrap();
    assert!(
        patience.parse::<u64>().unwrap() > 10_000_000,
        "longer than until it says so again"
    );
    assert!(kill("TERM").success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(listen).is_err());
}

#[test]
fn a_sibling_gets_the_new_clients() {
    let setup = Setup::new()
        .flag("--drain-timeout", "10m")
        .flag("--alternate-server", "127.0.0.1:9");
    let server = setup.flag("--web", "off").start();
    let mut client = server.udp();
    client.allocate();
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(300));
}

#[test]
fn a_second_sigterm_and_a_deadline_end_it() {
    let server = Setup::new()
        .flag("--drain-timeout", "10m")
        .flag("--web", "off")
        .start();
    server.udp().allocate();
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    signal(&server, "TERM");
    until("the end", || is_gone(&server));

    let server = Setup::new().flag("--web", "off").start();
    server.udp().allocate();
    let answer = json(&server, "POST", "/drain?deadline=100ms");
    assert_eq!(
        (answer["draining"].as_bool(), answer["allocations"].as_u64()),
        (Some(true), Some(1))
    );
    until("the end", || is_gone(&server));
}

#[test]
fn an_empty_server_ends_at_once() {
    let server = Setup::new()
        .flag("--drain-timeout", "10m")
        .flag("--web", "off")
        .start();
    signal(&server, "TERM");
    until("the end", || is_gone(&server));
}

/// Services that say farewell to everybody at once have nothing to wait for, whoever holds a connection to them.
#[test]
fn a_server_with_a_page_ends_at_once_too() {
    let web = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Setup::new().flag("--web", &web.to_string()).start();
    let _silent = [
        TcpStream::connect(web).unwrap(),
        TcpStream::connect(server.admin).unwrap(),
    ];
    let asked = Instant::now();
    signal(&server, "TERM");
    until("the end", || is_gone(&server));
    assert!(asked.elapsed() < FAREWELL, "{:?}", asked.elapsed());
}

/// What the services' farewell may take, and would take if something kept them.
const FAREWELL: Duration = Duration::from_secs(3);
