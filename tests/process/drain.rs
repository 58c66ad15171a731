//! Drain by SIGTERM or `POST /drain`: new allocations get 300 or 508, existing ones live until they
//! end or the deadline, and `/readyz` answers 503 at once.

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
fn sigterm_lets_allocations_end_and_refuses_new_ones() {
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

/// `/readyz` fails before the drain request is answered.
#[test]
fn drain_progress_is_in_the_log_and_the_metrics() {
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
    let line = server.wait_for_line("allocations=1");
    assert!(
        line.contains("draining") && line.contains("seconds_left="),
        "{line}"
    );
    tcp.send_channel(0x4000, b"still");
    assert_eq!(peers[1].receive(), (relayed[1], b"still".to_vec()));
    peers[1].send(relayed[1], b"alive");
    assert_eq!(tcp.channel_data(), (0x4000, b"alive".to_vec()));
    drop(tcp);
    until("the end", || is_gone(&server));
}

/// systemd waits longer than TimeoutStopSec for a unit that extends its timeout.
#[test]
fn the_service_manager_is_notified_of_the_drain() {
    let directory = Directory::new("drain-notify");
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let next_state = || {
        let mut octets = [0; 1000];
        let length = socket.recv(&mut octets).unwrap();
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
    assert_eq!(next_state(), "READY=1");
    let mut client = Client::udp(listen);
    client.allocate();
    let kill = |name: &str| {
        Command::new("kill")
            .args(["-s", name, &child.id().to_string()])
            .status()
            .unwrap()
    };
    assert!(kill("TERM").success());
    let state = next_state();
    assert!(
        state.starts_with("STOPPING=1\n") && state.contains("\nSTATUS=Draining: 1 "),
        "{state}"
    );
    let timeout = state
        .lines()
        .find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="))
        .unwrap();
    assert!(
        timeout.parse::<u64>().unwrap() > 10_000_000,
        "longer than until the next notification"
    );
    assert!(kill("TERM").success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(TcpStream::connect(listen).is_err());
}

#[test]
fn new_clients_are_redirected_to_the_alternate_server() {
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
fn a_second_sigterm_and_the_deadline_end_a_drain() {
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
fn a_server_without_allocations_stops_at_once() {
    let server = Setup::new()
        .flag("--drain-timeout", "10m")
        .flag("--web", "off")
        .start();
    signal(&server, "TERM");
    until("the end", || is_gone(&server));
}

/// Open connections to the services do not delay the stop.
#[test]
fn a_server_with_open_web_connections_stops_at_once() {
    let web = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Setup::new().flag("--web", &web.to_string()).start();
    let _silent = [
        TcpStream::connect(web).unwrap(),
        TcpStream::connect(server.admin).unwrap(),
    ];
    let started = Instant::now();
    signal(&server, "TERM");
    until("the end", || is_gone(&server));
    assert!(
        started.elapsed() < SERVICES_STOP_TIMEOUT,
        "{:?}",
        started.elapsed()
    );
}

/// The stop timeout of the services, which would be reached if a connection delayed them.
const SERVICES_STOP_TIMEOUT: Duration = Duration::from_secs(3);
