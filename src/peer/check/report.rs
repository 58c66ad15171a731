//! The report of `hairpin check`: every server, every step, and the findings, as text and as JSON.
//!
//! The JSON is one object. Members are added, never renamed.
//!
//! ```json
//! { "version": 1, "health": "well" | "ailing" | "dead",
//!   "servers": [ { "url": "turn:…", "address": "192.0.2.1:3478", "transport": "udp", "works": true, "reflexive": "…" | null, "relayed": "…" | null,
//!                  "realm": "…" | null, "software": "…" | null, "tls": null | { "version": "TLSv1_3", "expires_in_days": 81, "problem": null },
//!                  "steps": [ { "step": "allocate", "outcome": "done" | "failed" | "skipped", "ms": 1.2 | null, "detail": "…" | null } ] } ],
//!   "findings": [ { "severity": "problem" | "warning" | "note", "code": "wrong-credentials", "where": "turn:… over udp" | null, "message": "…", "advice": "…" | null } ] }
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;

use crate::peer::table::bordered_table;
use crate::turn::Transport;

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this format.
    pub version: u8,
    /// The overall result.
    pub health: Health,
    /// Every URI over every transport at every address.
    pub servers: Vec<ServerReport>,
    /// What is wrong, the worst first.
    pub findings: Vec<Finding>,
}

/// The overall result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Everything that was tested works.
    Well,
    /// Some servers work, and there are problems.
    Ailing,
    /// No server works.
    Dead,
}

/// One server over one transport at one address.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// The URI.
    pub url: String,
    /// The address, once resolved.
    pub address: Option<SocketAddr>,
    /// The name of the transport.
    pub transport: &'static str,
    /// The server does what its URI promises: it relays, or answers Binding.
    pub works: bool,
    /// Our address as the server sees it.
    pub reflexive: Option<SocketAddr>,
    /// The relayed address that it allocated.
    pub relayed: Option<SocketAddr>,
    /// The realm of its challenge.
    pub realm: Option<String>,
    /// Its SOFTWARE attribute.
    pub software: Option<String>,
    /// The TLS or DTLS handshake.
    pub tls: Option<TlsReport>,
    /// Every step, in order.
    pub steps: Vec<StepReport>,
}

/// A TLS or DTLS handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsReport {
    /// The negotiated version.
    pub version: Option<String>,
    /// Days until the certificate expires, negative after that.
    pub expires_in_days: Option<i64>,
    /// Why the certificate does not verify.
    pub problem: Option<String>,
}

/// What is tested, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The host name is resolved.
    Resolve,
    /// TCP connects.
    Connect,
    /// TLS or DTLS shakes hands.
    Tls,
    /// A Binding request is answered.
    Binding,
    /// An allocation is created.
    Allocate,
    /// A permission for the relayed address itself is installed.
    Permission,
    /// A packet sent through the relay to the relayed address returns.
    Echo,
    /// A packet from a plain socket of this machine reaches us through the relayed address.
    Inward,
    /// A packet sent through the relay reaches that socket.
    Outward,
    /// A packet sent on a channel to the relayed address returns.
    Channel,
    /// The allocation is refreshed.
    Refresh,
    /// Permissions for private addresses are requested: a public relay should refuse them.
    PrivatePeers,
    /// The allocation is deleted.
    Release,
}

/// The result of one step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// Whether it worked.
    pub outcome: StepOutcome,
    /// Milliseconds that it took.
    pub ms: Option<f64>,
    /// What it returned, or why it failed.
    pub detail: Option<String>,
}

/// Whether a step worked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// It worked.
    Done,
    /// It failed.
    Failed,
    /// It could not be tested here.
    Skipped,
}

/// A problem, a warning or a note about a server or about the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name for programs.
    pub code: &'static str,
    /// The server; `None` if the finding concerns all of them.
    #[serde(rename = "where")]
    pub server: Option<String>,
    /// What is the case.
    pub message: String,
    /// What to do.
    pub advice: Option<&'static str>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Calls fail.
    Problem,
    /// Calls work, but something should be changed.
    Warning,
    /// No fault, but notable.
    Note,
}

impl Report {
    /// Sorts the findings and judges.
    pub fn new(servers: Vec<ServerReport>, mut findings: Vec<Finding>) -> Report {
        findings.sort_by_key(|finding| finding.severity);
        findings.dedup();
        let has_problem = findings
            .iter()
            .any(|finding| finding.severity == Severity::Problem);
        let health = match servers.iter().any(|server| server.works) {
            false => Health::Dead,
            true if has_problem => Health::Ailing,
            true => Health::Well,
        };
        Report {
            version: 1,
            health,
            servers,
            findings,
        }
    }

