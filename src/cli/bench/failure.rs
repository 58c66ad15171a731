//! Why there is no outcome, in words that say what to do.

use super::plan::Server;
use crate::turn::client::{Refusal, Request};
use crate::wire::ErrorCode;
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
            Failure::Silent { server, answered: 0 } => write!(
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
            Failure::Refused { request, refusal, login } => {
                write!(f, "the server refused {:?}: {refusal}{}", request.method(), advice(refusal.code, *login))
            }
            Failure::Dial(server, error) if error.raw_os_error() == Some(libc::EMFILE) => {
                write!(
                    f,
                    "{}: {error}: every flow needs a socket; raise the limit (ulimit -n) or lower --flows",
                    server.uri
                )
            }
            Failure::Dial(server, error) => write!(f, "cannot connect to {} ({}): {error}", server.uri, server.address),
            Failure::Lost(server, error) => write!(f, "the connection to {} broke: {error}", server.uri),
            Failure::Process(error) => write!(f, "the process of --pid cannot be read any more: {error}"),
            Failure::Io(error) => write!(f, "{error}"),
            Failure::Vanished => f.write_str("the process of --pid ended during the run"),
            Failure::Panicked => f.write_str("a thread of the loader ended by a fault of its own"),
            Failure::Interrupted => f.write_str("interrupted before anything was measured"),
        }
    }
}

impl std::error::Error for Failure {}

/// What a person can do about a refusal.
fn advice(code: ErrorCode, login: bool) -> &'static str {
    match code {
        ErrorCode::UNAUTHENTICATED if login => ": the username or password is wrong, or has expired",
        ErrorCode::UNAUTHENTICATED => ": it wants credentials; give --user and --password, or --shared-secret",
        ErrorCode::FORBIDDEN => {
            ": it must permit this host's address as a peer (hairpin serve --allow-peer 127.0.0.0/8, turnserver --allow-loopback-peers)"
        }
        ErrorCode::ALLOCATION_QUOTA_REACHED => ": it grants this user fewer allocations than --flows",
        ErrorCode::INSUFFICIENT_CAPACITY => ": it has no relay ports left for so many --flows",
        ErrorCode::TRY_ALTERNATE => ": it sends its clients to another server; measure that one",
        _ => "",
    }
}
