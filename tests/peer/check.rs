//! `hairpin check` against coturn: a healthy server, and every fault that loopback can have.

use std::time::{SystemTime, UNIX_EPOCH};

use hairpin::client::credentials::Credentials;
use hairpin::peer::check::report::{Health, Report, Severity, Step, StepOutcome};
use hairpin::peer::check::run::{CheckSettings, check};
use hairpin::turn::client_state::Login;

use crate::coturn::Coturn;

async fn run_check(
    urls: &[String],
    credentials: Credentials,
    ca: Option<&std::path::Path>,
) -> Report {
    let urls = urls.iter().map(|url| url.parse().unwrap()).collect();
    check(
        &CheckSettings {
            uris: urls,
            credentials,
            ca_file: ca.map(Into::into),
        },
        |_| {},
    )
    .await
    .unwrap()
}

fn login(username: &str, password: &str) -> Credentials {
    Credentials::Login(Login {
        username: username.into(),
        password: password.into(),
    })
}

fn codes(report: &Report) -> Vec<&'static str> {
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Problem)
        .map(|finding| finding.code)
        .collect()
}

#[tokio::test]
async fn a_healthy_server_passes_every_step_over_udp_and_tcp() {
    let Some(coturn) = Coturn::start(&STATIC_USER) else {
        return;
    };
    let report = run_check(
        &[format!("turn:127.0.0.1:{}", coturn.port)],
        login("user", "pass"),
        None,
    )
    .await;
    assert_eq!(
        (report.health, report.servers.len()),
        (Health::Well, 2),
        "{report}"
    );
    for server in &report.servers {
        assert!(
            server
                .steps
                .iter()
                .all(|step| step.outcome == StepOutcome::Done),
            "{report}"
        );
        for step in [
            Step::Binding,
            Step::Allocate,
            Step::Permission,
            Step::Echo,
            Step::Inward,
            Step::Outward,
            Step::Channel,
            Step::Refresh,
            Step::Release,
        ] {
            assert!(server.passed(step), "{}: {report}", step.name());
        }
        assert!(
            server.relayed.is_some()
                && server.reflexive.is_some()
                && server.realm.as_deref() == Some("test")
        );
    }
    let warned = report
        .findings
        .iter()
        .any(|finding| finding.code == "private-peers");
    assert!(warned, "coturn permits private peers by default: {report}");
}

#[tokio::test]
async fn a_wrong_password_a_wrong_secret_and_an_expired_username_are_distinguished() {
    let Some(coturn) = Coturn::start(&[
        "--use-auth-secret",
        "--static-auth-secret=north",
        "--no-tls",
        "--no-dtls",
    ]) else {
        return;
    };
    let url = [format!("turn:127.0.0.1:{}?transport=udp", coturn.port)];
    let secret = |secret: &str| Credentials::SharedSecret {
        secret: secret.into(),
        user: Some("me".into()),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expired = format!("{}:me", now - 5);
    let expired_password =
        hairpin::turn::policy::credentials::password("north", &expired).to_string();
    for (credentials, code) in [
        (secret("south"), "wrong-credentials"),
        (
            login(&format!("{}:me", now + 500), "guess"),
            "wrong-credentials",
        ),
        (login(&expired, &expired_password), "expired"),
        (Credentials::None, "credentials-needed"),
    ] {
        let report = run_check(&url, credentials, None).await;
        assert_eq!(
            (codes(&report), report.health),
            (vec![code], Health::Dead),
            "{report}"
        );
    }
    // The secret is right; this relay may not reach loopback, so that no data passes.
    let report = run_check(&url, secret("north"), None).await;
    assert!(report.servers[0].passed(Step::Allocate), "{report}");
}

#[tokio::test]
async fn blocked_udp_is_reported_if_tcp_works() {
    let Some(coturn) = Coturn::start(&[&STATIC_USER[..], &["--no-udp"]].concat()) else {
        return;
    };
    let report = run_check(
        &[format!("turn:127.0.0.1:{}", coturn.port)],
        login("user", "pass"),
        None,
    )
    .await;
    assert_eq!(report.health, Health::Ailing, "{report}");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.code == "udp-blocked"),
        "{report}"
    );
}

