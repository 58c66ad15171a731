//! Who gets credentials for the relay from a server in a network of its own, where every default
//! holds: ports, addresses and the rule that loopback alone is trusted. Each test replays what
//! anyone on the network can send.

use crate::support::TIMEOUT;
use crate::support::certificate::self_signed;
use crate::support::client::{Client, PASSWORD, USER};
use crate::support::directory::Directory;
use crate::support::missing::skipped;
use crate::support::namespace::{Namespace, is_root};
use crate::support::transport::{accept_any_certificate, connect, tls_handshake};
use hairpin::service::signaling::RoomTokens;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// The command line that the guides recommend, and nothing about the web.
#[test]
fn the_tls_ports_serve_no_http_unless_asked_for() {
    with_network("tls-ports", |directory| {
        let _server = Running::start(directory, &recommended_flags(directory));
        for port in [3478, 5349, 443] {
            for headers in CLAIMS {
                for request in [
                    get("/ice-servers?room=x", headers),
                    upgrade("/signal?room=x", headers),
                    get("/", headers),
                ] {
                    let answer = ask_over_tls(public(port), &request);
                    assert_eq!(answer, "", "port {port}: {request}");
                }
            }
        }
        assert!(Client::tls(public(5349)).fence().is_empty(), "TURN works");
    });
}

#[test]
fn web_tls_serves_the_page_but_gives_strangers_no_credentials() {
    with_network("web-tls", |directory| {
        let mut flags = recommended_flags(directory);
        flags.push("--web-tls".into());
        let server = Running::start(directory, &flags);
        assert!(
            !server.printed().contains("gets credentials"),
            "{}",
            server.printed()
        );
        assert!(ask_over_tls(public(443), &get("/", "")).contains("<!doctype html>"));
        for address in [public(443), SocketAddr::from(([127, 0, 0, 1], 443))] {
            for headers in CLAIMS {
                assert_refused(&ask_over_tls(address, &get("/ice-servers?room=x", headers)));
                assert_no_relay(&ask_over_tls(
                    address,
                    &upgrade("/signal?room=x&peers=16", headers),
                ));
            }
        }
    });
}

#[test]
fn a_public_web_listener_gives_credentials_to_this_host_alone_by_default() {
    with_network("public-web", |directory| {
        let server = Running::start(directory, &["--web", "0.0.0.0:8080"]);
        for headers in CLAIMS {
            assert_refused(&ask(public(8080), &get("/ice-servers?room=x", headers)));
            assert_no_relay(&ask(
                public(8080),
                &upgrade("/signal?room=x&peers=16", headers),
            ));
        }
        for path in ["/ice-servers", "/ice-servers?room=x"] {
            let answer = ask(loopback(8080), &get(path, ""));
            assert!(answer.contains("\"credential\""), "{answer}");
            assert_refused(&ask(
                loopback(8080),
                &get(path, "X-Forwarded-For: 198.18.5.1\r\n"),
            ));
        }
        assert!(
            !server.printed().contains("gets credentials"),
            "{}",
            server.printed()
        );
    });
}

#[test]
fn a_stranger_gets_credentials_with_a_room_token_or_if_ice_open_is_public() {
    with_network("word", |directory| {
        let server = Running::start(
            directory,
            &["--web", "0.0.0.0:8080", "--ice-open", "public"],
        );
        let answer = ask(public(8080), &get("/ice-servers", ""));
        assert!(answer.contains("\"credential\""), "{answer}");
        let welcome = ask(public(8080), &upgrade("/signal?room=x", ""));
        assert!(welcome.contains("\"credential\""), "{welcome}");
        let warnings = server.printed();
        let warnings = warnings
            .lines()
            .filter(|line| line.contains("gets credentials"));
        assert_eq!(warnings.count(), 1, "{}", server.printed());
        drop(server);

        let secret = "a secret of the rooms";
        let _server = Running::start(
            directory,
            &["--web", "0.0.0.0:8080", "--room-secret", secret],
        );
        let token = RoomTokens::new(secret.as_bytes()).create("x", u64::MAX);
        for (token, receives) in [(token.as_str(), true), ("guess", false)] {
            let query = format!("room=x&token={token}");
            let answer = ask(public(8080), &get(&format!("/ice-servers?{query}"), ""));
            assert_eq!(answer.contains("\"credential\""), receives, "{answer}");
            let welcome = ask(public(8080), &upgrade(&format!("/signal?{query}"), ""));
            assert_eq!(welcome.contains("\"credential\""), receives, "{welcome}");
        }
    });
}

/// The two lines of the README: start the server, open the printed link on the same host.
#[test]
fn the_page_on_loopback_gets_credentials_that_work() {
    for users in [
        &[][..],
        &["--user", "ann:the password"],
        &["--shared-secret", SECRET],
    ] {
        with_network("loopback", |directory| {
            let server = Running::start(directory, users);
            let printed = server.printed();
            assert!(
                printed.contains("call http://127.0.0.1:8080/?room="),
                "{printed}"
            );
            let welcome = ask(
                loopback(8080),
                &upgrade("/signal?room=x", "Origin: http://127.0.0.1:8080\r\n"),
            );
            let fetched = ask(
                loopback(8080),
                &get("/ice-servers?room=x", "Sec-Fetch-Site: same-origin\r\n"),
            );
            for answer in [welcome, fetched] {
                assert!(!answer.contains("the password"), "{answer}");
                let (username, password) = credentials(&answer);
                assert!(username.contains(":x"), "it expires: {username}");
                let mut client = Client::udp(loopback(3478));
                client.login(&username, &password);
                client.allocate();
            }
        });
    }
}

