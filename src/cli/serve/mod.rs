//! `hairpin serve`: the server, from its configuration to its end.
//!
//! ```text
//!   flags ─► Layer ─► Settings ─► services listen ─► Supervisor starts ─► announce ─► RunningServer: signals, orders, the end
//! ```

mod handover;
mod listeners;
mod reload;
mod server;
mod signals;
mod startup_report;
mod systemd;

use crate::cli::flags::Flags;
use crate::cli::output::{config_error, failure};
use crate::cli::serve::handover::Predecessor;
use crate::cli::serve::listeners::{Sharing, bindable, cannot_listen};
use crate::cli::serve::server::{RunningServer, WatchedCertificates};
use crate::cli::serve::signals::Signals;
use crate::cli::serve::systemd::notify;
use crate::cli::{ice_servers, logs};
use crate::config;
use crate::config::resolve;
use crate::config::schema;
use crate::config::value::AdminAddress;
use crate::config::{HostInfo, Settings};
use crate::net::host::fd_limit;
use crate::relay::observe::allocation_log::UsageSender;
use crate::relay::{Supervisor, WebConnection};
use crate::service::acme::Acme;
use crate::service::admin;
use crate::service::admin::{
    AccessControl, AdminListener, AdminState, CommandSender, DrainState, Exposure,
};
use crate::service::certificates::CertificateStore;
use crate::service::usage;
use crate::service::web::{ConnectionInfo, Web};
use clap::Args;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Runs a STUN and TURN server
///
/// Without any option it listens on port 3478, draws a secret, and prints an iceServers object to paste into
/// new RTCPeerConnection(…). Every option is an environment variable too, and a key of the configuration file.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Why there is no server.
enum ServeError {
    /// Somebody has to write something else.
    Usage(config::Error),
    /// Something is not as it should be.
    Io(String),
}

impl From<config::Error> for ServeError {
    fn from(error: config::Error) -> ServeError {
        ServeError::Usage(error)
    }
}

impl From<String> for ServeError {
    fn from(sentence: String) -> ServeError {
        ServeError::Io(sentence)
    }
}

/// Runs it until a signal or an order ends it.
pub fn run(args: &Serve) -> ExitCode {
    // Every allocation is a socket.
    fd_limit::raise(0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(ServeError::Io(error.to_string())),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(ServeError::Usage(error)) => config_error(&error),
        Err(ServeError::Io(sentence)) => failure(&sentence),
    }
}

async fn serve(args: &Serve) -> Result<(), ServeError> {
    let written = args.flags.load()?;
    let host = HostInfo::detect(ice_servers::random_secret()).with_public_addresses(&written);
    let mut settings = resolve(&written, &host)?;
    let (level, _writing) = logs::start(&settings.logs);
    warn(&settings);
    // Before anything listens: a signal that comes from here on is not missed.
    let signals = Signals::new().map_err(|error| format!("signals cannot be caught: {error}"))?;
    let predecessor = Predecessor::knock(settings.handover.as_deref()).await?;
    let sharing = Sharing::of(settings.handover.is_some(), predecessor.is_some());
    settings.plan.takes_over = predecessor.is_some();
    let operators = listeners::operators(
        settings.admin.as_ref(),
        written.has(&schema::ADMIN),
        sharing,
    )?;
    let people = listeners::people(settings.web.address, written.has(&schema::WEB), sharing)?;
    settings.plan.policy.own_addresses.listeners =
        listeners::addresses(operators.as_ref(), people.as_ref());
    settings
        .plan
        .policy
        .relay_addresses
        .iter()
        .try_for_each(|relay| bindable(relay.local))?;
    let (keeper, records) = UsageSender::channel(RECORDS);
    let counts = Arc::new(usage::UsageCounters::new(keeper.lost()));
    settings.plan.allocation_log.usage = settings.usage.is_enabled().then_some(keeper);
    let (visitors, visiting) = mpsc::channel(VISITORS);
    settings.plan.secure.web_connections = settings.web.address.is_some().then_some(visitors);
    // Before anything listens: clients of the server before come back at once.
    let certificates = certificates(&settings).map_err(|error| error.to_string())?;
    let relay =
        Arc::new(Supervisor::start(settings.plan.clone()).map_err(|error| cannot_listen(&error))?);
    let door = handover::open(settings.handover.as_deref())?;
    if let Some(predecessor) = predecessor {
        predecessor.relieve().await;
    }
    let certificates = certificates.map(|certificates| keep(certificates, &settings));
    startup_report::print(
        &settings,
        &relay,
        &host,
        &places(operators.as_ref(), people.as_ref()),
    )?;
    notify("READY=1");

    let (stop, stopped) = watch::channel(false);
    let mut services = JoinSet::new();
    let drain = Arc::new(DrainState::default());
    let (commands, received) = CommandSender::channel();
    let keeping = settings.plan.allocation_log.usage.take();
    let keep = |_| {
        tokio::spawn(usage::run(
            settings.usage.clone(),
            Arc::downgrade(&relay),
            records,
            counts.clone(),
        ))
    };
    let kept = keeping.map(keep);
    if let Some(listener) = operators {
        let (relay, drain, access) = (relay.clone(), drain.clone(), access_control(&settings));
        let lifetimes = settings.plan.allocation_log.lifetimes.clone();
        let admin = AdminState {
            relay,
            drain,
            usage: counts,
            lifetimes,
            commands,
            access,
        };
        services.spawn(admin::serve(admin, listener, wait(stopped.clone())));
    }
    let web = match settings.web.address {
        Some(_) => {
            let web = Web::new(startup_report::web_settings(&settings, &relay, &host))
                .map_err(|error| error.to_string())?;
            serve_web(&mut services, &web, (people, visiting), stopped);
            Some(web)
        }
        None => None,
    };
    let (flags, services_end) = (args.flags.clone(), stop.clone());
    let parts = server::Parts {
        flags,
        host,
        written,
        settings,
        relay,
        web,
        certificates,
        level,
        drain,
        services_end,
    };
    let relay = RunningServer::new(parts).run(signals, received, door).await;
    notify("STOPPING=1");
    let _ = stop.send(true);
    end(services).await;
    drop(relay);
    let Some(kept) = kept else { return Ok(()) };
    kept.await
        .map_err(|error| error.to_string())?
        .map_err(|error| ServeError::Io(error.to_string()))
}