#[tokio::test]
async fn version_and_certificate_of_tls_are_reported() {
    let directory = std::env::temp_dir().join(format!("hairpin-check-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (ca, certificate, key) = (
        directory.join("ca.pem"),
        directory.join("cert.pem"),
        directory.join("key.pem"),
    );
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(&ca, authority.self_signed(&authority_key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let mut server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    server.not_after = rcgen::date_time_ymd(2099, 1, 1);
    std::fs::write(
        &certificate,
        server.signed_by(&server_key, &issuer).unwrap().pem(),
    )
    .unwrap();
    std::fs::write(&key, server_key.serialize_pem()).unwrap();

    let tls_port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let files = [
        format!("--cert={}", certificate.display()),
        format!("--pkey={}", key.display()),
    ];
    let further = [
        "--lt-cred-mech",
        "-u",
        "user:pass",
        "--allow-loopback-peers",
        "--tls-listening-port",
        &tls_port,
    ];
    let further = [&further[..], &[&files[0], &files[1]]].concat();
    let Some(_coturn) = Coturn::start(&further) else {
        return;
    };
    let url = [format!("turns:127.0.0.1:{tls_port}")];
    let trusted = run_check(&url, login("user", "pass"), Some(&ca)).await;
    assert_eq!(trusted.health, Health::Well, "{trusted}");
    let tls = trusted.servers[0].tls.clone().unwrap();
    assert!(tls.version.unwrap().starts_with("TLS") && tls.problem.is_none());
    assert!((20_000..40_000).contains(&tls.expires_in_days.unwrap()));
    let unknown = run_check(&url, login("user", "pass"), None).await;
    assert_eq!(
        (codes(&unknown), unknown.health),
        (vec!["certificate"], Health::Ailing),
        "{unknown}"
    );
    // The chain is not visible over DTLS, so that an unknown authority is no finding; name and
    // dates are verified.
    let dtls = run_check(
        &[format!("turns:127.0.0.1:{tls_port}?transport=udp")],
        login("user", "pass"),
        None,
    )
    .await;
    assert_eq!(
        (codes(&dtls), dtls.health),
        (vec![], Health::Well),
        "{dtls}"
    );
    let shown = dtls.servers[0].tls.clone().unwrap();
    assert!(
        shown.version.unwrap().starts_with("DTLS") && shown.problem.is_none(),
        "{dtls}"
    );
    assert!(
        dtls.servers[0].passed(Step::Tls) && dtls.servers[0].passed(Step::Outward),
        "{dtls}"
    );
    let other = run_check(
        &[format!("turns:localhost:{tls_port}?transport=udp")],
        login("user", "pass"),
        None,
    )
    .await;
    assert!(codes(&other).contains(&"certificate"), "{other}");
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn a_closed_port_and_another_service_are_distinguished() {
    let refused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in other.incoming() {
            use std::io::{Read, Write};
            let mut stream = stream.unwrap();
            let _request = stream.read(&mut [0; 64]);
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    for (url, code) in [
        (format!("turn:127.0.0.1:{refused}?transport=tcp"), "refused"),
        (format!("stun:127.0.0.1:{refused}"), "udp-refused"),
        (format!("turn:127.0.0.1:{port}?transport=tcp"), "not-stun"),
        (format!("turns:127.0.0.1:{port}"), "tls"),
        (format!("turns:127.0.0.1:{refused}?transport=udp"), "dtls"),
        ("stun:no-such-host.invalid".to_owned(), "unresolved"),
    ] {
        let report = run_check(&[url], login("user", "pass"), None).await;
        assert_eq!(
            (codes(&report), report.health),
            (vec![code], Health::Dead),
            "{report}"
        );
    }
}

const STATIC_USER: [&str; 6] = [
    "--lt-cred-mech",
    "-u",
    "user:pass",
    "--allow-loopback-peers",
    "--no-tls",
    "--no-dtls",
];
