//! What the doctor found: every server, every step, and what is wrong in words. For people and as JSON.
//!
//! The JSON is one object; members are added, never renamed.
//!
//! ```json
//! { "version": 1, "health": "well" | "ailing" | "dead",
//!   "servers": [ { "url": "turn:…", "address": "192.0.2.1:3478", "transport": "udp", "works": true, "reflexive": "…" | null, "relayed": "…" | null,
//!                  "realm": "…" | null, "software": "…" | null, "tls": null | { "version": "TLSv1_3", "expires_in_days": 81, "problem": null },
//!                  "steps": [ { "step": "allocate", "outcome": "done" | "failed" | "skipped", "ms": 1.2 | null, "detail": "…" | null } ] } ],
//!   "findings": [ { "severity": "problem" | "warning" | "note", "code": "wrong-credentials", "where": "turn:… over udp" | null, "message": "…", "advice": "…" | null } ] }
//! ```
//!
//! Steps, in their order: `resolve`, `connect`, `tls` (or DTLS), `binding`, `allocate`, `permission`, `echo` (through the relay to itself), `inward` and `outward` (between the
//! relay and a plain socket of this machine), `channel`, `refresh`, `private-peers`, `release`.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// The whole report. See the module's page for the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this shape.
    pub version: u8,
    /// The judgement.
    pub health: Health,
    /// Each URL over each transport at each address.
    pub servers: Vec<Examined>,
    /// What is wrong, worst first.
    pub findings: Vec<Finding>,
}

/// How well the servers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything that was tried works.
    Well,
    /// Something works, something has a problem.
    Ailing,
    /// Nothing works.
    Dead,
}

/// One server over one transport at one address.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Its URL.
    pub url: String,
    /// Its address, once known.
    pub address: Option<SocketAddr>,
    /// How it was reached.
    pub transport: &'static str,
    /// Whether it does what its URL promises: relays, or answers Binding.
    pub works: bool,
    /// Our address as it sees us.
    pub reflexive: Option<SocketAddr>,
    /// The relayed address that it gave.
    pub relayed: Option<SocketAddr>,
    /// Its realm.
    pub realm: Option<String>,
    /// What it says it is.
    pub software: Option<String>,
    /// Its certificate.
    pub tls: Option<Tls>,
    /// What was done.
    pub steps: Vec<Step>,
}

/// What TLS showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// The version that was settled on.
    pub version: Option<String>,
    /// Days until the certificate expires; negative when it has.
    pub expires_in_days: Option<i64>,
    /// Why the certificate does not verify.
    pub problem: Option<String>,
}

/// One step of an examination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Its name.
    pub step: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub ms: Option<f64>,
    /// What it said.
    pub detail: Option<String>,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It worked.
    Done,
    /// It did not.
    Failed,
    /// It could not be tried here.
    Skipped,
}

/// Something worth saying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// A word for programs.
    pub code: &'static str,
    /// At which server.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// What is the case.
    pub message: String,
    /// What to do.
    pub advice: Option<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Calls fail for it.
    Problem,
    /// Calls work, but it should be looked at.
    Warning,
    /// Good to know.
    Note,
}

impl Report {
    /// The report of these examinations.
    pub fn new(servers: Vec<Examined>, mut findings: Vec<Finding>) -> Report {
        findings.sort_by_key(|finding| finding.severity);
        findings.dedup();
        let problem = findings
            .iter()
            .any(|finding| finding.severity == Severity::Problem);
        let health = match servers.iter().any(|server| server.works) {
            false => Health::Dead,
            true if problem => Health::Ailing,
            true => Health::Well,
        };
        Report {
            version: 1,
            health,
            servers,
            findings,
        }
    }

    /// 0 everything works, 3 something does, 4 nothing does.
    pub fn exit_code(&self) -> ExitCode {
        match self.health {
            Health::Well => ExitCode::SUCCESS,
            Health::Ailing => ExitCode::from(3),
            Health::Dead => ExitCode::from(4),
        }
    }
}

impl Examined {
    /// Nothing has been done yet.
    pub fn new(url: String, transport: &'static str) -> Examined {
        Examined {
            url,
            address: None,
            transport,
            works: false,
            reflexive: None,
            relayed: None,
            realm: None,
            software: None,
            tls: None,
            steps: Vec::new(),
        }
    }

    /// A step that worked.
    pub fn done(&mut self, step: &'static str, took: Duration, detail: Option<String>) {
        let ms = Some((took.as_secs_f64() * 1e6).round() / 1e3);
        self.steps.push(Step {
            step,
            outcome: Outcome::Done,
            ms,
            detail,
        });
    }

    /// A step that did not.
    pub fn failed(&mut self, step: &'static str, why: impl fmt::Display) {
        self.steps.push(Step {
            step,
            outcome: Outcome::Failed,
            ms: None,
            detail: Some(why.to_string()),
        });
    }

    /// A step that could not be tried.
    pub fn skipped(&mut self, step: &'static str, why: impl fmt::Display) {
        self.steps.push(Step {
            step,
            outcome: Outcome::Skipped,
            ms: None,
            detail: Some(why.to_string()),
        });
    }

    /// Whether a step worked.
    pub fn did(&self, step: &str) -> bool {
        self.steps
            .iter()
            .any(|done| done.step == step && done.outcome == Outcome::Done)
    }

    /// Where a finding about it is placed.
    pub fn place(&self) -> String {
        match self.address {
            Some(address) => format!("{} over {} at {}", self.url, self.transport, address.ip()),
            None => self.url.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            writeln!(
                f,
                "{}: {}",
                server.place(),
                if server.works {
                    "works"
                } else {
                    "DOES NOT WORK"
                }
            )?;
            if let Some(tls) = &server.tls {
                let version = tls.version.as_deref().unwrap_or("TLS");
                let expires = tls
                    .expires_in_days
                    .map_or("unknown".to_owned(), |days| format!("in {days} days"));
                writeln!(f, "  {version}, certificate expires {expires}")?;
            }
            let mut table = Table::new();
            table
                .load_style(UTF8_BORDERS_ONLY)
                .set_content_arrangement(ContentArrangement::Dynamic);
            for step in &server.steps {
                let ms = step.ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
                table.add_row([
                    step.step,
                    step.outcome.name(),
                    &ms,
                    step.detail.as_deref().unwrap_or_default(),
                ]);
            }
            writeln!(f, "{table}")?;
        }
        for Finding {
            severity,
            place,
            message,
            advice,
            ..
        } in &self.findings
        {
            write!(f, "{}: {message}", severity.name())?;
            if let Some(place) = place {
                write!(f, " ({place})")?;
            }
            writeln!(f)?;
            if let Some(advice) = advice {
                writeln!(f, "  → {advice}")?;
            }
        }
        let warned = self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Warning);
        f.write_str(match self.health {
            Health::Well if warned => "WELL: everything that was tried works; see the warnings",
            Health::Well => "WELL: everything that was tried works",
            Health::Ailing => "AILING: something works, something does not",
            Health::Dead => "DEAD: nothing works",
        })
    }
}

impl Outcome {
    const fn name(self) -> &'static str {
        match self {
            Outcome::Done => "ok",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        }
    }
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Severity::Problem => "PROBLEM",
            Severity::Warning => "WARNING",
            Severity::Note => "note",
        }
    }
}
