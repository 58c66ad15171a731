//! External addresses: per relay address, or discovered by STUN or a cloud's metadata service.

use crate::command;
use crate::support::TIMEOUT;
use crate::support::client::{PASSWORD, USER};
use crate::support::codec::{Attribute, Outgoing};
use crate::support::missing::skipped;
use crate::support::namespace::{Namespace, is_root};
use crate::support::operator::until;
use crate::support::process::Setup;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener};
use std::process::{Command, Stdio};

#[test]
fn each_relay_address_has_its_external_address() {
    let flags = [
        "127.0.0.2=203.0.113.2",
        "127.0.0.1=203.0.113.1",
        "2001:db8::1",
    ];
    let setup = flags.iter().fold(Setup::new(), |setup, flag| {
        setup.flag("--external-address", flag)
    });
    let server = setup
        .flag("--relay-address", "127.0.0.2")
        .flag("--web", "off")
        .start();
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        seen.insert(server.udp().allocate().ip());
    }
    assert_eq!(
        seen,
        ["203.0.113.1", "203.0.113.2"]
            .map(|ip| ip.parse().unwrap())
            .into()
    );
    assert_eq!(
        server.udp().allocate_v6().ip(),
        "2001:db8::1".parse::<IpAddr>().unwrap()
    );
}

/// Three addresses of four ports each take twelve allocations.
#[test]
fn the_ports_of_all_relay_addresses_are_used() {
    let first = crate::support::process::free_ports(4);
    let range = format!("{first}-{}", first + 3);
    let setup = Setup::new()
        .flag("--relay-address", "127.0.0.2")
        .flag("--relay-address", "127.0.0.3");
    let server = setup
        .flag("--relay-ports", &range)
        .flag("--web", "off")
        .start();
    assert_eq!(
        server.metric("hairpin_relay_ports", &[]),
        16.0,
        "those of IPv6's loopback too"
    );
    let mut clients: Vec<_> = (0..12).map(|_| server.udp()).collect();
    let relayed: BTreeSet<_> = clients.iter_mut().map(|client| client.allocate()).collect();
    assert_eq!(relayed.len(), 12);
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(508));
    assert!(
        late.ask(Outgoing::allocate().with(Attribute::family(2)))
            .is_success()
    );
}

/// The metadata services of all clouds as documented: paths, headers, and a token for Amazon's.
#[test]
fn auto_queries_the_metadata_service() {
    if Command::new("ip").arg("-V").output().is_err() || !is_root() {
        return skipped("network namespaces need root and iproute2");
    }
    for (cloud, path, header) in CLOUDS {
        let space = Namespace::new("metadata");
        space.ip("addr add 169.254.169.254/32 dev lo\naddr add 10.0.0.5/32 dev lo");
        let listener = space.enter(|| TcpListener::bind("169.254.169.254:80").unwrap());
        std::thread::spawn(move || {
            listener
                .incoming()
                .for_each(|stream| answer(stream.unwrap(), path, header))
        });
        assert_eq!(
            space.enter(relaying),
            "relaying 10.0.0.5 as 203.0.113.7",
            "{cloud}"
        );
    }
}

/// A floating address is added after the start. No relay may reach services that listen on it.
#[test]
fn addresses_acquired_after_the_start_are_own_addresses() {
    if !is_root() {
        return skipped("network namespaces need root and iproute2");
    }
    let space = Namespace::new("floating");
    space.ip("address add 5.5.5.5/32 dev lo");
    space.enter(|| {
        let setup = Setup::strict()
            .flag("--web", "off")
            .without_relay_addresses();
        let server = setup.flag("--relay-address", "5.5.5.5").start();
        let mut client = server.udp();
        client.allocate();
        let floating = "6.6.6.6:9".parse().unwrap();
        assert_eq!(
            client.try_permit("5.5.5.5:9".parse().unwrap()).error(),
            Some(403)
        );
        assert!(client.try_permit(floating).is_success());
        space.ip("address add 6.6.6.6/32 dev lo");
        until("an address of its own", || {
            client.try_permit(floating).error() == Some(403)
        });
    });
}

