//! `hairpin serve`: the server, from its configuration to its end.
//!
//! ```text
//!   flags ─► Layer ─► Settings ─► predecessor prepares ─► listeners ─► relay ─► startup report
//!                                                                                    │
//!   usage records written ◄── services stop ◄── drained ◄── RunningServer: signals, admin commands, handover
//! ```

mod error;
mod handover;
mod listeners;
mod server;
mod signals;
mod startup_report;
mod systemd;

use crate::cli::flags::Flags;
use crate::cli::output::{config_error, failure, print_error};
use crate::cli::serve::error::ServeError;
use crate::cli::serve::handover::Predecessor;
use crate::cli::serve::listeners::{PortSharing, ServiceListeners, check_relay_address};
use crate::cli::serve::server::{RunningServer, ServerParts, WatchedCertificates};
use crate::cli::serve::signals::Signals;
use crate::cli::serve::startup_report::{print_report, web_settings};
use crate::cli::serve::systemd::notify;
use crate::cli::{ice_servers, logs};
use crate::config::layer::misspelled_variables;
use crate::config::value::AdminAddress;
use crate::config::{HostInfo, Settings, resolve};
use crate::net::host::fd_limit;
use crate::relay::observe::allocation_log::UsageSender;
use crate::relay::supervisor::failure::panic_message;
use crate::relay::{Supervisor, WebConnection};
use crate::service::acme::Acme;
use crate::service::admin::{self, AccessControl, AdminState, CommandSender, DrainState, Exposure};
use crate::service::certificates::CertificateStore;
use crate::service::usage::{self, UsageCounters};
use crate::service::web::{ConnectionInfo, Web};
use clap::Args;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Run a STUN and TURN server
///
/// Without any option the server listens on port 3478, generates a shared secret, and prints an
/// iceServers object for new RTCPeerConnection(…). Every option is an environment variable and a
/// key of the configuration file too.
#[derive(Args, Clone, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Runs the server until a signal or an admin command stops it.
pub(super) fn run(args: &Serve) -> ExitCode {
    // Every allocation has a socket, so the soft limit of file descriptors is raised to the hard
    // limit.
    fd_limit::raise(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    print_panics_in_one_line();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(ServeError::Runtime(error)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(ServeError::Config(error)) => config_error(&error),
        // The panic hook has printed it.
        Err(ServeError::Shard(_)) => ExitCode::FAILURE,
        Err(error) => failure(&error),
    }
}

/// Prints a panic as one line, such as `error: shard-1 panicked at src/wire/message.rs:70:22: …`.
/// The line names the thread.
fn print_panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("a thread");
        let message = panic_message(panic.payload()).replace('\n', " ");
        match panic.location() {
            Some(at) => print_error(&format_args!("error: {name} panicked at {at}: {message}")),
            None => print_error(&format_args!("error: {name} panicked: {message}")),
        }
    }));
}

