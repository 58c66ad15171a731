//! `hairpin serve`: the server, from its configuration to its end.

use super::flags::Flags;
use super::{failure, ice, logs, usage};
use crate::config::schema::{self, Key};
use crate::config::{self, Host, Login, Settings, Written, resolve};
use crate::relay::Supervisor;
use crate::service::admin::Admin;
use crate::service::ice_servers::HOST;
use crate::service::web::{self, Web};
use clap::Args;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Runs a STUN and TURN server
///
/// Without any option it listens on port 3478, draws a secret, and prints an iceServers object to paste into
/// new RTCPeerConnection(…). Every option is an environment variable too, and a key of the configuration file.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    #[command(flatten)]
    flags: Flags,
}

/// Why there is no server, or no more.
enum Failure {
    /// Somebody has to write something else.
    Usage(config::Error),
    /// Something is not as it should be.
    Io(String),
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Failure {
        Failure::Usage(error)
    }
}

/// Runs it until a signal ends it.
pub fn run(args: &Serve) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(serve(args)),
        Err(error) => Err(Failure::Io(error.to_string())),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => usage(&error),
        Err(Failure::Io(sentence)) => failure(&sentence),
    }
}

async fn serve(args: &Serve) -> Result<(), Failure> {
    let host = Host::look(ice::random_secret());
    let written = args.flags.written()?;
    let mut settings = resolve(&written, &host)?;
    logs::start(&settings.logs);
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    // Before anything listens: a signal that comes from here on is not missed.
    let mut signals = Signals::new().map_err(|error| Failure::Io(format!("signals cannot be caught: {error}")))?;
    let admin = listen(&schema::ADMIN, settings.admin, &written).await?;
    let web = listen(&schema::WEB, settings.web.address, &written).await?;
    let services = [&admin, &web].into_iter().flatten();
    settings.plan.policy.own.listeners = services.filter_map(|listener| listener.local_addr().ok()).collect();
    for relay in &settings.plan.policy.relay_addresses {
        bindable(relay.local)?;
    }
    let relay = Supervisor::start(settings.plan.clone()).map_err(|error| Failure::Io(cannot_listen(&error)))?;
    let relay = Arc::new(relay);
    announce(&settings, &relay, &host, [("admin", &admin), ("web", &web)])
        .map_err(|error| Failure::Io(error.to_string()))?;
    let (stop, stopped) = watch::channel(false);
    let mut services = tokio::task::JoinSet::new();
    if let Some(listener) = admin {
        let admin = Admin::new(relay.clone(), Arc::new(AtomicBool::new(false)));
        services.spawn(admin.serve(listener, wait(stopped.clone())));
    }
    if let Some(listener) = web {
        let web = Web::new(web_settings(&settings, &relay, &host)).map_err(|error| Failure::Io(error.to_string()))?;
        let stopped = stopped.clone();
        services.spawn(async move {
            web.serve(listener, wait(stopped)).await;
            Ok(())
        });
    }
    let name = signals.next().await;
    tracing::info!(signal = name, "stopping");
    let _ = stop.send(true);
    let ended = async { while services.join_next().await.is_some() {} };
    // A client that keeps a connection open does not keep the server.
    let _ = tokio::time::timeout(FAREWELL, ended).await;
    if let Ok(relay) = Arc::try_unwrap(relay) {
        relay.stop();
    }
    Ok(())
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever could say so is gone.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Opens the listener of a service. One that nobody asked for is done without when its port is taken.
async fn listen(key: &Key, address: Option<SocketAddr>, written: &Written) -> Result<Option<TcpListener>, Failure> {
    let Some(address) = address else { return Ok(None) };
    let flag = key.flag();
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if written.has(key) => Err(Failure::Io(format!(
            "{address} cannot be opened for --{flag}: {}; write another with --{flag}, or --{flag} off",
            reason(&error)
        ))),
        Err(error) => {
            tracing::warn!(%address, "not opened, as {}; choose another with --{flag}", reason(&error));
            Ok(None)
        }
    }
}

/// The web listener's settings with the relay's URLs: under the host that a browser reached this one by where the relay
/// listens everywhere and stands behind no NAT that maps addresses.
fn web_settings(settings: &Settings, relay: &Supervisor, host: &Host) -> web::Settings {
    let mapped = settings.plan.policy.relay_addresses.iter().any(|relay| relay.local != relay.external);
    let (anywhere, named): (Vec<SocketAddr>, Vec<SocketAddr>) =
        relay.addresses().iter().partition(|address| address.ip().is_unspecified() && !mapped);
    let mut servers: Vec<String> = anywhere.iter().map(|address| format!("{HOST}:{}", address.port())).collect();
    servers.extend(settings.reachable(&named, host).iter().map(SocketAddr::to_string));
    servers.dedup();
    let mut web = settings.web.settings.clone();
    web.ice.urls = ice::urls(&servers);
    web
}

/// Whether relay sockets can be bound to an address at all: clients would hear of it as 508 only.
fn bindable(address: IpAddr) -> Result<(), Failure> {
    let bound = std::net::UdpSocket::bind((address, 0));
    bound.map(drop).map_err(|error| {
        let sentence = format!("the relay address {address} cannot be used: {error}");
        Failure::Io(format!("{sentence}; write an address of this host with --relay-address"))
    })
}

fn cannot_listen(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "; end the other server, or choose another address or port with --listen",
        io::ErrorKind::AddrNotAvailable => "; write an address of this host with --listen",
        io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("the server cannot start: {error}{advice}")
}

fn reason(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "it is in use",
        io::ErrorKind::AddrNotAvailable => "it is no address of this host",
        io::ErrorKind::PermissionDenied => "that is not permitted",
        _ => "the system refuses",
    }
}

/// Says on standard output, for people and for scripts, where the server is and how a client gets in.
fn announce(
    settings: &Settings,
    relay: &Supervisor,
    host: &Host,
    services: [(&str, &Option<TcpListener>); 2],
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for address in relay.addresses() {
        writeln!(out, "listening udp {address}")?;
        writeln!(out, "listening tcp {address}")?;
    }
    for relay in &settings.plan.policy.relay_addresses {
        writeln!(out, "relaying {}", Relaying(relay.local, relay.external))?;
    }
    for (name, listener) in services {
        if let Some(address) = listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            writeln!(out, "listening {name} http://{address}/")?;
            if name == "web" {
                writeln!(out, "call {}", web::call_url(address)?)?;
            }
        }
    }
    if let Login::Secret { secret, drawn: true } = &settings.login {
        writeln!(out, "shared-secret {secret}")?;
    }
    let servers: Vec<String> = settings.reachable(relay.addresses(), host).iter().map(SocketAddr::to_string).collect();
    writeln!(out, "{}", ice::json(&servers, &ice::Pair::of(&settings.login)))?;
    out.flush()
}

/// A relay address, and what clients are told instead.
struct Relaying(IpAddr, IpAddr);

impl fmt::Display for Relaying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 == self.1 {
            true => write!(f, "{}", self.0),
            false => write!(f, "{} as {}", self.0, self.1),
        }
    }
}

/// The signals that end a server.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// How long the services may take to answer what was asked before the end.
const FAREWELL: Duration = Duration::from_secs(3);