/// After exit code 2 a service manager would not restart the server.
#[test]
fn a_failed_discovery_exits_with_1() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    drop(silent);
    let flags = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--external-address",
        "auto",
        "--external-stun",
        &server,
    ];
    let output = command(&flags).output().unwrap();
    let error = crate::stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("{server} of external_stun does not answer")),
        "{error}"
    );
}

/// A relay that refuses public peers is useless, although every other check passes.
#[test]
fn check_warns_of_a_relay_that_refuses_public_peers() {
    if Command::new("ip").arg("-V").output().is_err() || !is_root() {
        return skipped("network namespaces need root and iproute2");
    }
    let space = Namespace::new("refused");
    space.ip("addr add 203.0.113.1/32 dev lo\naddr add 203.0.113.2/32 dev lo");
    // The client looks like another host.
    space.ip("route change local 203.0.113.1 dev lo src 203.0.113.2 table local");
    let checked = |flags: &[&str]| {
        let fixed = [
            "serve",
            "--listen",
            "203.0.113.1:3478",
            "--relay-address",
            "203.0.113.1",
            "--web",
            "off",
        ];
        let login = ["--user", "ann:password", "--admin", "off"];
        let mut server = command(&[&fixed, &login[..], flags].concat());
        let mut server = server
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(server.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(lines.take(20).any(|line| line.contains("iceServers")));
        let url = "turn:203.0.113.1?transport=udp";
        let output = command(&[
            "check",
            url,
            "--user",
            "ann",
            "--password",
            "password",
            "--json",
        ])
        .output()
        .unwrap();
        server.kill().unwrap();
        server.wait().unwrap();
        crate::stdout(&output)
    };
    let (refused, permitted) = space.enter(|| {
        (
            checked(&["--deny-peer", "0.0.0.0/0"]),
            checked(&["--allow-peer", "203.0.113.2"]),
        )
    });
    assert!(
        refused.contains(r#""severity":"warning","code":"public-peers""#),
        "{refused}"
    );
    assert!(!permitted.contains("public-peers"), "{permitted}");
}

/// The `relaying` line of a server with `external_address = "auto"`.
fn relaying() -> String {
    let flags = [
        "serve",
        "--listen",
        "127.0.0.1:3478",
        "--relay-address",
        "10.0.0.5",
        "--external-address",
        "auto",
    ];
    let mut child = command(&flags)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let line = lines.take(20).find(|line| line.starts_with("relaying"));
    child.kill().unwrap();
    child.wait().unwrap();
    line.unwrap_or_default()
}

/// Answers one request as a metadata service that requires `header` and has the address at `path`.
fn answer(mut stream: std::net::TcpStream, path: &str, header: &str) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let lines: Vec<String> = BufReader::new(&stream)
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let request_line = lines.first().cloned().unwrap_or_default();
    let has = |header: &str| lines.iter().any(|line| line.eq_ignore_ascii_case(header));
    let body = match request_line.split(' ').collect::<Vec<_>>()[..] {
        ["PUT", "/latest/api/token", _] if path.starts_with("/latest/") => {
            has("X-aws-ec2-metadata-token-ttl-seconds: 60").then_some("a token")
        }
        ["GET", wanted, _] if wanted == path && (header.is_empty() || has(header)) => {
            Some("203.0.113.7")
        }
        _ => None,
    };
    // The connection stays open, as of a server that ignores Connection: close.
    let (status, body) = body.map_or(("404 Not Found", ""), |body| ("200 OK", body));
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
}

/// Name, path, and required header.
const CLOUDS: [(&str, &str, &str); 5] = [
    (
        "Amazon",
        "/latest/meta-data/public-ipv4",
        "X-aws-ec2-metadata-token: a token",
    ),
    (
        "Google",
        "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip",
        "Metadata-Flavor: Google",
    ),
    (
        "Azure",
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress?api-version=2021-02-01&format=text",
        "Metadata: true",
    ),
    (
        "DigitalOcean",
        "/metadata/v1/interfaces/public/0/ipv4/address",
        "",
    ),
    ("Hetzner", "/hetzner/v1/metadata/public-ipv4", ""),
];