async fn serve(args: &Serve) -> Result<(), ServeError> {
    let layer = args.flags.load()?;
    let host = HostInfo::detect(ice_servers::random_secret()).with_public_addresses(&layer);
    let mut settings = resolve(&layer, &host)?;
    let (log_filter, _log_guard) = logs::start(&settings.logs);
    log_warnings(&settings);
    // Before anything listens, so that no signal is missed from then on.
    let signals = Signals::new().map_err(ServeError::Signals)?;

    let predecessor = Predecessor::connect(settings.handover.as_deref()).await?;
    settings.plan.takes_over = predecessor.is_some();
    let sharing = match (&predecessor, &settings.handover) {
        (Some(_), _) => PortSharing::WithPredecessor,
        (None, Some(_)) => PortSharing::WithSuccessor,
        (None, None) => PortSharing::Exclusive,
    };
    let listeners = ServiceListeners::bind(&settings, &layer, sharing)?;
    settings.plan.policy.own_addresses.listeners = listeners.addresses();
    for relay in &settings.plan.policy.relay_addresses {
        check_relay_address(relay.local)?;
    }

    let (usage_sender, usage_records) = UsageSender::channel(USAGE_QUEUE);
    let usage_counters = Arc::new(UsageCounters::new(usage_sender.lost()));
    if settings.usage.is_enabled() {
        settings.plan.allocation_log.usage = Some(usage_sender);
    }
    let (web_sender, web_connections) = mpsc::channel(WEB_QUEUE);
    // Only the operator's word puts HTTP on the public listeners: a page that is meant for this
    // host must not appear there.
    if settings.web.tls {
        settings.plan.secure.web_connections = Some(web_sender);
    }
    // Before anything listens: the predecessor's clients reconnect at once, and need a certificate.
    let certificates = certificates(&settings).map_err(ServeError::Certificates)?;
    let relay = Supervisor::start(settings.plan.clone()).map_err(ServeError::Relay)?;
    let relay = Arc::new(relay);
    let handover_socket = handover::open_socket(settings.handover.as_deref())?;
    if let Some(predecessor) = predecessor {
        predecessor.complete().await;
    }
    let certificates = certificates.map(|certificates| {
        if let Some(acme) = settings.tls.acme.clone() {
            tokio::spawn(acme.renew(certificates.clone()));
        }
        WatchedCertificates::watch(certificates)
    });
    print_report(&settings, &relay, &host, &listeners.report()).map_err(ServeError::Print)?;
    notify("READY=1");

    let (stop_services, stopped) = watch::channel(false);
    let mut services = JoinSet::new();
    // The plan must not keep a sender: the records end when the last shard has dropped its own.
    let usage_task = settings.plan.allocation_log.usage.take().map(|_| {
        let relay = Arc::downgrade(&relay);
        let counters = usage_counters.clone();
        tokio::spawn(usage::run(
            settings.usage.clone(),
            relay,
            usage_records,
            counters,
        ))
    });
    let drain = Arc::new(DrainState::default());
    let (commands, received_commands) = CommandSender::channel();
    if let Some(listener) = listeners.admin {
        let admin = AdminState {
            relay: relay.clone(),
            drain: drain.clone(),
            usage: usage_counters,
            lifetimes: settings.plan.allocation_log.lifetimes.clone(),
            commands,
            access: access_control(&settings),
        };
        services.spawn(admin::serve(
            admin,
            listener,
            wait_for_stop(stopped.clone()),
        ));
    }
    let web = match settings.web.is_enabled() {
        true => {
            let web = Web::new(web_settings(&settings, &relay, &host)).map_err(ServeError::Web)?;
            if settings.web.tls {
                services.spawn(serve_web_connections(
                    web_connections,
                    web.clone(),
                    stopped.clone(),
                ));
            }
            services.spawn(serve_web(listeners.web, web.clone(), stopped));
            Some(web)
        }
        false => None,
    };
    let server = RunningServer::new(ServerParts {
        flags: args.flags.clone(),
        host,
        layer,
        settings,
        relay: relay.clone(),
        web,
        certificates,
        log_filter,
        drain,
        stop_services: stop_services.clone(),
    });
    let outcome = server
        .run(signals, received_commands, handover_socket)
        .await;

    notify("STOPPING=1");
    let _ = stop_services.send(true);
    stop(services).await;
    // Stops the shards, which ends the usage records.
    drop(relay);
    if let Some(task) = usage_task {
        task.await
            .map_err(ServeError::UsageTask)?
            .map_err(ServeError::Usage)?;
    }
    outcome.map_err(ServeError::Shard)
}

/// Logs probable mistakes and notable settings.
fn log_warnings(settings: &Settings) {
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, nearest) in misspelled_variables(variables) {
        tracing::warn!("unknown environment variable {name} is ignored; the nearest is {nearest}");
    }
    for warning in settings.warnings.iter().chain(&settings.advice) {
        tracing::warn!("{warning}");
    }
}

/// The certificates for the first handshakes: from the files, and from an ACME order of an earlier
/// run.
fn certificates(settings: &Settings) -> io::Result<Option<CertificateStore>> {
    let Some(tls) = settings.plan.secure.tls.clone() else {
        return Ok(None);
    };
    if !tls.certificates().is_empty() && tls.dtls_certificate(None).is_none() {
        tracing::warn!(
            "DTLS uses a self-signed certificate: it supports only ECDSA keys over P-256 and P-384"
        );
    }
    let certificates = CertificateStore::new(tls, settings.tls.files.clone());
    if let Some(stored) = settings
        .tls
        .acme
        .as_ref()
        .and_then(Acme::stored_certificate)
    {
        certificates.add_issued(stored)?;
    }
    Ok(Some(certificates))
}

