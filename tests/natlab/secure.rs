//! Everything on one address and one port, TLS on 443: page, signaling and relay, from homes that
//! block everything else.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};

use crate::boxed;
use crate::browsers::{between, witnessed_pages};
use crate::calls::{Way, agreed_one, start_peer_at};
use crate::lab::{Lab, Side, Wiring};
use crate::nat::{Nat, Router};
use crate::report::Report;
use crate::serving::Serving;
use crate::support::browser::{Browser, chromium};

/// Peers, `hairpin check` and pages, all over TLS.
pub fn run(report: &mut Report) {
    if !report.wants(GROUP) {
        return;
    }
    if !serves_tls() {
        eprintln!("SKIPPED: {GROUP} in the NAT lab: this hairpin serve takes no --certificate");
        return;
    }
    use Nat::{PortRestricted, UdpDropped};
    let names = Names::issue();
    let mut lab = Lab::new(
        Wiring::Apart,
        Router::plain(UdpDropped),
        Router::plain(PortRestricted),
    );
    let certificate = names.certificate.to_str().expect("a printable path");
    let key = names.key.to_str().expect("a printable path");
    let serving = Serving::start(
        &lab,
        &[
            "--certificate",
            certificate,
            "--private-key",
            key,
            "--web-tls",
        ],
    );
    for (a, b) in [(UdpDropped, PortRestricted), (UdpDropped, UdpDropped)] {
        report.scenario(
            GROUP,
            format!("hairpin peer with hairpin peer, {a} - {b}"),
            RELAYED,
            || {
                lab.become_kind(Side::A, Router::plain(a));
                lab.become_kind(Side::B, Router::plain(b));
                peers(&lab, &serving, &names)
            },
        );
    }
    report.scenario(
        GROUP,
        "hairpin check, UDP dropped",
        "TLS works, certificate verifies",
        || {
            lab.become_kind(Side::A, Router::plain(UdpDropped));
            check(&lab, &names)
        },
    );
    if chromium().is_none() {
        return;
    }
    let pin = format!("--ignore-certificate-errors-spki-list={}", names.pin);
    let flags = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        &pin,
    ];
    let browsers =
        Side::BOTH.map(|side| lab.home(side).enter(|| Browser::launch_with(&[], &flags)));
    report.scenario(
        GROUP,
        "Chromium with Chromium, UDP dropped - port-restricted",
        RELAYED,
        || {
            lab.become_kind(Side::A, Router::plain(UdpDropped));
            lab.become_kind(Side::B, Router::plain(PortRestricted));
            lab.reset_counters();
            let before = serving.relayed(&lab);
            let pages = between(&browsers, PAGE, "", Some(ONLY_TLS));
            let frames = witnessed_pages(&pages, Way::RelayStream)?;
            let relayed = serving.relayed(&lab) - before;
            let sound =
                relayed.tls >= frames && relayed.udp == 0 && lab.carried().home_to_home == 0;
            if sound {
                Ok(RELAYED.into())
            } else {
                Err(format!(
                    "{frames} frames, the server says {relayed:?}, the core {}",
                    lab.carried()
                ))
            }
        },
    );
}

/// Whether the program that is tested was built with secure transports.
fn serves_tls() -> bool {
    let help = std::process::Command::new(crate::serving::hairpin())
        .args(["serve", "--help"])
        .output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--certificate"))
}

fn peers(lab: &Lab, serving: &Serving, names: &Names) -> Result<String, String> {
    lab.reset_counters();
    let before = serving.relayed(lab);
    let ca = names.ca.to_str().expect("a printable path");
    let arguments = ["--media", "--transport", "tls", "--ca", ca];
    let room = format!("tls-{}", lab.carried().turn_tcp + before.tls);
    let peers = Side::BOTH.map(|side| start_peer_at(lab, side, SIGNAL, &room, &arguments));
    let mut exchanged = 0;
    for peer in peers {
        exchanged += agreed_one(
            &peer.join().expect("the thread of a peer")?,
            Way::RelayStream,
        )?;
    }
    let relayed = serving.relayed(lab) - before;
    let sound = relayed.tls >= exchanged / 2 && relayed.tcp == 0 && relayed.udp == 0;
    if sound {
        Ok(RELAYED.into())
    } else {
        Err(format!(
            "{exchanged} exchanged, the server says {relayed:?}"
        ))
    }
}

fn check(lab: &Lab, names: &Names) -> Result<String, String> {
    let mut command = std::process::Command::new(crate::serving::hairpin());
    command
        .args([
            "check",
            "--json",
            "--shared-secret",
            crate::serving::SECRET,
            "turns:turn.test:443",
            "--ca",
        ])
        .arg(&names.ca);
    let output = lab
        .home(Side::A)
        .enter(|| command.output())
        .map_err(|error| error.to_string())?;
    let report_json: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let reached = report_json["servers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|server| server["works"] == true);
    let tls = reached.ok_or_else(|| report_json.to_string())?["tls"].clone();
    let sound = tls["problem"].is_null()
        && tls["version"]
            .as_str()
            .is_some_and(|version| version.starts_with("TLS"));
    if sound && tls["expires_in_days"].as_i64() > Some(0) {
        Ok("TLS works, certificate verifies".into())
    } else {
        Err(tls.to_string())
    }
}

/// A certificate for the relay's name and addresses, issued by an authority of the lab.
struct Names {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    /// Base64 of SHA-256 of the public key, for Chromium's flag that accepts a
    /// certificate with this key.
    pin: String,
}

impl Names {
    fn issue() -> Names {
        let folder = PathBuf::from(boxed::room());
        let (ca, certificate, key) = (
            folder.join("ca.pem"),
            folder.join("certificate.pem"),
            folder.join("key.pem"),
        );
        let authority_key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = authority.self_signed(&authority_key).expect("an authority");
        let server_key = KeyPair::generate().expect("a key");
        let names = ["turn.test", "198.18.0.11", "2001:db8::11"].map(str::to_owned);
        let server = CertificateParams::new(names).expect("names");
        let signed = server
            .signed_by(&server_key, &Issuer::new(authority, authority_key))
            .expect("a certificate");
        std::fs::write(&ca, own.pem()).expect("a file");
        std::fs::write(&certificate, signed.pem()).expect("a file");
        std::fs::write(&key, server_key.serialize_pem()).expect("a file");
        let pin = STANDARD.encode(Sha256::digest(server_key.subject_public_key_info()));
        Names {
            ca,
            certificate,
            key,
            pin,
        }
    }
}

const GROUP: &str = "one address, one port: TLS on 443";
const RELAYED: &str = "relay, TLS";
const SIGNAL: &str = "wss://turn.test/signal";
const PAGE: &str = "https://turn.test";
/// Restricts the page to servers over TLS.
const ONLY_TLS: &str = "
const Original = RTCPeerConnection;
globalThis.RTCPeerConnection = class extends Original {
  constructor(settings) {
    const overTls = (server) => ({ ...server, urls: [server.urls].flat().filter((url) => url.startsWith('turns:')) });
    super({ ...settings, iceServers: settings.iceServers.map(overTls).filter((server) => server.urls.length) });
  }
};";
