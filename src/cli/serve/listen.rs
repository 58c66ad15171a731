//! Opens what the services listen on, with sentences for whoever has to choose another address.

use crate::config::value::Place;
use crate::service::admin::Listener;
use crate::service::web;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Opens the operators' listener. One that nobody asked for is done without when its port is taken.
pub async fn operators(place: Option<&Place>, asked: bool) -> Result<Option<Listener>, String> {
    match place {
        None => Ok(None),
        Some(Place::Address(address)) => Ok(tcp("admin", *address, asked).await?.map(Listener::Tcp)),
        Some(Place::Unix(path)) => unix(path).map(Listener::Unix).map(Some),
    }
}

/// Opens the web listener, in the same way.
pub async fn people(address: Option<SocketAddr>, asked: bool) -> Result<Option<TcpListener>, String> {
    match address {
        None => Ok(None),
        Some(address) => tcp("web", address, asked).await,
    }
}

/// The addresses that the services listen on, which no relay may reach.
pub fn addresses(operators: Option<&Listener>, people: Option<&TcpListener>) -> Vec<SocketAddr> {
    let operators = match operators {
        Some(Listener::Tcp(listener)) => Some(listener),
        _ => None,
    };
    [operators, people].into_iter().flatten().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// Where operators find the listener.
pub fn url(listener: Option<&Listener>) -> Option<String> {
    match listener? {
        Listener::Tcp(listener) => tcp_url(Some(listener)),
        Listener::Unix(listener) => {
            let address = listener.local_addr().ok()?;
            Some(format!("unix:{}", address.as_pathname()?.display()))
        }
    }
}

/// Where browsers find a listener.
pub fn tcp_url(listener: Option<&TcpListener>) -> Option<String> {
    Some(format!("http://{}/", listener?.local_addr().ok()?))
}

/// A link that two people can open to call each other.
pub fn call_url(listener: Option<&TcpListener>) -> Option<String> {
    web::call_url(listener?.local_addr().ok()?).ok()
}

async fn tcp(flag: &str, address: SocketAddr, asked: bool) -> Result<Option<TcpListener>, String> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if asked => Err(format!(
            "{address} cannot be opened for --{flag}: {}; write another with --{flag}, or --{flag} off",
            reason(&error)
        )),
        Err(error) => {
            tracing::warn!("{address} is not opened for --{flag}: {}; choose another with --{flag}", reason(&error));
            Ok(None)
        }
    }
}

/// A socket file that a server left behind is in nobody's way; one that a server listens on is.
fn unix(path: &Path) -> Result<UnixListener, String> {
    let named = |error: io::Error| format!("the socket {} cannot be opened for --admin: {error}", path.display());
    if path.exists() {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(format!("the socket {} is in use; write another with --admin", path.display()));
        }
        std::fs::remove_file(path).map_err(named)?;
    }
    UnixListener::bind(path).map_err(named)
}

/// Whether relay sockets can be bound to an address at all: clients would hear of it as 508 only.
pub fn bindable(address: IpAddr) -> Result<(), String> {
    let bound = std::net::UdpSocket::bind((address, 0));
    bound.map(drop).map_err(|error| {
        format!(
            "the relay address {address} cannot be used: {error}; write an address of this host with --relay-address"
        )
    })
}

/// What an error of the relay's start means to whoever started it.
pub fn cannot_listen(error: &io::Error) -> String {
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