/// Without a token the admin API trusts loopback and UNIX sockets only.
fn access_control(settings: &Settings) -> AccessControl {
    let exposure = match &settings.admin {
        Some(AdminAddress::Tcp(address)) if !address.ip().is_loopback() => Exposure::AnyHost,
        Some(AdminAddress::Tcp(_)) | None => Exposure::Loopback,
        Some(AdminAddress::Unix(_)) => Exposure::UnixSocket,
    };
    AccessControl::new(settings.admin_token.clone(), exposure)
}

/// Serves the plain web listener. It may be off, and its default port may be in use; then at most
/// the relay's TLS listeners serve the page.
async fn serve_web(
    listener: Option<TcpListener>,
    web: Web,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    match listener {
        Some(listener) => web.serve(listener, wait_for_stop(stopped)).await,
        None => {
            wait_for_stop(stopped).await;
            web.stop().await;
        }
    }
    Ok(())
}

/// Serves web connections that arrive at the relay's TLS listeners until the services stop. The
/// shards hold the senders and outlive the services, so the channel does not close by then.
async fn serve_web_connections(
    mut connections: mpsc::Receiver<WebConnection>,
    web: Web,
    stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let serve = async {
        while let Some(connection) = connections.recv().await {
            let info = ConnectionInfo {
                client: connection.client,
                local: connection.server,
                secure: true,
            };
            web.serve_stream(connection.stream, info).await;
        }
    };
    tokio::select! {
        () = serve => {}
        () = wait_for_stop(stopped) => {}
    }
    Ok(())
}

async fn wait_for_stop(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender was dropped, which also means stop.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits for the services to answer open requests. A client that keeps its connection open does not
/// keep the server alive.
async fn stop(mut services: JoinSet<io::Result<()>>) {
    let all = async { while services.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIMEOUT, all).await;
    services.shutdown().await;
}

/// Web connections that may wait. The web service takes them at once unless it is at its limit.
const WEB_QUEUE: usize = 256;
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// Usage records that may wait: one second of 10,000 allocations per second.
const USAGE_QUEUE: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;
    use crate::relay::supervisor::PANIC_VARIABLE;
    use crate::service::web::WebSettings;
    use clap::Parser;
    use std::process::Command;

    #[test]
    fn a_shard_that_dies_ends_the_process_with_one_line() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--ignored", "--nocapture"])
            .arg("cli::serve::tests::a_server_whose_last_shard_panics")
            .env(PANIC_VARIABLE, "a test's\npanic")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(FAILED), "{stderr}");
        let lines: Vec<&str> = stderr
            .lines()
            .filter(|line| line.contains("panic") || line.starts_with("error"))
            .collect();
        let [line] = lines[..] else {
            panic!("{lines:?}");
        };
        assert!(
            line.starts_with("error: shard-1 panicked at src/"),
            "{line}"
        );
        assert!(line.ends_with(": a test's panic"), "{line}");
    }

    #[test]
    #[ignore = "ends the process; another test runs it"]
    fn a_server_whose_last_shard_panics() {
        let arguments = "hairpin serve --shards 2 --listen 127.0.0.1:0 --relay-address 127.0.0.1 --admin off --web off";
        let code = cli::Command::parse_from(arguments.split(' ')).run();
        std::process::exit(match code == ExitCode::FAILURE {
            true => FAILED,
            false => 0,
        });
    }

    const FAILED: i32 = 77;

    #[tokio::test]
    async fn web_connections_are_served_until_the_services_stop() {
        let (_sender, connections) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let web = Web::new(WebSettings::default()).unwrap();
        let task = tokio::spawn(serve_web_connections(connections, web, stopped));
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(30), task)
            .await
            .expect("the task ends")
            .unwrap()
            .unwrap();
    }
}
