//! Opens what the services listen on, with sentences for whoever has to choose another address.

use crate::config::value::AdminAddress;
use crate::net;
use crate::service::admin::AdminListener;
use crate::service::web;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Whether another server has the same addresses for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// None has, now or later.
    Alone,
    /// The next one will.
    WithNext,
    /// The last one does.
    WithPredecessor,
}

impl Sharing {
    /// With a way to hand over, and with a server that hands over.
    pub fn of(handover: bool, predecessor: bool) -> Sharing {
        match (handover, predecessor) {
            (_, true) => Sharing::WithPredecessor,
            (true, false) => Sharing::WithNext,
            (false, false) => Sharing::Alone,
        }
    }

    fn bind(self, address: SocketAddr) -> io::Result<TcpListener> {
        if self == Sharing::WithPredecessor {
            return TcpListener::from_std(net::tcp::listen_dual_stack(address)?);
        }
        let alone = std::net::TcpListener::bind(address)?;
        if self == Sharing::WithNext {
            // Only once it is known that nobody has it: a socket that shares would be bound beside anybody's who does.
            drop(alone);
            return TcpListener::from_std(net::tcp::listen_dual_stack(address)?);
        }
        alone.set_nonblocking(true)?;
        TcpListener::from_std(alone)
    }
}

/// Opens the operators' listener. One that nobody asked for is done without when its port is taken.
pub fn operators(
    place: Option<&AdminAddress>,
    asked: bool,
    sharing: Sharing,
) -> Result<Option<AdminListener>, String> {
    match place {
        None => Ok(None),
        Some(AdminAddress::Tcp(address)) => {
            Ok(tcp("admin", *address, asked, sharing)?.map(AdminListener::Tcp))
        }
        Some(AdminAddress::Unix(path)) => unix(path, sharing).map(AdminListener::Unix).map(Some),
    }
}

/// Opens the web listener, in the same way.
pub fn people(
    address: Option<SocketAddr>,
    asked: bool,
    sharing: Sharing,
) -> Result<Option<TcpListener>, String> {
    match address {
        None => Ok(None),
        Some(address) => tcp("web", address, asked, sharing),
    }
}

/// The addresses that the services listen on, which no relay may reach.
pub fn addresses(
    operators: Option<&AdminListener>,
    people: Option<&TcpListener>,
) -> Vec<SocketAddr> {
    let operators = match operators {
        Some(AdminListener::Tcp(listener)) => Some(listener),
        _ => None,
    };
    [operators, people]
        .into_iter()
        .flatten()
        .filter_map(|listener| listener.local_addr().ok())
        .collect()
}

/// Where operators find the listener.
pub fn url(listener: Option<&AdminListener>) -> Option<String> {
    match listener? {
        AdminListener::Tcp(listener) => tcp_url(Some(listener)),
        AdminListener::Unix(listener) => {
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
    web::new_call_url(listener?.local_addr().ok()?).ok()
}

fn tcp(
    flag: &str,
    address: SocketAddr,
    asked: bool,
    sharing: Sharing,
) -> Result<Option<TcpListener>, String> {
    match sharing.bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if asked => Err(format!(
            "{address} cannot be opened for --{flag}: {}; write another with --{flag}, or --{flag} off",
            reason(&error)
        )),
        Err(error) => {
            tracing::warn!(
                "{address} is not opened for --{flag}: {}; choose another with --{flag}",
                reason(&error)
            );
            Ok(None)
        }
    }
}

/// A socket file that a server left behind is in nobody's way; one that a server listens on is.
fn unix(path: &Path, sharing: Sharing) -> Result<UnixListener, String> {
    let named = |error: io::Error| {
        format!(
            "the socket {} cannot be opened for --admin: {error}",
            path.display()
        )
    };
    if sharing != Sharing::WithPredecessor && std::os::unix::net::UnixStream::connect(path).is_ok()
    {
        return Err(format!(
            "the socket {} is in use; write another with --admin",
            path.display()
        ));
    }
    in_place(path).map_err(named)
}

/// Listens on a UNIX socket, in place of one that is there.
///
/// # Errors
/// Those of the system; another kind of file that is there is left alone.
pub fn in_place(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        Err(_) => {}
    }
    UnixListener::bind(path)
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
        io::ErrorKind::AddrInUse => {
            "; end the other server, or choose another address or port with --listen"
        }
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
