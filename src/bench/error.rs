//! Why there is no outcome, in words that say what to do.

use crate::bench::plan::Server;
use crate::turn::client_state::{Refusal, Request};
use crate::wire::ErrorCode;
use std::net::SocketAddr;
use std::{fmt, io};

/// Why there is no outcome.
#[derive(Debug)]
pub enum Failure {
    /// The server did not answer, after so many others were answered.
    Silent {
        /// Who.
        server: Server,
        /// Requests of the same round that it answered.
        answered: usize,
    },
    /// The server refused a request.
    Refused {
        /// Which one.
        request: Box<Request>,
        /// Its answer.
        refusal: Refusal,
        /// Whether credentials were given.
        login: bool,
    },
    /// A client's socket or connection could not be made.
    Dial(Server, io::Error),
    /// A connection broke.
    Lost(Server, io::Error),
    /// The measured process cannot be read any more.
    Process(io::Error),
    /// A system call failed.
    Io(io::Error),
    /// The measured process ended during the run.
    Vanished,
    /// A thread panicked.
    Panicked,
    /// Somebody broke it off before there was anything to tell.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Silent {
                server,
                answered: 0,
            } => write!(
                f,
                "no answer from {} ({} over {}): is the server running there, and do firewalls let this through?",
                server.uri,
                server.address,
                server.transport.name()
            ),
            Failure::Silent { server, answered } => {
                write!(
                    f,
                    "{} answered {answered} clients and then no more: is it overloaded, or does it limit rates?",
                    server.uri
                )
            }
            Failure::Refused {
                request,
                refusal,
                login,
            } => {
                let advice = match refusal.code {
                    ErrorCode::FORBIDDEN => permission(request),
                    code => advice(code, *login).to_owned(),
                };
                write!(
                    f,
                    "the server refused {:?}: {refusal}{advice}",
                    request.method()
                )
            }
            Failure::Dial(server, error) if error.raw_os_error() == Some(libc::EMFILE) => {
                write!(
                    f,
                    "{}: {error}: every flow needs a socket; raise the limit (ulimit -n) or lower --flows",
                    server.uri
                )
            }
            Failure::Dial(server, error) => write!(
                f,
                "cannot connect to {} ({}): {error}",
                server.uri, server.address
            ),
            Failure::Lost(server, error) => {
                write!(f, "the connection to {} broke: {error}", server.uri)
            }
            Failure::Process(error) => {
                write!(f, "the process of --pid cannot be read any more: {error}")
            }
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Vanished => f.write_str("the process of --pid ended during the run"),
            Failure::Panicked => f.write_str("a thread of the loader ended by a fault of its own"),
            Failure::Interrupted => f.write_str("interrupted before anything was measured"),
        }
    }
}

impl std::error::Error for Failure {}

/// What a server must be told that forbids what was requested.
fn permission(request: &Request) -> String {
    let peer = match request {
        Request::CreatePermission { peers } => peers.first().map(SocketAddr::ip),
        Request::ChannelBind { peer, .. } => Some(peer.ip()),
        _ => None,
    };
    let Some(peer) = peer else {
        return ": it relays nothing for this user or address".into();
    };
    let (ours, theirs) = match peer.is_loopback() {
        true if peer.is_ipv4() => (
            "127.0.0.0/8".to_owned(),
            "--allow-loopback-peers".to_owned(),
        ),
        true => (peer.to_string(), "--allow-loopback-peers".to_owned()),
        false => (peer.to_string(), format!("--allowed-peer-ip={peer}")),
    };
    format!(
        ": it must permit the peer {peer} (hairpin serve --allow-peer {ours}, turnserver {theirs})"
    )
}

/// What a person can do about a refusal.
fn advice(code: ErrorCode, login: bool) -> &'static str {
    match code {
        ErrorCode::UNAUTHENTICATED if login => {
            ": the username or password is wrong, or has expired"
        }
        ErrorCode::UNAUTHENTICATED => {
            ": it wants credentials; give --user and --password, or --shared-secret"
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => {
            ": it grants this user fewer allocations than --flows"
        }
        ErrorCode::INSUFFICIENT_CAPACITY => ": it has no relay ports left for so many --flows",
        ErrorCode::TRY_ALTERNATE => ": it sends its clients to another server; measure that one",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_permitted_is_the_peer_that_was_refused() {
        let channel = |peer: &str| {
            permission(&Request::ChannelBind {
                number: 0x4000,
                peer: peer.parse().unwrap(),
            })
        };
        assert!(
            channel("10.0.0.7:5")
                .contains("--allow-peer 10.0.0.7, turnserver --allowed-peer-ip=10.0.0.7")
        );
        assert!(
            channel("127.0.0.1:5")
                .contains("--allow-peer 127.0.0.0/8, turnserver --allow-loopback-peers")
        );
        assert!(channel("[::1]:5").contains("--allow-peer ::1,"));
        let peers = vec!["10.0.0.8:5".parse().unwrap()];
        assert!(
            permission(&Request::CreatePermission { peers }).contains("--allow-peer 10.0.0.8,")
        );
        let allocate = Request::Allocate {
            family: None,
            lifetime: None,
        };
        assert!(!permission(&allocate).contains("--allow-peer"));
    }
}
