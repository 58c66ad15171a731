//! Layer 1: STUN and TURN clients in the homes, through a real `hairpin serve`: `hairpin check`,
//! which tests each step separately, behind every kind of router.

use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, Side, Wiring};
use crate::nat::{Behaviour, Nat, Router};
use crate::report::Report;
use crate::serving::{SECRET, Serving, hairpin};

/// Every kind of router, then wrong credentials and a server that is not there.
pub fn run(report: &mut Report) {
    let mut lab = Lab::new(
        Wiring::Apart,
        Router::plain(Nat::Open),
        Router::plain(Nat::Open),
    );
    let serving = Serving::start(&lab, &[]);
    for nat in Nat::ALL {
        let host = if nat == Nat::Ipv6Only {
            "[2001:db8::11]"
        } else {
            "198.18.0.11"
        };
        report.scenario(GROUP, nat, expected(nat), || {
            lab.become_kind(Side::A, Router::plain(nat));
            let before = serving.relayed(&lab);
            let report_json = check(&lab, &format!("turn:{host}:443"), SECRET)?;
            let relayed = serving.relayed(&lab) - before;
            if relayed.stream() == 0 {
                return Err(format!(
                    "the server relayed no packet over TCP: {report_json}"
                ));
            }
            summary(&report_json)
        });
    }
    for (name, url, secret, expected) in [
        (
            "wrong secret",
            "turn:198.18.0.11:443?transport=udp",
            "another secret than the lab's",
            "dead: wrong-credentials",
        ),
        (
            "no server",
            "turn:198.18.0.10:9?transport=tcp",
            SECRET,
            "dead: refused",
        ),
    ] {
        report.scenario(GROUP, name, expected, || {
            lab.become_kind(Side::A, Router::plain(Nat::PortRestricted));
            summary(&check(&lab, url, secret)?)
        });
    }
}

/// UDP and TCP work, or the check names the failure of UDP and TCP works.
fn expected(nat: Nat) -> &'static str {
    match nat.claims() {
        Behaviour::Udp { .. } => "well: udp works, tcp works",
        Behaviour::Blocked { rejected: true, .. } => {
            "ailing: udp-refused, udp-blocked: udp fails, tcp works"
        }
        Behaviour::Blocked {
            rejected: false, ..
        } => "ailing: udp-silent, udp-blocked: udp fails, tcp works",
    }
}

fn check(lab: &Lab, url: &str, secret: &str) -> Result<Value, String> {
    let mut command = Command::new(hairpin());
    command.args(["check", "--json", "--shared-secret", secret, url]);
    let output = lab
        .home(Side::A)
        .enter(|| command.output())
        .map_err(|error| format!("hairpin check: {error}"))?;
    let report_json: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        format!(
            "no report: {error}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let code = match report_json["health"].as_str() {
        Some("well") => 0,
        Some("ailing") => 3,
        _ => 4,
    };
    if output.status.code() == Some(code) {
        Ok(report_json)
    } else {
        Err(format!(
            "exit code {:?}: {report_json}",
            output.status.code()
        ))
    }
}

/// `health: findings: transport works, …`; a failed step of a server that works is an error, and so
/// are permitted private peers.
fn summary(report_json: &Value) -> Result<String, String> {
    let mut parts = vec![report_json["health"].as_str().unwrap_or("?").to_owned()];
    let findings: Vec<&str> = report_json["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|one| one["code"].as_str())
        .collect();
    if !findings.is_empty() {
        parts.push(findings.join(", "));
    }
    let servers = report_json["servers"].as_array().into_iter().flatten();
    let each = servers.filter_map(|server| {
        let steps = server["steps"].as_array()?;
        let failed: Vec<&str> = steps
            .iter()
            .filter(|step| step["outcome"] != "done")
            .filter_map(|step| step["step"].as_str())
            .collect();
        let works = server["works"] == true;
        Some(match (works, failed.is_empty()) {
            (true, true) => format!("{} works", server["transport"].as_str()?),
            // Behind a router that blocks UDP no plain socket can be a peer.
            (true, false) if failed == ["inward"] => {
                format!("{} works", server["transport"].as_str()?)
            }
            (true, false) => format!(
                "{} works but for {}",
                server["transport"].as_str()?,
                failed.join(", ")
            ),
            (false, _) => format!("{} fails", server["transport"].as_str()?),
        })
    });
    let each: Vec<String> = each.collect();
    if each.iter().any(|one| one.ends_with("works")) {
        parts.push(each.join(", "));
    }
    Ok(parts.join(": "))
}

const GROUP: &str = "hairpin check in a home";
