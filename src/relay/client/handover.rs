//! Handover of the listening ports to another process, so that a server is replaced and no call is
//! dropped.
//!
//! ```text
//!             old process                                  new process
//!   prepare   one connected socket for each client;
//!             unknown clients get no response              binds the same ports
//!   commit    the listeners stop receiving,
//!             but still send                               receives from all new clients
//! ```
//!
//! Both processes have sockets on the same ports (SO_REUSEPORT). The kernel delivers a datagram to
//! a socket that is connected to its sender before it considers unconnected sockets. The old
//! process therefore opens a connected socket for each of its clients, and then connects the
//! listeners themselves to an address that sends nothing: all other datagrams reach the new
//! process. Closing the listeners instead would lose the datagrams in their receive buffers, and
//! the old process could not send from them. If a socket cannot be opened, the handover is aborted
//! and nothing changes.

use crate::net::UdpOptions;
use crate::relay::client::listeners::Listeners;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The clients that keep this process although its ports go to another one.
#[derive(Debug, Default)]
pub(crate) struct Handover {
    /// The connected sockets, by the number of their listener.
    connected: BTreeMap<u32, ClientEnds>,
    /// The listeners that accepted new clients before the handover.
    retired: Vec<u32>,
}

/// The client's and the server's address.
pub(crate) type ClientEnds = (SocketAddr, SocketAddr);

impl Handover {
    /// Opens a connected socket for each of `clients`, which are given with the listener that
    /// answers them, and accepts no others.
    ///
    /// # Errors
    /// A socket could not be opened; the handover is aborted.
    pub(crate) fn prepare(
        &mut self,
        listeners: &mut Listeners,
        clients: &BTreeSet<(ClientEnds, u32)>,
        options: &UdpOptions,
    ) -> io::Result<()> {
        self.retired = listeners.retire_all_udp();
        for ((client, server), answering) in clients {
            match listeners.open_connected(*client, *server, *answering, options) {
                Ok(number) => {
                    self.connected.insert(number, (*client, *server));
                }
                Err(error) => {
                    self.abort(listeners);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Aborts the handover and accepts new clients again.
    pub(crate) fn abort(&mut self, listeners: &mut Listeners) {
        while let Some((number, _)) = self.connected.pop_first() {
            listeners.close_udp(number);
        }
        for number in self.retired.drain(..) {
            listeners.resume_udp(number);
        }
    }

    /// Stops receiving at the listeners. They still send to their clients.
    pub(crate) fn commit(&mut self, listeners: &mut Listeners) {
        for (number, listener) in listeners.udp_listeners() {
            if self.connected.contains_key(&number) {
                continue;
            }
            let address = listener.address();
            if let Err(error) = listener.socket().connect(silent_address(address)) {
                tracing::error!(%address, %error, "listener still receives datagrams of the new server");
            }
        }
        listeners.close_all_tcp();
    }

    /// Closes the connected sockets of clients that disconnected. If such a client returns, it
    /// reaches the new process.
    pub(crate) fn close_unused(
        &mut self,
        listeners: &mut Listeners,
        is_gone: impl Fn(&ClientEnds) -> bool,
    ) {
        self.connected.retain(|number, ends| {
            let gone = is_gone(ends);
            if gone {
                listeners.close_udp(*number);
            }
            !gone
        });
    }
}

/// An address that sends nothing to a listener: the Discard port of the listener's own host.
fn silent_address(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, DISCARD_PORT)
}

const DISCARD_PORT: u16 = 9;
