//! Other people's clients: OpenSSL, coturn's, curl.

use super::binary::{relaying, shown};
use crate::support::line::{Caller, Line};
use crate::support::operating::Directory;
use crate::support::process::Setup;
use crate::support::relay::{Server, V4, certificate};
use hairpin::net::tls::server::TlsOptions;
use hairpin::relay::observe::counters::Counters;
use hairpin::turn::counters::Counter;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs a program, or tells that it is not there.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Output> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing");
        eprintln!("SKIPPED: {program} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    Some(child.wait_with_output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_speaks_tls_and_dtls_of_each_version() {
    let server = Server::start(V4, |_| {});
    let address = server.address.to_string();
    for (version, said) in [
        ("-tls1_2", "TLSv1.2"),
        ("-tls1_3", "TLSv1.3"),
        ("-dtls1_2", "DTLSv1.2"),
    ] {
        let arguments = [
            "s_client",
            version,
            "-connect",
            &address,
            "-servername",
            "relay.example",
        ];
        let Some(output) = run("openssl", &arguments, b"Q\n") else {
            return;
        };
        let text = text(&output);
        assert!(
            text.contains(said) && text.contains("CN") && !text.contains("Cipher is (NONE)"),
            "{version}: {text}"
        );
    }
    let arguments = ["s_client", "-connect", &address, "-alpn", "stun.turn"];
    let Some(output) = run("openssl", &arguments, b"Q\n") else {
        return;
    };
    assert!(
        text(&output).contains("ALPN protocol: stun.turn"),
        "{}",
        text(&output)
    );
}

#[test]
fn coturns_client_relays_over_tls_and_dtls() {
    let server = Server::start(V4, |_| {});
    let port = server.address.port().to_string();
    for transport in [&["-S", "-t"][..], &["-S"]] {
        let mut arguments = transport.to_vec();
        arguments.extend([
            "-u",
            "alice",
            "-w",
            "wonderland",
            "-y",
            "-c",
            "-n",
            "20",
            "-m",
            "2",
            "-p",
            &port,
            "127.0.0.1",
        ]);
        let Some(output) = run("turnutils_uclient", &arguments, b"") else {
            return;
        };
        let text = text(&output);
        assert!(output.status.success(), "{transport:?}: {text}");
        assert!(
            text.contains("Total lost packets 0"),
            "{transport:?}: {text}"
        );
    }
}

#[test]
fn curl_finds_the_web_service_on_the_same_port() {
    let (visitors, mut visiting) = tokio::sync::mpsc::channel(8);
    let terms = TlsOptions {
        http: true,
        ..TlsOptions::default()
    };
    let server = Server::with_terms(V4, terms, |plan| {
        plan.secure.web_connections = Some(visitors)
    });
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let visitor: hairpin::relay::WebConnection = visiting.recv().await.unwrap();
            let mut stream = visitor.stream;
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        })
    });
    let url = format!("https://{}/", server.address);
    let Some(output) = run("curl", &["-k", "-s", "--max-time", "20", &url], b"") else {
        return;
    };
    assert_eq!(text(&output), "hello");
    assert!(
        serving.join().unwrap().starts_with("GET / HTTP/1.1\r\n"),
        "the first octets are not lost"
    );
    Caller::new(Line::tls(&server)).echo(1);
}

#[test]
fn clients_must_show_a_certificate_where_an_authority_is_named() {
    let (_, authority, key) = certificate("clients.example");
    let folder = std::env::temp_dir().join(format!("hairpin-clients-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain_file, &authority).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let client_authorities =
        hairpin::net::tls::server::parse_authorities(authority.as_bytes()).unwrap();
    let server = Server::with_terms(
        V4,
        TlsOptions {
            client_authorities,
            ..TlsOptions::default()
        },
        |_| {},
    );
    let address = server.address.to_string();
    type Selector = fn(&Counters) -> &Counter;
    let protocols: [(&str, Selector); 2] = [
        ("-tls1_3", |c| &c.tls_handshakes),
        ("-dtls1_2", |c| &c.dtls_handshakes),
    ];
    for (version, counter) in protocols {
        let without = ["s_client", version, "-connect", &address];
        if run("openssl", &without, b"Q\n").is_none() {
            return;
        }
        assert_eq!(server.count(counter), 0, "{version}");
        let (chain, key) = (chain_file.to_str().unwrap(), key_file.to_str().unwrap());
        let with = [
            "s_client", version, "-connect", &address, "-cert", chain, "-key", key,
        ];
        run("openssl", &with, b"Q\n").unwrap();
        assert_eq!(server.count(counter), 1, "{version}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A server with an RSA certificate says what becomes of DTLS; beside an ECDSA one, each client gets what it can verify.
#[test]
fn rsa_serves_tls_and_what_dtls_shows_instead_is_said() {
    let directory = Directory::new("rsa");
    let path = |name: &str| directory.0.join(name).to_str().unwrap().to_owned();
    let (chain, key) = (path("rsa.pem"), path("rsa.key"));
    let subject = [
        "-subj",
        "/CN=relay.example",
        "-addext",
        "subjectAltName=DNS:relay.example",
        "-days",
        "30",
    ];
    let make = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &chain,
    ];
    let Some(made) = run("openssl", &[&make[..], &subject].concat(), b"") else {
        return;
    };
    assert!(made.status.success(), "{}", text(&made));
    let rsa = || {
        Setup::new()
            .flag("--web", "off")
            .flag("--certificate", &chain)
            .flag("--private-key", &key)
    };
    let server = rsa().start();
    let warned = server.wait_for_line("DTLS shows a certificate of its own");
    assert!(warned.contains("ECDSA"), "{warned}");
    let rsa_serial = shown(server.v4, "relay.example").unwrap();
    relaying(server.v4, "relay.example").echo(2);
    Caller::new(Line::dtls_to(server.v4)).echo(2);
    drop(server);

    let (ecdsa, chain, key) = certificate("relay.example");
    let (chain, key) = (
        directory.write("ecdsa.pem", &chain),
        directory.write("ecdsa.key", &key),
    );
    let server = rsa()
        .flag("--certificate", &chain)
        .flag("--private-key", &key)
        .start();
    assert!(
        !server.printed().contains("DTLS shows"),
        "{}",
        server.printed()
    );
    let address = server.v4.to_string();
    for (signatures, serial) in [
        ("rsa_pss_rsae_sha256", &rsa_serial),
        ("ECDSA+SHA256", &ecdsa.serial().to_owned()),
    ] {
        let arguments = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            "relay.example",
            "-sigalgs",
            signatures,
        ];
        let shown = run("openssl", &arguments, b"Q\n").unwrap();
        let shown = run("openssl", &["x509", "-noout", "-serial"], &shown.stdout).unwrap();
        assert_eq!(
            text(&shown).trim().to_ascii_lowercase(),
            format!("serial={serial}"),
            "{signatures}"
        );
    }
}
