//! Reports the state of the server to the service manager (`sd_notify`, systemd's `Type=notify`).

use std::os::unix::net::UnixDatagram;

/// Sends a state such as `READY=1` to `NOTIFY_SOCKET`. Does nothing without that variable.
pub(super) fn notify(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent =
        UnixDatagram::unbound().and_then(|socket| send(&socket, path.as_encoded_bytes(), state));
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager could not be notified");
    }
}

#[cfg(target_os = "linux")]
fn send(socket: &UnixDatagram, path: &[u8], state: &str) -> std::io::Result<usize> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    // A leading @ stands for the zero byte of an abstract socket address.
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    socket.send_to_addr(state.as_bytes(), &address)
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &UnixDatagram, path: &[u8], state: &str) -> std::io::Result<usize> {
    use std::os::unix::ffi::OsStrExt;
    socket.send_to(state.as_bytes(), std::ffi::OsStr::from_bytes(path))
}
