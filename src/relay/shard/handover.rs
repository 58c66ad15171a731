//! Making room for another process on the same ports, so that a server is replaced without a call being dropped.
//!
//! ```text
//!   the old one                                     the new one
//!   step_aside  a socket for each client alone;
//!               strangers get no answer             listens on the same ports
//!   leave       its listeners hear nobody, and      takes every new client
//!               are only sent from
//! ```
//!
//! The kernel gives a datagram to the socket that is connected to its sender before it looks at those that take anybody's.

use crate::net;
use crate::net::UdpSocket;
use crate::relay::client::clients::{Clients, Dedicated, Retired, Way};
use crate::relay::shard::event_loop::Shard;
use crate::turn::Client;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

impl Clients {
    /// Gives one client of a listener a socket of its own.
    ///
    /// # Errors
    /// When no more sockets can be opened.
    fn dedicate(
        &mut self,
        (client, server, answers): (SocketAddr, SocketAddr, u32),
        options: &net::UdpOptions,
    ) -> io::Result<()> {
        let socket = UdpSocket::bind(server, options)?;
        socket.connect(client)?;
        let number = self.udp.len() as u32;
        self.listen(number, Some(socket), None)?;
        if let Some(listener) = self.udp(number) {
            listener.retired = Some(Retired {
                answers,
                strangers: false,
            });
        }
        self.dedicated.push(Dedicated {
            number,
            client,
            server,
        });
        Ok(())
    }

    /// Takes no strangers at any listener.
    fn mute(&mut self) {
        for (number, slot) in (0..).zip(&mut self.udp) {
            if let Some(listener) = slot.as_mut().filter(|listener| listener.retired.is_none()) {
                listener.retired = Some(Retired {
                    answers: number,
                    strangers: false,
                });
                self.muted.push(number);
            }
        }
    }

    /// Takes them again where it did before.
    fn unmute(&mut self) {
        for number in std::mem::take(&mut self.muted) {
            if let Some(listener) = self.udp(number) {
                listener.retired = None;
            }
        }
    }
}

impl Shard {
    /// Keeps the clients that it has, each by a socket of its own, and takes no others.
    ///
    /// # Errors
    /// When there are not sockets enough; then nothing has changed.
    pub(crate) fn step_aside(&mut self, options: &net::UdpOptions) -> io::Result<()> {
        let clients = self.answered();
        self.egress.clients.mute();
        for ends in clients {
            if let Err(error) = self.egress.clients.dedicate(ends, options) {
                self.stay();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Takes anybody again.
    pub(crate) fn stay(&mut self) {
        let dedicated = std::mem::take(&mut self.egress.clients.dedicated);
        dedicated
            .iter()
            .for_each(|one| self.egress.clients.close(one.number));
        self.egress.clients.unmute();
    }

    /// Hears nobody at its listeners any more: another process does. What its clients get is still sent from them.
    pub(crate) fn leave(&mut self) {
        let dedicated: BTreeSet<u32> = self
            .egress
            .clients
            .dedicated
            .iter()
            .map(|one| one.number)
            .collect();
        for (number, slot) in (0..).zip(&mut self.egress.clients.udp) {
            let Some(listener) = slot.as_mut().filter(|_| !dedicated.contains(&number)) else {
                continue;
            };
            if let Err(error) = listener.port.socket().connect(nobody(listener.address)) {
                tracing::error!(address = %listener.address, %error, "a listener still takes what is for the next server");
            }
        }
        self.egress
            .clients
            .tcp
            .iter_mut()
            .for_each(|slot| *slot = None);
    }

    /// Closes the sockets of clients that are gone, so that they reach the next server when they come again.
    pub(crate) fn release(&mut self) {
        let dedicated = std::mem::take(&mut self.egress.clients.dedicated);
        let is_gone = |one: &Dedicated| self.is_gone(one.client, one.server);
        let (gone, kept): (Vec<_>, Vec<_>) = dedicated.into_iter().partition(is_gone);
        self.egress.clients.dedicated = kept;
        gone.iter()
            .for_each(|one| self.egress.clients.close(one.number));
    }

    /// The clients that listeners answer: both ends, and the listener's number.
    fn answered(&mut self) -> BTreeSet<(SocketAddr, SocketAddr, u32)> {
        let clients: Vec<_> = self.server.clients().collect();
        let ends = |client: &Client| {
            let number = match Way::of(client.link) {
                Way::Listener(number) => number,
                Way::Association { .. } => self.listener_of(client.link)?,
                Way::Conn { .. } => return None,
            };
            Some((client.five_tuple.client, client.five_tuple.server, number))
        };
        clients.iter().filter_map(ends).collect()
    }
}

/// An address from which nothing comes: a listener's own, or that of loopback.
fn nobody(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, DISCARD)
}

/// The port of the Discard protocol.
const DISCARD: u16 = 9;
