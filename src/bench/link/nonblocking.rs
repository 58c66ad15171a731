//! Errors of non-blocking sockets.

use std::io;

/// Turns the errors of a socket that has nothing to read, or no room to write, into success.
pub(super) fn ignore_would_block(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}
