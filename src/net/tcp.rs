//! TCP listeners, and the options of connections.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// Use of a listener's port by other sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSharing {
    /// No other socket may listen on the same address and port.
    Exclusive,
    /// Sets `SO_REUSEPORT`: the listeners of all shards share address and port, and the kernel
    /// spreads connections over them by a hash of addresses and ports. All sockets must set the
    /// option and belong to one user.
    Shared,
}

/// Opens a non-blocking listener. A listener on an IPv6 address does not accept IPv4 connections.
///
/// # Errors
/// The errors of `socket`, `bind` and `listen`.
pub fn listen(address: SocketAddr, sharing: PortSharing) -> io::Result<TcpListener> {
    open_listener(address, sharing, IpVersions::OnlyOwn)
}

/// Opens a non-blocking listener that may share its port with another process. On the IPv6 wildcard
/// address it also accepts IPv4 connections, as a listener of the standard library does.
///
/// # Errors
/// The errors of `socket`, `bind` and `listen`.
pub fn listen_dual_stack(address: SocketAddr) -> io::Result<TcpListener> {
    open_listener(address, PortSharing::Shared, IpVersions::Both)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum IpVersions {
    OnlyOwn,
    Both,
}

fn open_listener(
    address: SocketAddr,
    sharing: PortSharing,
    versions: IpVersions,
) -> io::Result<TcpListener> {
    let socket = open(address)?;
    if address.is_ipv6() {
        socket.set_only_v6(versions == IpVersions::OnlyOwn)?;
    }
    // Connections in TIME_WAIT would keep a restarted server from its port for a minute.
    socket.set_reuse_address(true)?;
    if sharing == PortSharing::Shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Opens an unconnected, non-blocking socket on `local`, to connect from. RFC 6062 connects to
/// peers from the relayed address while a listener accepts the peers' connections there, so both
/// share the port.
///
/// # Errors
/// The errors of `socket` and `bind`.
pub fn bind_outgoing(local: SocketAddr) -> io::Result<TcpStream> {
    let socket = open(local)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&local.into())?;
    Ok(socket.into())
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets the options of a new connection: no delay by Nagle's algorithm, keepalive probes, and a
/// send buffer of `send_buffer` octets (`None` for the system's default).
///
/// # Errors
/// If the connection is closed already.
pub fn configure(connection: &impl AsFd, send_buffer: Option<usize>) -> io::Result<()> {
    let socket = SockRef::from(connection);
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_TIME)
        .with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    if let Some(octets) = send_buffer {
        socket.set_send_buffer_size(octets)?;
    }
    Ok(())
}

/// Connections that may wait to be accepted. The system may limit them to fewer
/// (`net.core.somaxconn`).
const BACKLOG: i32 = 1024;
/// Silence after which the kernel probes whether the other end still exists.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// Time between two probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::os::fd::AsRawFd;

    #[test]
    fn listeners_share_a_port_and_connections_are_configured() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let one = listen(any, PortSharing::Shared).unwrap();
        let address = one.local_addr().unwrap();
        let two = listen(address, PortSharing::Shared).unwrap();
        assert!(TcpListener::bind(address).is_err());
        assert!(listen(address, PortSharing::Exclusive).is_err());
        let connection = TcpStream::connect(address).unwrap();
        configure(&connection, Some(65_536)).unwrap();
        assert!(connection.nodelay().unwrap());
        assert!(SockRef::from(&connection).keepalive().unwrap());
        let mut polls = [&one, &two].map(|listener| libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: the kernel reads and writes two entries, which outlive the call.
        assert_eq!(unsafe { libc::poll(polls.as_mut_ptr(), 2, 10_000) }, 1);
        let accepted = one.accept().or_else(|_| two.accept());
        assert_eq!(accepted.unwrap().1, connection.local_addr().unwrap());
    }

    #[test]
    fn an_ipv6_listener_leaves_the_port_to_an_ipv4_listener() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let ipv6 = listen(any, PortSharing::Exclusive).unwrap();
        let port = ipv6.local_addr().unwrap().port();
        let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        listen(ipv4, PortSharing::Exclusive).unwrap();
    }
}