    /// 0 if everything works, 3 if something fails, 4 if nothing works.
    pub fn exit_code(&self) -> ExitCode {
        match self.health {
            Health::Well => ExitCode::SUCCESS,
            Health::Ailing => ExitCode::from(3),
            Health::Dead => ExitCode::from(4),
        }
    }
}

impl ServerReport {
    /// A report without any step.
    pub fn new(url: String, transport: Transport) -> ServerReport {
        ServerReport {
            url,
            address: None,
            transport: transport.name(),
            works: false,
            reflexive: None,
            relayed: None,
            realm: None,
            software: None,
            tls: None,
            steps: Vec::new(),
        }
    }

    /// Records a step that worked.
    pub fn record_done(&mut self, step: Step, took: Duration, detail: Option<String>) {
        self.steps.push(StepReport {
            step,
            outcome: StepOutcome::Done,
            ms: Some((took.as_secs_f64() * 1e6).round() / 1e3),
            detail,
        });
    }

    /// Records a step that failed.
    pub fn record_failed(&mut self, step: Step, reason: impl fmt::Display) {
        self.steps.push(StepReport {
            step,
            outcome: StepOutcome::Failed,
            ms: None,
            detail: Some(reason.to_string()),
        });
    }

    /// Records a step that could not be tested.
    pub fn record_skipped(&mut self, step: Step, reason: impl fmt::Display) {
        self.steps.push(StepReport {
            step,
            outcome: StepOutcome::Skipped,
            ms: None,
            detail: Some(reason.to_string()),
        });
    }

    /// Returns true if the step was tested and worked.
    pub fn passed(&self, step: Step) -> bool {
        self.steps
            .iter()
            .any(|result| result.step == step && result.outcome == StepOutcome::Done)
    }

    /// The server in a finding: URI, transport and address.
    pub fn label(&self) -> String {
        match self.address {
            Some(address) => format!("{} over {} at {}", self.url, self.transport, address.ip()),
            None => self.url.clone(),
        }
    }
}

impl Finding {
    /// A problem of no particular server.
    pub fn problem(
        code: &'static str,
        message: impl Into<String>,
        advice: &'static str,
    ) -> Finding {
        Finding {
            severity: Severity::Problem,
            code,
            server: None,
            message: message.into(),
            advice: Some(advice),
        }
    }

    /// The same with another severity.
    pub fn with_severity(self, severity: Severity) -> Finding {
        Finding { severity, ..self }
    }

    /// The same about one server.
    pub fn about(self, server: &ServerReport) -> Finding {
        Finding {
            server: Some(server.label()),
            ..self
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for server in &self.servers {
            write!(f, "{server}")?;
        }
        for finding in &self.findings {
            write!(f, "{finding}")?;
        }
        let has_warning = self
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Warning);
        f.write_str(match self.health {
            Health::Well if has_warning => "everything that was tested works; see the warnings",
            Health::Well => "everything that was tested works",
            Health::Ailing => "some of it works; see the problems",
            Health::Dead => "nothing works",
        })
    }
}

impl fmt::Display for ServerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match self.works {
            true => "works",
            false => "does not work",
        };
        writeln!(f, "{}: {result}", self.label())?;
        if let Some(tls) = &self.tls {
            let version = tls.version.as_deref().unwrap_or("TLS");
            let expires = match tls.expires_in_days {
                Some(days) => format!("in {days} days"),
                None => "at an unknown date".to_owned(),
            };
            writeln!(f, "  {version}, certificate expires {expires}")?;
        }
        let mut table = bordered_table();
        for step in &self.steps {
            let ms = step.ms.map_or_else(String::new, |ms| format!("{ms:.1} ms"));
            table.add_row([
                step.step.name(),
                step.outcome.name(),
                &ms,
                step.detail.as_deref().unwrap_or_default(),
            ]);
        }
        writeln!(f, "{table}")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.name(), self.message)?;
        if let Some(server) = &self.server {
            write!(f, " ({server})")?;
        }
        writeln!(f)?;
        match self.advice {
            Some(advice) => writeln!(f, "  → {advice}"),
            None => Ok(()),
        }
    }
}

impl Step {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Step::Resolve => "resolve",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Binding => "binding",
            Step::Allocate => "allocate",
            Step::Permission => "permission",
            Step::Echo => "echo",
            Step::Inward => "inward",
            Step::Outward => "outward",
            Step::Channel => "channel",
            Step::Refresh => "refresh",
            Step::PrivatePeers => "private-peers",
            Step::Release => "release",
        }
    }
}

impl StepOutcome {
    const fn name(self) -> &'static str {
        match self {
            StepOutcome::Done => "ok",
            StepOutcome::Failed => "failed",
            StepOutcome::Skipped => "skipped",
        }
    }
}

impl Severity {
    const fn name(self) -> &'static str {
        match self {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}
