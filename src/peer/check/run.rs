//! Tests every server of a list, over every transport and at every address.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rustls::ClientConfig;

use crate::client::credentials::Credentials;
use crate::client::transport::tls::{self, CertificateRecorder, CertificateStatus};
use crate::client::transport::{ConnectError, Connection, Handshake};
use crate::client::uri::ServerUri;
use crate::peer::check::diagnosis::{self, Observation, diagnose};
use crate::peer::check::exchange::{Exchange, Granted, RequestError};
use crate::peer::check::relay::test_allocation;
use crate::peer::check::report::{Finding, Report, ServerReport, Step, TlsReport};
use crate::turn::Transport;
use crate::turn::client_state::Request;
use crate::wire::ErrorCode;
use crate::wire::attribute::Family;

/// What to test.
#[derive(Clone, Debug)]
pub struct CheckSettings {
    /// The servers.
    pub uris: Vec<ServerUri>,
    /// The credentials for TURN servers.
    pub credentials: Credentials,
    /// A PEM file of additional authorities to trust.
    pub ca_file: Option<PathBuf>,
}

/// Tests all servers. Calls `on_progress` with a description of each.
///
/// # Errors
/// The file of authorities cannot be read.
pub async fn check(
    settings: &CheckSettings,
    mut on_progress: impl FnMut(&str),
) -> io::Result<Report> {
    let (tls, certificates) = tls::recording(settings.ca_file.as_deref())?;
    let mut checker = Checker {
        credentials: &settings.credentials,
        tls,
        certificates,
        findings: Vec::new(),
    };
    let mut servers = Vec::new();
    for uri in &settings.uris {
        let addresses = match uri.resolve().await {
            Ok(addresses) => addresses,
            Err(error) => {
                let mut report = ServerReport::new(uri.to_string(), uri.transport_or_udp());
                report.record_failed(Step::Resolve, &error);
                checker.observe(&report, Observation::Unresolved(&error));
                servers.push(report);
                continue;
            }
        };
        let transports = match uri.transport {
            Some(transport) => vec![transport],
            None => vec![Transport::Udp, Transport::Tcp],
        };
        for transport in transports {
            for address in &addresses {
                let ip = address.ip();
                on_progress(&format!("{uri} over {} at {ip}", transport.name()));
                let endpoint = Endpoint {
                    uri,
                    transport,
                    address: *address,
                };
                servers.push(checker.check_server(&endpoint).await);
            }
        }
    }
    checker.findings.extend(diagnosis::blocked_udp(&servers));
    Ok(Report::new(servers, checker.findings))
}

/// One server over one transport at one address.
struct Endpoint<'a> {
    uri: &'a ServerUri,
    transport: Transport,
    address: SocketAddr,
}

struct Checker<'a> {
    credentials: &'a Credentials,
    tls: Arc<ClientConfig>,
    certificates: Arc<CertificateRecorder>,
    findings: Vec<Finding>,
}

