//! Why a run has no result, and what the user can do about it.

use crate::bench::plan::Target;
use crate::turn::client_state::{Refusal, Request};
use crate::wire::ErrorCode;
use std::net::SocketAddr;
use std::{fmt, io};

/// Why a run has no result, or ended before its time.
#[derive(Debug)]
pub enum Error {
    /// The server did not answer a request.
    NoAnswer {
        /// The server.
        target: Target,
        /// Requests of the same round that it answered.
        answered: usize,
    },
    /// The server answered with an error response.
    Rejected {
        /// The request.
        request: Box<Request>,
        /// The response.
        refusal: Refusal,
        /// Whether the client has credentials.
        authenticated: bool,
    },
    /// A client's socket or connection could not be opened.
    Connect(Target, io::Error),
    /// A connection broke.
    ConnectionLost(Target, io::Error),
    /// The measured process cannot be read.
    Process(io::Error),
    /// A system call failed.
    Io(io::Error),
    /// The measured process exited during the run.
    ProcessExited,
    /// A worker thread panicked.
    Panicked,
    /// A signal ended the run before anything was measured.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoAnswer {
                target,
                answered: 0,
            } => write!(
                f,
                "no answer from {} ({} over {}): check that the server runs and that firewalls let its port through",
                target.uri,
                target.address,
                target.transport.name()
            ),
            Error::NoAnswer { target, answered } => write!(
                f,
                "{} answered {answered} clients and then stopped: it is overloaded, or limits the rate of requests",
                target.uri
            ),
            Error::Rejected {
                request,
                refusal,
                authenticated,
            } => write!(
                f,
                "the server refused {:?}: {refusal}{}",
                request.method(),
                advice(request, refusal.code, *authenticated)
            ),
            Error::Connect(target, error) if error.raw_os_error() == Some(libc::EMFILE) => write!(
                f,
                "{}: {error}: every flow needs a socket; raise the limit (ulimit -n) or lower --flows",
                target.uri
            ),
            Error::Connect(target, error) => write!(
                f,
                "cannot connect to {} ({}): {error}",
                target.uri, target.address
            ),
            Error::ConnectionLost(target, error) => {
                write!(f, "the connection to {} broke: {error}", target.uri)
            }
            Error::Process(error) => write!(f, "cannot read the process of --pid: {error}"),
            Error::Io(error) => error.fmt(f),
            Error::ProcessExited => f.write_str("the process of --pid exited during the run"),
            Error::Panicked => f.write_str("a worker thread of the load generator panicked"),
            Error::Interrupted => f.write_str("interrupted before anything was measured"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connect(_, error)
            | Error::ConnectionLost(_, error)
            | Error::Process(error)
            | Error::Io(error) => Some(error),
            Error::NoAnswer { .. }
            | Error::Rejected { .. }
            | Error::ProcessExited
            | Error::Panicked
            | Error::Interrupted => None,
        }
    }
}

/// What the user can do about an error response; empty if nothing is known.
fn advice(request: &Request, code: ErrorCode, authenticated: bool) -> String {
    let advice = match code {
        ErrorCode::FORBIDDEN => return permission_advice(request),
        ErrorCode::UNAUTHENTICATED if authenticated => {
            ": the username or password is wrong, or has expired"
        }
        ErrorCode::UNAUTHENTICATED => {
            ": it requires credentials; give --user and --password, or --shared-secret"
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => {
            ": it grants this user fewer allocations than --flows"
        }
        ErrorCode::INSUFFICIENT_CAPACITY => ": it has no relay ports left for so many --flows",
        ErrorCode::TRY_ALTERNATE => ": it sends clients to another server; measure that server",
        _ => "",
    };
    advice.to_owned()
}

/// How to permit the peer that the server refused.
fn permission_advice(request: &Request) -> String {
    let peer = match request {
        Request::CreatePermission { peers } => peers.first().map(SocketAddr::ip),
        Request::ChannelBind { peer, .. } => Some(peer.ip()),
        _ => None,
    };
    let Some(peer) = peer else {
        return ": it does not relay for this user or address".into();
    };
    let hairpin = match peer.is_loopback() && peer.is_ipv4() {
        true => "127.0.0.0/8".to_owned(),
        false => peer.to_string(),
    };
    let coturn = match peer.is_loopback() {
        true => "--allow-loopback-peers".to_owned(),
        false => format!("--allowed-peer-ip={peer}"),
    };
    format!(
        ": it must permit the peer {peer} (hairpin serve --allow-peer {hairpin}, turnserver {coturn})"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_peer_is_named_with_the_option_that_permits_it() {
        let channel = |peer: &str| Request::ChannelBind {
            number: 0x4000,
            peer: peer.parse().unwrap(),
        };
        let permission = Request::CreatePermission {
            peers: vec!["10.0.0.8:5".parse().unwrap()],
        };
        for (request, options) in [
            (
                channel("10.0.0.7:5"),
                "--allow-peer 10.0.0.7, turnserver --allowed-peer-ip=10.0.0.7",
            ),
            (
                channel("127.0.0.1:5"),
                "--allow-peer 127.0.0.0/8, turnserver --allow-loopback-peers",
            ),
            (channel("[::1]:5"), "--allow-peer ::1,"),
            (permission, "--allow-peer 10.0.0.8,"),
        ] {
            let advice = advice(&request, ErrorCode::FORBIDDEN, true);
            assert!(advice.contains(options), "{advice}");
        }
        let allocate = Request::Allocate {
            family: None,
            lifetime: None,
        };
        assert!(!advice(&allocate, ErrorCode::FORBIDDEN, true).contains("--allow-peer"));
    }
}
