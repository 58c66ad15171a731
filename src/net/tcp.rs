//! TCP: listeners that shards share, and what every connection is set to.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// A non-blocking listener; with `reuse_port` it shares address and port with those of other shards. IPv6 listeners
/// take IPv6 only.
///
/// # Errors
/// Those of `socket`, `bind` and `listen`.
pub fn listen(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    open(address, reuse_port, true)
}

/// A non-blocking listener that shares address and port with another process's. On IPv6's wildcard it takes IPv4 too, as
/// those of the standard library do.
///
/// # Errors
/// As [`listen`].
pub fn listen_beside(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, true, false)
}

fn open(address: SocketAddr, reuse_port: bool, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Connections of a process that ended must not keep the next one from its port.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// An unconnected, non-blocking socket that will connect from `local`, which a listener with `reuse_port` may have too.
///
/// # Errors
/// Those of `socket` and `bind`.
pub fn bind_outgoing(local: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(local),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

/// Sets a new connection to send at once, to notice a dead other end, and to queue no more than `send_buffer` octets in
/// the kernel where that is given.
///
/// # Errors
/// When the connection is gone already.
pub fn configure(connection: &impl AsFd, send_buffer: Option<usize>) -> io::Result<()> {
    let socket = SockRef::from(connection);
    socket.set_tcp_nodelay(true)?;
    let probes = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(PROBE);
    socket.set_tcp_keepalive(&probes)?;
    if let Some(octets) = send_buffer {
        socket.set_send_buffer_size(octets)?;
    }
    Ok(())
}

/// Connections that may wait to be accepted, as far as the system allows.
const BACKLOG: i32 = 1024;
/// Silence after which the kernel asks whether the other end still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Between two such questions.
const PROBE: Duration = Duration::from_secs(15);