impl Checker<'_> {
    async fn check_server(&mut self, endpoint: &Endpoint<'_>) -> ServerReport {
        let mut report = ServerReport::new(endpoint.uri.to_string(), endpoint.transport);
        report.address = Some(endpoint.address);
        let Some(connection) = self.connect(&mut report, endpoint).await else {
            return report;
        };
        let mut exchange = Exchange::new(connection, None);
        match exchange.request(Request::Binding).await {
            Ok(Granted { answer, took }) => {
                let detail = answer.mapped.map(|mapped| format!("you are {mapped}"));
                report.record_done(Step::Binding, took, detail);
                report.reflexive = answer.mapped;
                report.software = answer.software;
                report.works = !endpoint.uri.relays;
            }
            Err(error) => {
                report.record_failed(Step::Binding, &error);
                self.observe(&report, Observation::BindingFailed(&error));
                // Some servers refuse Binding without credentials and still relay. After silence
                // nothing else can work.
                if !matches!(error, RequestError::Refused(_)) {
                    return report;
                }
            }
        }
        if endpoint.uri.relays {
            self.check_relay(&mut report, endpoint).await;
        }
        report
    }

    /// Connects, and records the steps of that.
    async fn connect(
        &mut self,
        report: &mut ServerReport,
        endpoint: &Endpoint<'_>,
    ) -> Option<Connection> {
        let started = Instant::now();
        let opened = self.open(endpoint).await;
        match opened {
            Some(Ok((connection, handshake))) => {
                self.record_handshake(report, endpoint, handshake);
                Some(connection)
            }
            Some(Err(ConnectError::Socket(error))) if is_unroutable(&error) => {
                report.record_skipped(Step::Connect, "this machine has no route to that address");
                self.observe(report, Observation::NoRoute);
                None
            }
            Some(Err(error)) => {
                let step = match error {
                    ConnectError::Socket(_) => Step::Connect,
                    ConnectError::Tls(_) | ConnectError::Dtls(_) => Step::Tls,
                };
                report.record_failed(step, &error);
                self.observe(report, Observation::ConnectFailed(&error));
                None
            }
            None => {
                let seconds = started.elapsed().as_secs();
                report.record_failed(Step::Connect, format!("no answer within {seconds} s"));
                self.observe(report, Observation::ConnectTimedOut);
                None
            }
        }
    }

    /// Opens a connection; `None` if that takes longer than [`CONNECT_TIMEOUT`].
    async fn open(
        &self,
        endpoint: &Endpoint<'_>,
    ) -> Option<Result<(Connection, Handshake), ConnectError>> {
        let open = Connection::open(
            endpoint.transport,
            endpoint.address,
            &endpoint.uri.host,
            &self.tls,
        );
        tokio::time::timeout(CONNECT_TIMEOUT, open).await.ok()
    }

    fn record_handshake(
        &mut self,
        report: &mut ServerReport,
        endpoint: &Endpoint<'_>,
        handshake: Handshake,
    ) {
        if let Some(certificate) = handshake.certificate {
            self.certificates
                .record_without_chain(certificate, &endpoint.uri.host);
        }
        let certificate = self.certificates.take();
        if let Some(took) = handshake.tcp {
            report.record_done(Step::Connect, took, None);
        }
        if let Some(took) = handshake.tls {
            let version = handshake.version.map(|version| format!("{version:?}"));
            report.record_done(Step::Tls, took, version.clone());
            report.tls = Some(tls_report(certificate, version));
            self.findings.extend(diagnosis::certificate(report));
        }
    }

    /// Creates an allocation on a second connection, and tests it.
    async fn check_relay(&mut self, report: &mut ServerReport, endpoint: &Endpoint<'_>) {
        let login = self.credentials.login(DAY);
        let Some(Ok((connection, _))) = self.open(endpoint).await else {
            report.record_failed(Step::Allocate, "the second connection could not be opened");
            return self.observe(report, Observation::SecondConnectionFailed);
        };
        let mut exchange = Exchange::new(connection, login.clone());
        let allocated = allocate(&mut exchange, endpoint.address).await;
        report.realm = exchange.realm().map(str::to_owned);
        let Granted { answer, took } = match allocated {
            Ok(granted) => granted,
            Err(error) => {
                report.record_failed(Step::Allocate, &error);
                let is_far_expiry_granted = self.is_far_expiry_granted(endpoint, &error).await;
                let observation = Observation::AllocateFailed {
                    error: &error,
                    login: login.as_ref(),
                    is_far_expiry_granted,
                };
                return self.observe(report, observation);
            }
        };
        let Some(relayed) = answer.relayed else {
            report.record_failed(Step::Allocate, "a response without XOR-RELAYED-ADDRESS");
            return self.observe(report, Observation::NoRelayedAddress);
        };
        report.relayed = Some(relayed);
        report.record_done(Step::Allocate, took, Some(format!("relayed {relayed}")));
        let findings = test_allocation(report, &mut exchange, relayed, endpoint.address).await;
        self.findings.extend(findings);
        self.findings.extend(diagnosis::allocation(report));
    }

    /// Returns true if the server refused credentials that expire in a day, but grants credentials
    /// that expire in ten years: its clock is ahead.
    async fn is_far_expiry_granted(&self, endpoint: &Endpoint<'_>, error: &RequestError) -> bool {
        let is_unauthenticated = matches!(error, RequestError::Refused(refusal)
            if [ErrorCode::UNAUTHENTICATED, ErrorCode::WRONG_CREDENTIALS].contains(&refusal.code));
        let is_time_limited = matches!(self.credentials, Credentials::SharedSecret { .. });
        if !is_unauthenticated || !is_time_limited {
            return false;
        }
        let Some(Ok((connection, _))) = self.open(endpoint).await else {
            return false;
        };
        let mut exchange = Exchange::new(connection, self.credentials.login(TEN_YEARS));
        let is_granted = allocate(&mut exchange, endpoint.address).await.is_ok();
        if is_granted {
            let _released = exchange.request(Request::Refresh { lifetime: 0 }).await;
        }
        is_granted
    }

    fn observe(&mut self, report: &ServerReport, observation: Observation) {
        self.findings.push(diagnose(report, observation));
    }
}

/// Creates an allocation in the family of the server's address, or in IPv4 if the server has no
/// other.
async fn allocate(exchange: &mut Exchange, server: SocketAddr) -> Result<Granted, RequestError> {
    let request = |family| Request::Allocate {
        family,
        lifetime: None,
    };
    let family = server.is_ipv6().then_some(Family::V6);
    match exchange.request(request(family)).await {
        Err(RequestError::Refused(refusal))
            if family.is_some() && refusal.code == ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED =>
        {
            exchange.request(request(None)).await
        }
        outcome => outcome,
    }
}

fn tls_report(certificate: Option<CertificateStatus>, version: Option<String>) -> TlsReport {
    let days_left = |not_after: SystemTime| match not_after.duration_since(SystemTime::now()) {
        Ok(left) => (left.as_secs() / DAY.as_secs()) as i64,
        Err(past) => -((past.duration().as_secs() / DAY.as_secs()) as i64) - 1,
    };
    let not_after = certificate
        .as_ref()
        .and_then(|certificate| certificate.not_after);
    TlsReport {
        version,
        expires_in_days: not_after.map(days_left),
        problem: certificate
            .and_then(|certificate| certificate.problem)
            .map(|problem| problem.to_string()),
    }
}

fn is_unroutable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable
    )
}

/// Time limit of connecting, handshakes included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3_600);
const TEN_YEARS: Duration = Duration::from_secs(3_650 * 24 * 3_600);