#[test]
fn a_password_that_does_not_expire_is_never_for_everyone() {
    let directory = Directory::new("strangers-config");
    let user = format!("{USER}:{PASSWORD}");
    let flags = [
        "serve",
        "--ice-open",
        "public",
        "--user",
        &user,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
    ];
    let refused = command(&flags).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(
        stderr(&refused).contains("--ice-open: `public` hands out credentials to everyone"),
        "{}",
        stderr(&refused)
    );
    assert!(!stderr(&refused).contains(PASSWORD));
    for (users, code, line) in [
        (
            format!("user = [\"{user}\"]\n"),
            2,
            "hairpin.toml:2:12: ice_open: `public` hands out",
        ),
        (
            "shared_secret = [\"a long enough secret\"]\n".into(),
            0,
            "advice: ",
        ),
    ] {
        let file = directory.write("hairpin.toml", &format!("{users}ice_open = \"public\"\n"));
        let checked = command(&["config", "check", &file]).output().unwrap();
        assert_eq!(checked.status.code(), Some(code), "{}", stderr(&checked));
        assert!(
            stderr(&checked).contains(line) && stderr(&checked).contains("set "),
            "{}",
            stderr(&checked)
        );
    }
}

/// Runs `test` in a network namespace whose host has a public address, from which it can be reached
/// like from elsewhere.
fn with_network(name: &str, test: impl FnOnce(&Directory) + Send) {
    if !is_root() {
        return skipped("network namespaces need root and iproute2");
    }
    let directory = Directory::new(&format!("strangers-{name}"));
    let space = Namespace::new("strangers");
    space.ip("address add 198.18.5.1/32 dev lo");
    space.enter(|| test(&directory));
}

/// A client that connects here has this address itself, not a loopback address.
fn public(port: u16) -> SocketAddr {
    SocketAddr::from(([198, 18, 5, 1], port))
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A shared secret and a certificate.
fn recommended_flags(directory: &Directory) -> Vec<String> {
    let new = self_signed("relay.example");
    vec![
        "--shared-secret".into(),
        SECRET.into(),
        "--certificate".into(),
        directory.write("chain.pem", &new.chain),
        "--private-key".into(),
        directory.write("key.pem", &new.key),
    ]
}

/// A request for one answer.
fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: close\r\n{headers}\r\n")
}

/// A request for a WebSocket.
fn upgrade(path: &str, headers: &str) -> String {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n{headers}\r\n"
    )
}

fn ask(server: SocketAddr, request: &str) -> String {
    exchange(connect(server), request)
}

/// The answer over TLS, without ALPN as any program may; empty if the server closes the connection.
fn ask_over_tls(server: SocketAddr, request: &str) -> String {
    exchange(
        tls_handshake(accept_any_certificate(), connect(server), "relay.example").unwrap(),
        request,
    )
}

/// Reads to the end of the answer's JSON or of the stream.
fn exchange(mut stream: impl Read + Write, request: &str) -> String {
    let mut received = Vec::new();
    // A server that closes at once may have reset the connection.
    if stream
        .write_all(request.as_bytes())
        .and_then(|()| stream.flush())
        .is_ok()
    {
        let mut octets = [0; 16_384];
        while !received.ends_with(b"}") {
            match stream.read(&mut octets) {
                Ok(0) | Err(_) => break,
                Ok(length) => received.extend_from_slice(&octets[..length]),
            }
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// The user name and password in an answer with ICE servers.
fn credentials(answer: &str) -> (String, String) {
    let json = answer.find('{').expect("JSON");
    let json: Value = serde_json::from_str(&answer[json..]).expect("JSON");
    let turn = &json["iceServers"][1];
    let text = |key: &str| turn[key].as_str().expect(key).to_owned();
    (text("username"), text("credential"))
}

/// `hairpin` with these arguments and none of the settings in this process's environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HAIRPIN_")) {
        command.env_remove(name);
    }
    command.args(arguments).env("NO_COLOR", "1");
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn assert_refused(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("\"not-open\"") && !answer.contains("\"credential\""),
        "{answer}"
    );
}

fn assert_no_relay(welcome: &str) {
    assert!(
        welcome.contains("\"welcome\"") && welcome.contains("stun:"),
        "{welcome}"
    );
    assert!(
        !welcome.contains("\"credential\"") && !welcome.contains("turn:"),
        "{welcome}"
    );
}

/// `hairpin serve`, ended with the test.
struct Running {
    child: Child,
    log: std::path::PathBuf,
}

impl Running {
    /// Starts a server and waits until its report is complete.
    fn start<T: AsRef<str>>(directory: &Directory, flags: &[T]) -> Running {
        let log = directory.join("log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = command(&["serve", "--shards", "1"]);
        command.args(flags.iter().map(AsRef::as_ref));
        let child = command
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running { child, log };
        let end = Instant::now() + TIMEOUT;
        while !running.printed().contains("{\"iceServers\"") {
            let ended = running.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "did not start ({ended:?}):\n{}",
                running.printed()
            );
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        running
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const SECRET: &str = "a secret that strangers do not know";
/// Headers that a program can write itself to look like the page, or like a program on the server's
/// host.
const CLAIMS: [&str; 4] = [
    "",
    "Sec-Fetch-Site: same-origin\r\n",
    "Origin: http://127.0.0.1:8080\r\nReferer: http://127.0.0.1:8080/?room=x\r\n",
    "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
];
