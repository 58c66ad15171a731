//! Other people's clients: OpenSSL, coturn's, curl.

use super::server::{Server, V4, certificate};
use hairpin::net::tls::Terms;
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
    for (version, said) in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3"), ("-dtls1_2", "DTLSv1.2")] {
        let arguments = ["s_client", version, "-connect", &address, "-servername", "relay.example"];
        let Some(output) = run("openssl", &arguments, b"Q\n") else { return };
        let text = text(&output);
        assert!(text.contains(said) && text.contains("CN") && !text.contains("Cipher is (NONE)"), "{version}: {text}");
    }
    let arguments = ["s_client", "-connect", &address, "-alpn", "stun.turn"];
    let Some(output) = run("openssl", &arguments, b"Q\n") else { return };
    assert!(text(&output).contains("ALPN protocol: stun.turn"), "{}", text(&output));
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
        let Some(output) = run("turnutils_uclient", &arguments, b"") else { return };
        let text = text(&output);
        assert!(output.status.success(), "{transport:?}: {text}");
        assert!(text.contains("Total lost packets 0"), "{transport:?}: {text}");
    }
}

#[test]
fn curl_finds_the_web_service_on_the_same_port() {
    let (visitors, mut visiting) = tokio::sync::mpsc::channel(8);
    let terms = Terms { http: true, ..Terms::default() };
    let server = Server::with_terms(V4, terms, |plan| plan.secure.visitors = Some(visitors));
    let serving = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let visitor: hairpin::relay::Visitor = visiting.recv().await.unwrap();
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
    let Some(output) = run("curl", &["-k", "-s", "--max-time", "20", &url], b"") else { return };
    assert_eq!(text(&output), "hello");
    assert!(serving.join().unwrap().starts_with("GET / HTTP/1.1\r\n"), "the first octets are not lost");
    super::line::Caller::new(super::line::Line::tls(&server)).echo(1);
}

#[test]
fn clients_must_show_a_certificate_where_an_authority_is_named() {
    let (_, authority, key) = certificate("clients.example");
    let folder = std::env::temp_dir().join(format!("hairpin-clients-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
    std::fs::write(&chain_file, &authority).unwrap();
    std::fs::write(&key_file, key).unwrap();
    let client_authorities = hairpin::net::tls::authorities(authority.as_bytes()).unwrap();
    let server = Server::with_terms(V4, Terms { client_authorities, ..Terms::default() }, |_| {});
    let address = server.address.to_string();
    for (version, counter) in [("-tls1_3", "tls_handshakes"), ("-dtls1_2", "dtls_handshakes")] {
        let without = ["s_client", version, "-connect", &address];
        if run("openssl", &without, b"Q\n").is_none() {
            return;
        }
        assert_eq!(server.count(counter), 0, "{version}");
        let (chain, key) = (chain_file.to_str().unwrap(), key_file.to_str().unwrap());
        let with = ["s_client", version, "-connect", &address, "-cert", chain, "-key", key];
        run("openssl", &with, b"Q\n").unwrap();
        assert_eq!(server.count(counter), 1, "{version}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
