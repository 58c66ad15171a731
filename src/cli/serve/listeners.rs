//! Binds the listeners of the services: admin and web.

use crate::cli::serve::error::{ListenError, ServeError};
use crate::config::value::AdminAddress;
use crate::config::{Layer, Settings, schema};
use crate::net;
use crate::service::admin::AdminListener;
use crate::service::web;
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{File, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use tokio::net::{TcpListener, UnixListener};

/// Whether another server process binds the same ports for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortSharing {
    /// No other process binds them.
    Exclusive,
    /// The process that takes over from this one will bind them.
    WithSuccessor,
    /// The process that hands over to this one has bound them.
    WithPredecessor,
}

impl PortSharing {
    fn bind(self, address: SocketAddr) -> io::Result<TcpListener> {
        if self == PortSharing::WithPredecessor {
            return TcpListener::from_std(net::tcp::listen_dual_stack(address)?);
        }
        let exclusive = std::net::TcpListener::bind(address)?;
        if self == PortSharing::WithSuccessor {
            // SO_REUSEPORT would bind beside any other process that shares the port, so an
            // exclusive bind proves first that there is none.
            drop(exclusive);
            return TcpListener::from_std(net::tcp::listen_dual_stack(address)?);
        }
        exclusive.set_nonblocking(true)?;
        TcpListener::from_std(exclusive)
    }
}

/// The listeners of the services.
pub(super) struct ServiceListeners {
    pub(super) admin: Option<AdminListener>,
    pub(super) web: Option<TcpListener>,
}

impl ServiceListeners {
    /// Binds the listeners. A default port that is in use is skipped with a warning; a configured
    /// one is an error.
    pub(super) fn bind(
        settings: &Settings,
        layer: &Layer,
        sharing: PortSharing,
    ) -> Result<ServiceListeners, ListenError> {
        let bind_tcp = |flag, address, is_configured| match sharing.bind(address) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                let error = ListenError::Tcp {
                    flag,
                    address,
                    error,
                };
                if is_configured {
                    return Err(error);
                }
                tracing::warn!("{error}");
                Ok(None)
            }
        };
        let admin = match &settings.admin {
            None => None,
            Some(AdminAddress::Tcp(address)) => {
                bind_tcp("admin", *address, layer.has(&schema::ADMIN))?.map(AdminListener::Tcp)
            }
            Some(AdminAddress::Unix(path)) => {
                Some(AdminListener::Unix(bind_admin_socket(path, sharing)?))
            }
        };
        let web = match settings.web.address {
            None => None,
            Some(address) => bind_tcp("web", address, layer.has(&schema::WEB))?,
        };
        Ok(ServiceListeners { admin, web })
    }

    /// The addresses of the listeners, which no relay may reach.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let admin = match &self.admin {
            Some(AdminListener::Tcp(listener)) => Some(listener),
            Some(AdminListener::Unix(_)) | None => None,
        };
        admin
            .into_iter()
            .chain(&self.web)
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The lines of the startup report: a name and a URL for each listener, and a link to the call
    /// page.
    pub(super) fn report(&self) -> Vec<(&'static str, String)> {
        let admin = match &self.admin {
            Some(AdminListener::Tcp(listener)) => http_url(listener),
            Some(AdminListener::Unix(listener)) => socket_url(listener),
            None => None,
        };
        let web = self.web.as_ref().and_then(http_url);
        let call = self.web.as_ref().and_then(call_url);
        [
            ("listening admin", admin),
            ("listening web", web),
            ("call", call),
        ]
        .into_iter()
        .filter_map(|(name, url)| Some((name, url?)))
        .collect()
    }
}

fn http_url(listener: &TcpListener) -> Option<String> {
    Some(format!("http://{}/", listener.local_addr().ok()?))
}

fn socket_url(listener: &UnixListener) -> Option<String> {
    let address = listener.local_addr().ok()?;
    Some(format!("unix:{}", address.as_pathname()?.display()))
}

fn call_url(listener: &TcpListener) -> Option<String> {
    web::new_call_url(listener.local_addr().ok()?).ok()
}

/// Binds the admin socket. The socket file of a server that has ended is replaced; a live server's
/// is an error.
fn bind_admin_socket(path: &Path, sharing: PortSharing) -> Result<UnixListener, ListenError> {
    let is_live = || std::os::unix::net::UnixStream::connect(path).is_ok();
    if sharing != PortSharing::WithPredecessor && is_live() {
        return Err(ListenError::SocketInUse(path.into()));
    }
    replace_socket(path, ADMIN_SOCKET_MODE).map_err(|error| ListenError::Socket {
        path: path.into(),
        error,
    })
}

/// Binds a UNIX socket with the permission bits `mode`, whatever the umask is, replacing a socket
/// that exists. Any other kind of file is left alone.
pub(super) fn replace_socket(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "the file exists and is not a socket",
            ));
        }
        Err(_) => {}
    }
    let mode = Permissions::from_mode(mode);
    // On Linux the mode of an unbound socket, less the umask, becomes that of its file, so that
    // there is no moment in which the file has the bits that the umask leaves. Elsewhere fchmod
    // fails for a socket.
    let socket = File::from(OwnedFd::from(Socket::new(
        Domain::UNIX,
        Type::STREAM,
        None,
    )?));
    let _ = socket.set_permissions(mode.clone());
    let socket = Socket::from(OwnedFd::from(socket));
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, mode)?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(socket.into())
}

/// The owner and the group may administer the server.
const ADMIN_SOCKET_MODE: u32 = 0o660;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Checks that relay sockets can be bound to an address. Otherwise every Allocate request would
/// fail with 508.
pub(super) fn check_relay_address(address: IpAddr) -> Result<(), ServeError> {
    match std::net::UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(()),
        Err(error) => Err(ServeError::RelayAddress { address, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_socket_has_its_mode_whatever_the_umask_is() {
        let name = format!("hairpin-mode-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        for mode in [0o600, ADMIN_SOCKET_MODE, 0o666] {
            let socket = replace_socket(&path, mode).unwrap();
            let found = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode);
            let connect = tokio::net::UnixStream::connect(&path);
            let (connected, accepted) = tokio::join!(connect, socket.accept());
            assert!(connected.is_ok() && accepted.is_ok());
        }
        std::fs::remove_file(&path).unwrap();
    }
}
