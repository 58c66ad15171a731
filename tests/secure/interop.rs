//! Other implementations of TLS, DTLS and TURN as clients: OpenSSL, coturn, curl.

use crate::support::certificate::{self_signed, shown_serial};
use crate::support::client::{Client, PASSWORD, SERVER_NAME, USER};
use crate::support::directory::Directory;
use crate::support::missing::is_installed;
use crate::support::process::Setup;
use crate::support::relay::{Relay, V4, tls};
use hairpin::net::tls::server::TlsOptions;
use hairpin::relay::WebConnection;
use hairpin::relay::observe::counters::Counters;
use hairpin::turn::counters::Counter;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Runs a program with this input; `None` if it is not installed.
fn run(program: &str, arguments: &[&str], input: &[u8]) -> Option<Output> {
    if !is_installed(program) {
        return None;
    }
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let _ = stdin.write_all(input);
    drop(stdin);
    Some(child.wait_with_output().unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn openssl_completes_a_handshake_of_each_version() {
    let relay = Relay::start_secure(V4, |_| {});
    let address = relay.address.to_string();
    let connect = ["s_client", "-connect", &address];
    for (version, shown) in [
        ("-tls1_2", "TLSv1.2"),
        ("-tls1_3", "TLSv1.3"),
        ("-dtls1_2", "DTLSv1.2"),
    ] {
        let arguments = [&connect[..], &[version, "-servername", SERVER_NAME]].concat();
        let Some(output) = run("openssl", &arguments, b"Q\n") else {
            return;
        };
        let text = text(&output);
        assert!(
            text.contains(shown) && text.contains("CN") && !text.contains("Cipher is (NONE)"),
            "{version}: {text}"
        );
    }
    let output = run(
        "openssl",
        &[&connect[..], &["-alpn", "stun.turn"]].concat(),
        b"Q\n",
    )
    .unwrap();
    assert!(
        text(&output).contains("ALPN protocol: stun.turn"),
        "{}",
        text(&output)
    );
}

#[test]
fn coturns_client_relays_over_tls_and_dtls() {
    let relay = Relay::start_secure(V4, |_| {});
    let port = relay.address.port().to_string();
    for transport in [&["-S", "-t"][..], &["-S"]] {
        let flags = [
            "-u", USER, "-w", PASSWORD, "-y", "-c", "-n", "20", "-m", "2",
        ];
        let arguments = [transport, &flags, &["-p", &port, "127.0.0.1"]].concat();
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
fn curl_reaches_the_web_service_on_the_same_port() {
    let (web_connections, mut accepted) = tokio::sync::mpsc::channel(8);
    let relay = Relay::start(V4, |plan| {
        plan.secure.tls = Some(tls(TlsOptions {
            http: true,
            ..TlsOptions::default()
        }));
        plan.secure.web_connections = Some(web_connections);
    });
    let web = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let connection: WebConnection = accepted.recv().await.unwrap();
            let mut stream = connection.stream;
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let response =
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            stream.write_all(response).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&request[..read]).into_owned()
        })
    });
    let url = format!("https://{}/", relay.address);
    let Some(output) = run("curl", &["-k", "-s", "--max-time", "20", &url], b"") else {
        return;
    };
    assert_eq!(text(&output), "hello");
    assert!(
        web.join().unwrap().starts_with("GET / HTTP/1.1\r\n"),
        "the first octets are not lost"
    );
    relay.tls().allocate_and_exchange(1);
}

#[test]
fn clients_must_show_a_certificate_if_an_authority_is_configured() {
    let directory = Directory::new("client-certificates");
    let authority = self_signed("clients.example");
    let chain = directory.write("chain.pem", &authority.chain);
    let key = directory.write("key.pem", &authority.key);
    let client_authorities =
        hairpin::net::tls::server::parse_authorities(authority.chain.as_bytes()).unwrap();
    let relay = Relay::start(V4, |plan| {
        plan.secure.tls = Some(tls(TlsOptions {
            client_authorities,
            ..TlsOptions::default()
        }))
    });
    let address = relay.address.to_string();
    type Select = fn(&Counters) -> &Counter;
    let versions: [(&str, Select); 2] = [
        ("-tls1_3", |c| &c.tls_handshakes),
        ("-dtls1_2", |c| &c.dtls_handshakes),
    ];
    for (version, counter) in versions {
        let without = ["s_client", version, "-connect", &address];
        if run("openssl", &without, b"Q\n").is_none() {
            return;
        }
        assert_eq!(relay.count(counter), 0, "{version}");
        let with = [&without[..], &["-cert", &chain, "-key", &key]].concat();
        run("openssl", &with, b"Q\n").unwrap();
        assert_eq!(relay.count(counter), 1, "{version}");
    }
}

/// With an RSA certificate alone, DTLS uses a generated one and the log says so; with an additional
/// ECDSA certificate, each client receives a certificate that it can verify.
#[test]
fn rsa_serves_tls_only_and_the_log_names_the_certificate_that_dtls_shows() {
    let directory = Directory::new("rsa");
    let (chain, key) = (directory.text("rsa.pem"), directory.text("rsa.key"));
    let request = [
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &chain,
    ];
    let subject = [
        "-subj",
        "/CN=relay.example",
        "-addext",
        "subjectAltName=DNS:relay.example",
        "-days",
        "30",
    ];
    let Some(made) = run("openssl", &[&request[..], &subject].concat(), b"") else {
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
    let warning = server.wait_for_line("DTLS uses a self-signed certificate");
    assert!(warning.contains("ECDSA"), "{warning}");
    let rsa_serial = shown_serial(server.v4, SERVER_NAME).unwrap();
    Client::tls(server.v4).allocate_and_exchange(2);
    Client::dtls(server.v4).allocate_and_exchange(2);
    drop(server);

    let ecdsa = self_signed(SERVER_NAME);
    let server = rsa()
        .flag("--certificate", &directory.write("ecdsa.pem", &ecdsa.chain))
        .flag("--private-key", &directory.write("ecdsa.key", &ecdsa.key))
        .start();
    assert!(
        !server.printed().contains("DTLS uses"),
        "{}",
        server.printed()
    );
    let address = server.v4.to_string();
    for (signatures, serial) in [
        ("rsa_pss_rsae_sha256", &*rsa_serial),
        ("ECDSA+SHA256", ecdsa.certificate.serial()),
    ] {
        let connect = ["s_client", "-connect", &address, "-servername", SERVER_NAME];
        let shown = run(
            "openssl",
            &[&connect[..], &["-sigalgs", signatures]].concat(),
            b"Q\n",
        );
        let shown = run(
            "openssl",
            &["x509", "-noout", "-serial"],
            &shown.unwrap().stdout,
        )
        .unwrap();
        assert_eq!(
            text(&shown).trim().to_ascii_lowercase(),
            format!("serial={serial}"),
            "{signatures}"
        );
    }
}
