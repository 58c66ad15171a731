//! Why the server could not start or did not end properly.

use crate::cli::output::PrintError;
use crate::config;
use crate::relay::supervisor::failure::ShardFailure;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use tokio::task::JoinError;

/// An error of `hairpin serve`.
#[derive(Debug)]
pub(super) enum ServeError {
    Config(config::Error),
    Runtime(io::Error),
    Signals(io::Error),
    Handover(HandoverError),
    Listen(ListenError),
    RelayAddress { address: IpAddr, error: io::Error },
    Relay(io::Error),
    Shard(ShardFailure),
    Certificates(io::Error),
    Web(io::Error),
    Print(PrintError),
    Usage(io::Error),
    UsageTask(JoinError),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::Config(error) => error.fmt(f),
            ServeError::Runtime(error) => write!(f, "the runtime cannot be started: {error}"),
            ServeError::Signals(error) => write!(f, "signals cannot be caught: {error}"),
            ServeError::Handover(error) => error.fmt(f),
            ServeError::Listen(error) => error.fmt(f),
            ServeError::RelayAddress { address, error } => write!(
                f,
                "the relay address {address} cannot be used: {error}; write an address of this host with \
                 --relay-address"
            ),
            ServeError::Relay(error) => {
                write!(f, "the server cannot start: {error}{}", advice(error))
            }
            ServeError::Shard(failure) => failure.fmt(f),
            ServeError::Certificates(error) => {
                write!(f, "the stored ACME certificate cannot be used: {error}")
            }
            ServeError::Web(error) => write!(f, "the web service cannot start: {error}"),
            ServeError::Print(error) => error.fmt(f),
            ServeError::Usage(error) => write!(f, "usage records cannot be written: {error}"),
            ServeError::UsageTask(error) => write!(f, "the usage records ended early: {error}"),
        }
    }
}

impl std::error::Error for ServeError {}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; stop the other server, or choose another address or port with --listen"
        }
        io::ErrorKind::AddrNotAvailable => "; write an address of this host with --listen",
        io::ErrorKind::PermissionDenied => "; ports below 1024 require CAP_NET_BIND_SERVICE",
        _ => "",
    }
}

impl From<config::Error> for ServeError {
    fn from(error: config::Error) -> ServeError {
        ServeError::Config(error)
    }
}

impl From<HandoverError> for ServeError {
    fn from(error: HandoverError) -> ServeError {
        ServeError::Handover(error)
    }
}

impl From<ListenError> for ServeError {
    fn from(error: ListenError) -> ServeError {
        ServeError::Listen(error)
    }
}

/// A listener of a service that cannot be bound.
#[derive(Debug)]
pub(super) enum ListenError {
    Tcp {
        /// The flag that sets the address, without hyphens.
        flag: &'static str,
        address: SocketAddr,
        error: io::Error,
    },
    SocketInUse(PathBuf),
    Socket {
        path: PathBuf,
        error: io::Error,
    },
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Tcp {
                flag,
                address,
                error,
            } => {
                let reason = match error.kind() {
                    io::ErrorKind::AddrInUse => "it is in use",
                    io::ErrorKind::AddrNotAvailable => "it is not an address of this host",
                    io::ErrorKind::PermissionDenied => "permission denied",
                    _ => return write!(f, "{address} cannot be opened for --{flag}: {error}"),
                };
                write!(
                    f,
                    "{address} cannot be opened for --{flag}: {reason}; choose another with --{flag}, or --{flag} off"
                )
            }
            ListenError::SocketInUse(path) => write!(
                f,
                "the socket {} is in use; choose another with --admin",
                path.display()
            ),
            ListenError::Socket { path, error } => write!(
                f,
                "the socket {} cannot be opened for --admin: {error}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ListenError {}

/// A handover that failed.
#[derive(Debug)]
pub(super) enum HandoverError {
    /// The running server refused, and says why.
    Refused { path: PathBuf, reason: String },
    /// The running server does not answer.
    NoAnswer { path: PathBuf, error: io::Error },
    /// The socket for the next server cannot be opened.
    Socket { path: PathBuf, error: io::Error },
}

impl fmt::Display for HandoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandoverError::Refused { path, reason } => write!(
                f,
                "the server at {} does not hand over: {reason}",
                path.display()
            ),
            HandoverError::NoAnswer { path, error } => write!(
                f,
                "the server at {} does not hand over: {error}",
                path.display()
            ),
            HandoverError::Socket { path, error } => write!(
                f,
                "{} cannot be opened for --handover: {error}",
                path.display()
            ),
        }
    }
}

impl std::error::Error for HandoverError {}