/// Where the services are, by what each is called.
fn places(
    operators: Option<&AdminListener>,
    people: Option<&TcpListener>,
) -> [(&'static str, Option<String>); 3] {
    [
        ("listening admin", listeners::url(operators)),
        ("listening web", listeners::tcp_url(people)),
        ("call", listeners::call_url(people)),
    ]
}

/// Says in the log what holds but cannot be meant, and what had better be known.
fn warn(settings: &Settings) {
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, meant) in config::layer::misspelled_variables(variables) {
        tracing::warn!("{name} in the environment means nothing; the nearest that does is {meant}");
    }
    for warning in settings.warnings.iter().chain(&settings.advice) {
        tracing::warn!("{warning}");
    }
}

/// Ends the services: a client that keeps a connection open does not keep the server.
async fn end(mut services: JoinSet<std::io::Result<()>>) {
    let ended = async { while services.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, ended).await;
    services.shutdown().await;
}

/// Serves the web's own listener, where it could be opened, and who came for it elsewhere.
fn serve_web(
    services: &mut JoinSet<std::io::Result<()>>,
    web: &Web,
    (listener, visiting): (Option<TcpListener>, mpsc::Receiver<WebConnection>),
    stopped: watch::Receiver<bool>,
) {
    services.spawn(receive(visiting, web.clone(), stopped.clone()));
    let web = web.clone();
    services.spawn(async move {
        match listener {
            Some(listener) => web.serve(listener, wait(stopped)).await,
            None => {
                wait(stopped).await;
                web.stop().await;
            }
        }
        Ok(())
    });
}

/// What handshakes show from the first on, where there are any: the files' certificates, and what was ordered by ACME before.
fn certificates(settings: &Settings) -> std::io::Result<Option<CertificateStore>> {
    let Some(tls) = settings.plan.secure.tls.clone() else {
        return Ok(None);
    };
    if !tls.certificates().is_empty() && tls.dtls_certificate(None).is_none() {
        tracing::warn!(
            "DTLS shows a certificate of its own: it knows only ECDSA keys, over P-256 and P-384"
        );
    }
    let certificates = CertificateStore::new(tls, settings.tls.pairs.clone());
    if let Some(kept) = settings
        .tls
        .acme
        .as_ref()
        .and_then(Acme::stored_certificate)
    {
        certificates.add_issued(kept)?;
    }
    Ok(Some(certificates))
}

/// Watches the certificates' files, and orders by ACME what comes next. Neither has an end to wait for.
fn keep(certificates: CertificateStore, settings: &Settings) -> WatchedCertificates {
    if let Some(acme) = settings.tls.acme.clone() {
        tokio::spawn(acme.renew(certificates.clone()));
    }
    WatchedCertificates::watch(certificates)
}

/// Serves those who came for the web to a port of the relay, until the services stop: the relay, which has the other end
/// of the way here, outlives them.
async fn receive(
    mut visiting: mpsc::Receiver<WebConnection>,
    web: Web,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let serving = async {
        while let Some(WebConnection {
            stream,
            client,
            server,
        }) = visiting.recv().await
        {
            web.serve_stream(
                stream,
                ConnectionInfo {
                    client,
                    local: server,
                    secure: true,
                },
            )
            .await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = wait(stopped) => {}
    }
    Ok(())
}

/// Without a token only loopback and UNIX sockets are trusted.
fn access_control(settings: &Settings) -> AccessControl {
    let exposure = match &settings.admin {
        Some(AdminAddress::Tcp(address)) if !address.ip().is_loopback() => Exposure::AnyHost,
        Some(AdminAddress::Tcp(_)) | None => Exposure::Loopback,
        Some(AdminAddress::Unix(_)) => Exposure::UnixSocket,
    };
    AccessControl::new(settings.admin_token.clone(), exposure)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever could say so is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Connections that may wait for the web service: it takes them at once, unless it has as many as it serves.
const VISITORS: usize = 256;
/// How long the services may take to answer what was asked before the end.
const FAREWELL: Duration = Duration::from_secs(3);
/// Records that may wait for whoever keeps accounts: a second of them at ten thousand allocations a second.
const RECORDS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::web;

    /// Each shard holds a sender until the relay ends, which is after the services.
    #[tokio::test]
    async fn visitors_are_received_no_longer_than_the_services_run() {
        let (_visitors, visiting) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let receiving = tokio::spawn(receive(
            visiting,
            Web::new(web::WebSettings::default()).unwrap(),
            stopped,
        ));
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(30), receiving)
            .await
            .expect("an end")
            .unwrap()
            .unwrap();
    }
}
