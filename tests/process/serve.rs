//! `hairpin serve`: start, startup report, signals, exit codes.

use crate::support::TIMEOUT;
use crate::support::client::{Client, PASSWORD, Peer, USER};
use crate::support::codec::Outgoing;
use crate::support::process::{REALM_NAME, Setup, free_port};
use crate::{command, find_text, json_in, stderr};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn serve_without_users_prints_credentials_that_work() {
    let (listen, admin) = addresses();
    let process = Running::start(
        command(&[
            "serve",
            "--listen",
            &listen.to_string(),
            "--admin",
            &admin.to_string(),
        ]),
        listen,
    );
    let text = process.printed_until("credential");
    assert!(text.contains(&listen.to_string()), "{text}");
    let json = json_in(&text);
    let (username, password) = (
        find_text(&json, "username").unwrap(),
        find_text(&json, "credential").unwrap(),
    );
    assert!(text.contains(&format!("turn:{listen}")), "{text}");
    let mut client = Client::udp(listen);
    client.login(&username, &password);
    let answer = client.ask(Outgoing::allocate());
    assert!(
        answer.is_success() || answer.error() == Some(508) || answer.error() == Some(440),
        "{answer:?}"
    );
    assert!(
        answer.error().is_none(),
        "a relay address is found: {answer:?}"
    );
}

#[test]
fn an_environment_variable_sets_a_key() {
    let (listen, admin) = addresses();
    let mut process = command(&["serve"]);
    process
        .env("HAIRPIN_LISTEN", listen.to_string())
        .env("HAIRPIN_ADMIN", admin.to_string())
        .env("HAIRPIN_RELAY_ADDRESS", "127.0.0.1")
        .env("HAIRPIN_REALM", REALM_NAME)
        .env("HAIRPIN_USER", format!("{USER}:{PASSWORD}"))
        .env("HAIRPIN_ALLOW_PEER", "127.0.0.0/8")
        .env("HAIRPIN_SHARDS", "1");
    let _process = Running::start(process, listen);
    let mut client = Client::udp(listen);
    client.allocate();
    assert_eq!(
        client.credentials.as_ref().unwrap().realm,
        REALM_NAME.as_bytes()
    );
    client.permit(Peer::v4().address);
}

#[test]
fn commas_separate_the_values_of_a_variable() {
    let (listen, admin) = addresses();
    let (second, _) = addresses();
    let mut process = command(&["serve", "--relay-address", "127.0.0.1"]);
    process
        .env("HAIRPIN_LISTEN", format!("{listen},{second}"))
        .env("HAIRPIN_ADMIN", admin.to_string());
    // Listeners are opened in order.
    let _process = Running::start(process, second);
    assert!(Client::udp(second).fence().is_empty());
    assert!(Client::tcp(second).fence().is_empty());
}

