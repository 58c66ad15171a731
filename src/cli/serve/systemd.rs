//! Tells a service manager how the server is (`sd_notify`, systemd's `Type=notify`).

use std::os::unix::net::UnixDatagram;

/// Says a word such as `READY=1`; nothing where nobody listens.
pub fn notify(word: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let said =
        UnixDatagram::unbound().and_then(|socket| send(&socket, path.as_encoded_bytes(), word));
    if let Err(error) = said {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

#[cfg(target_os = "linux")]
fn send(socket: &UnixDatagram, path: &[u8], word: &str) -> std::io::Result<usize> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::net::SocketAddr;
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    socket.send_to_addr(word.as_bytes(), &address)
}

#[cfg(not(target_os = "linux"))]
fn send(socket: &UnixDatagram, path: &[u8], word: &str) -> std::io::Result<usize> {
    use std::os::unix::ffi::OsStrExt;
    socket.send_to(word.as_bytes(), std::ffi::OsStr::from_bytes(path))
}
