//! What a shard does about what its supervisor says: a new policy, questions, listeners that come and go.

use crate::net::dtls::DtlsServer;
use crate::net::{PolledSocket, TlsServer, UdpSocket};
use crate::relay::client::clients::{Clients, Retired, UdpListener, Way};
use crate::relay::io::ready_queue::Source;
use crate::relay::shard::event_loop::Shard;
use crate::relay::shard::mailbox::Letter;
use crate::turn::{EndReason, FiveTuple, Link, Transport};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

impl Clients {
    /// Takes clients at a listener's sockets, in place of those that it had; without a UDP socket, at the one it has.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub(crate) fn listen(
        &mut self,
        number: u32,
        udp: Option<UdpSocket>,
        tcp: Option<std::net::TcpListener>,
    ) -> io::Result<()> {
        let place = number as usize;
        if self.udp.len() <= place {
            self.udp.resize_with(place + 1, || None);
            self.tcp.resize_with(place + 1, || None);
        }
        if let Some(socket) = udp {
            let address = socket.local_address();
            let port = PolledSocket::new(socket, self.ready.waker(Source::Udp(number)))?;
            let listener = UdpListener {
                port,
                address,
                wildcard: address.ip().is_unspecified(),
                retired: None,
            };
            self.udp.get_mut(place).map(|slot| slot.replace(listener));
        } else if let Some(listener) = self.udp(number) {
            listener.retired = None;
        }
        if let Some(listener) = tcp {
            let entry = (
                TcpListener::from_std(listener)?,
                self.ready.waker(Source::Tcp(number)),
            );
            self.tcp.get_mut(place).map(|slot| slot.replace(entry));
            // It enters itself once it has been asked.
            self.ready.push(Source::Tcp(number));
        }
        Ok(())
    }

    /// Takes no new clients at a listener.
    pub(crate) fn retire(&mut self, number: u32, heir: Option<u32>) {
        if let Some(slot) = self.tcp.get_mut(number as usize) {
            *slot = None;
        }
        if let Some(listener) = self.udp(number) {
            listener.retired = Some(Retired {
                answers: heir.unwrap_or(number),
                strangers: heir.is_some(),
            });
        }
    }

    /// Closes a listener.
    pub(crate) fn close(&mut self, number: u32) {
        if let Some(slot) = self.udp.get_mut(number as usize) {
            *slot = None;
        }
    }
}

impl Shard {
    /// Does what a letter says.
    pub(crate) fn read(&mut self, letter: Letter) {
        match letter {
            Letter::Stop => {
                self.server.end_all(self.now, EndReason::Stopped);
                self.perform();
                self.alive = false;
            }
            Letter::ReplacePolicy(policy) => {
                self.gate.policy = policy.clone();
                self.server.replace_policy(policy);
            }
            Letter::List(answer) => {
                // Who asked may have left.
                let _ = answer.send(
                    self.server
                        .records(self.now)
                        .map(|record| *record)
                        .collect(),
                );
            }
            Letter::Detail(id, answer) => {
                let _ = answer.send(self.server.allocation(self.now, id).map(Box::new));
            }
            Letter::Close(id, answer) => {
                let found = self.server.end_allocation(self.now, id, EndReason::Closed);
                self.perform();
                let _ = answer.send(found);
            }
            Letter::Listen { number, udp, tcp } => self.listen(number, udp, tcp),
            Letter::Retire { number, heir } => self.egress.clients.retire(number, heir),
            Letter::Uses(number, answer) => drop(answer.send(self.uses(number))),
            Letter::Unlisten(number) => self.egress.clients.close(number),
            Letter::Speak(tls, dtls) => self.speak(tls, dtls),
            Letter::StepAside(options, answer) => drop(answer.send(self.step_aside(&options))),
            Letter::Stay => self.stay(),
            Letter::Leave(answer) => {
                self.leave();
                let _ = answer.send(());
            }
            Letter::Release => self.release(),
        }
    }

    /// Takes clients at one more listener, or again at one.
    fn listen(&mut self, number: u32, udp: Option<UdpSocket>, tcp: Option<std::net::TcpListener>) {
        if let Err(error) = self.egress.clients.listen(number, udp, tcp) {
            tracing::error!(%error, "a new listener cannot be watched");
        }
    }

    /// Speaks TLS and DTLS as it is said here from now on, or not at all; what is established goes on.
    fn speak(&mut self, tls: Option<Arc<TlsServer>>, dtls: Option<Arc<DtlsServer>>) {
        (self.gate.secure.tls, self.gate.dtls) = (tls, dtls);
    }

    /// Whether a datagram that came to a retired listener is no client's, here or on another shard.
    pub(crate) fn is_stranger(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let unknown = [Transport::Udp, Transport::Dtls].map(|transport| FiveTuple {
            client,
            server,
            transport,
        });
        self.is_gone(client, server)
            && unknown
                .iter()
                .all(|five_tuple| self.server.owning_shard(five_tuple).is_none())
    }

    /// Whether nobody at this shard is known by these ends.
    pub(crate) fn is_gone(&self, client: SocketAddr, server: SocketAddr) -> bool {
        let five_tuple = FiveTuple {
            client,
            server,
            transport: Transport::Udp,
        };
        !self.server.has_allocation(&five_tuple)
            && self.egress.associations.find(&(client, server)).is_none()
    }

    /// Whether any allocation is answered by a listener.
    fn uses(&mut self, number: u32) -> bool {
        let clients: Vec<_> = self.server.clients().collect();
        clients.iter().any(|client| match Way::of(client.link) {
            Way::Listener(index) => index == number,
            Way::Association { .. } => self.listener_of(client.link) == Some(number),
            Way::Conn { .. } => false,
        })
    }

    /// The listener by which a DTLS client came.
    pub(crate) fn listener_of(&mut self, link: Link) -> Option<u32> {
        let place = self.egress.associations.place(link)?;
        self.egress
            .associations
            .get(place)
            .map(|entry| entry.listener)
    }
}