/// Also with clients and allocations.
#[test]
fn sigint_and_sigterm_stop_the_server_with_exit_code_0() {
    for signal in ["INT", "TERM"] {
        let (listen, admin) = addresses();
        let flags = [
            "serve",
            "--listen",
            &listen.to_string(),
            "--admin",
            &admin.to_string(),
            "--relay-address",
            "127.0.0.1",
        ];
        let mut process = command(&flags);
        process.args(["--user", &format!("{USER}:{PASSWORD}")]);
        let mut process = Running::start(process, listen);
        let (mut udp, mut tcp) = (Client::udp(listen), Client::tcp(listen));
        let relayed = [udp.allocate(), tcp.allocate()];
        let start = Instant::now();
        process.signal(signal);
        assert_eq!(process.exit_code(), Some(0), "SIG{signal}");
        assert!(start.elapsed() < TIMEOUT);
        assert!(tcp.is_closed_within(TIMEOUT));
        for address in relayed.into_iter().chain([listen]) {
            UdpSocket::bind(address).unwrap();
        }
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let (listen, admin) = addresses();
    let listen_text = listen.to_string();
    let udp = UdpSocket::bind(listen).unwrap();
    refuses_to_start(&listen_text, &admin.to_string(), &listen_text);
    drop(udp);
    let tcp = TcpListener::bind(listen).unwrap();
    refuses_to_start(&listen_text, &admin.to_string(), &listen_text);
    drop(tcp);
    let busy = TcpListener::bind(admin).unwrap();
    refuses_to_start(&listen_text, &admin.to_string(), &admin.to_string());
    drop(busy);
}

/// Otherwise each server would get half of the clients.
#[test]
fn a_second_server_on_the_same_port_does_not_start() {
    let server = Setup::new().start();
    refuses_to_start(
        &server.v4.to_string(),
        &format!("127.0.0.1:{}", free_port()),
        &server.v4.to_string(),
    );
}

#[test]
fn an_address_of_another_host_is_an_error_that_names_it() {
    let (listen, admin) = addresses();
    let output = command(&[
        "serve",
        "--listen",
        "192.0.2.1:3478",
        "--admin",
        &admin.to_string(),
    ])
    .output()
    .unwrap();
    assert!(
        !output.status.success() && stderr(&output).contains("192.0.2.1:3478"),
        "{}",
        stderr(&output)
    );
    let flags = [
        "serve",
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
        "--relay-address",
        "192.0.2.1",
    ];
    let output = command(&flags).output().unwrap();
    assert!(
        !output.status.success() && stderr(&output).contains("192.0.2.1"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_wildcard_listener_answers_from_the_destination_address_of_the_request() {
    let port = free_port();
    let (v4, v6) = (format!("0.0.0.0:{port}"), format!("[::]:{port}"));
    let admin = format!("127.0.0.1:{}", free_port());
    let flags = [
        "serve",
        "--listen",
        &v4,
        "--listen",
        &v6,
        "--admin",
        &admin,
        "--relay-address",
        "127.0.0.1",
    ];
    let mut process = command(&flags);
    process.args([
        "--user",
        &format!("{USER}:{PASSWORD}"),
        "--allow-peer",
        "127.0.0.0/8",
    ]);
    let _process = Running::start(process, SocketAddr::from(([127, 0, 0, 1], port)));
    for ip in ["127.0.0.1", "127.0.0.2", "127.9.9.9", "::1"] {
        let server = SocketAddr::new(ip.parse().unwrap(), port);
        let mut client = Client::udp(server);
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        client.send_channel(0x4000, b"out");
        assert_eq!(peer.receive(), (relayed, b"out".to_vec()));
        peer.send(relayed, b"in");
        assert_eq!(
            client.channel_data(),
            (0x4000, b"in".to_vec()),
            "its data comes from {ip} as well"
        );
        Client::tcp(server).allocate();
    }
}

#[test]
fn every_client_is_served_with_any_number_of_shards() {
    for shards in ["1", "4"] {
        let server = Setup::new().replace("--shards", shards).start();
        let mut clients: Vec<Client> = (0..24)
            .map(|i| {
                if i % 2 == 0 {
                    server.udp()
                } else {
                    server.tcp()
                }
            })
            .collect();
        let relayed: Vec<SocketAddr> = clients.iter_mut().map(Client::allocate).collect();
        for (client, address) in clients.iter_mut().zip(&relayed) {
            let peer = Peer::v4();
            client.permit(peer.address);
            peer.send(*address, b"x");
            assert_eq!(client.data(), (peer.address, b"x".to_vec()));
        }
    }
}

fn refuses_to_start(listen: &str, admin: &str, named: &str) {
    let flags = [
        "serve",
        "--listen",
        listen,
        "--admin",
        admin,
        "--relay-address",
        "127.0.0.1",
    ];
    let mut child = command(&flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + TIMEOUT;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            drop(child.kill());
            panic!("it started, though {named} is in use");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let text = stderr(&output);
    assert!(
        !output.status.success() && text.contains(named),
        "does not name {named}: {text}"
    );
}

/// Every allocation has a socket, and the usual soft limit is 1,024.
#[test]
fn the_file_descriptor_limit_is_raised_to_the_hard_limit() {
    let (listen, admin) = addresses();
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "ulimit -S -n 256 && exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_hairpin"),
        "serve",
    ]);
    shell.args([
        "--listen",
        &listen.to_string(),
        "--admin",
        &admin.to_string(),
        "--relay-address",
        "127.0.0.1",
    ]);
    let process = Running::start(shell, listen);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", process.child.id())).unwrap();
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap();
    let mut bounds = line.split_whitespace();
    let (soft, hard) = (bounds.next().unwrap(), bounds.next().unwrap());
    assert!(soft == hard && soft != "256", "{line}");
}

fn addresses() -> (SocketAddr, SocketAddr) {
    (
        SocketAddr::from(([127, 0, 0, 1], free_port())),
        SocketAddr::from(([127, 0, 0, 1], free_port())),
    )
}

/// A server process without a shell in between, so that its process id is known.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    fn start(mut command: Command, listen: SocketAddr) -> Running {
        let log = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("process-{}.log", listen.port()));
        let file = std::fs::File::create(&log).unwrap();
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut running = Running { child, log };
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(listen).is_err() {
            let ended = running.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "did not start ({ended:?}):\n{}",
                running.printed()
            );
            std::thread::park_timeout(Duration::from_millis(5));
        }
        running
    }

    fn printed(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(&self.log)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    }

    fn printed_until(&self, word: &str) -> String {
        let end = Instant::now() + TIMEOUT;
        loop {
            let text = self.printed();
            if text.contains(word) && text.ends_with('\n') {
                return text;
            }
            assert!(Instant::now() < end, "never printed {word:?}:\n{text}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        drop(std::fs::remove_file(&self.log));
    }
}
