//! The listening sockets of one shard, by the number of the listener, which is the same on all
//! shards.

use crate::net::{
    Batch, Datagram, PolledSocket, Readiness, Received, Transmit, UdpOptions, UdpSocket,
};
use crate::relay::io::ready_queue::{ReadyQueue, Source};
use crate::relay::io::recv_meta::RecvMeta;
use crate::relay::io::send_queue::{SendQueue, Sender};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::{TcpListener, TcpStream};

/// The UDP and TCP socket of one listener on one shard.
pub(crate) type ListenerSockets = (Option<UdpSocket>, Option<std::net::TcpListener>);

/// All listeners of a shard.
pub(crate) struct Listeners {
    udp: Vec<Option<UdpListener>>,
    tcp: Vec<Option<(TcpListener, Waker)>>,
    ready: Arc<ReadyQueue>,
}

/// The UDP socket of a listener.
pub(crate) struct UdpListener {
    socket: PolledSocket,
    address: SocketAddr,
    is_wildcard: bool,
    retired: Option<Retired>,
}

/// State of a UDP listener that accepts no new clients. The clients that it has keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    /// The listener that sends the responses: itself, or one with the same port on a wildcard
    /// address.
    pub(crate) answering: u32,
    /// Serve unknown clients too, because `answering` accepts them.
    pub(crate) accepts_new: bool,
}

/// What one receive of a UDP listener returned.
pub(crate) struct ListenerReceived {
    pub(crate) received: Received,
    pub(crate) readiness: Readiness,
    /// The listener that sends the responses.
    pub(crate) answering: u32,
    /// Unknown clients are ignored.
    pub(crate) known_clients_only: bool,
    address: SocketAddr,
    is_wildcard: bool,
}

impl ListenerReceived {
    /// The address that the client sent the datagram to.
    pub(crate) fn server_address(&self, datagram: &Datagram) -> SocketAddr {
        match datagram.local {
            Some(local) if self.is_wildcard => SocketAddr::new(local, self.address.port()),
            _ => self.address,
        }
    }
}

impl Listeners {
    pub(crate) fn new(ready: Arc<ReadyQueue>) -> Listeners {
        Listeners {
            udp: Vec::new(),
            tcp: Vec::new(),
            ready,
        }
    }

    /// Opens a listener with these sockets. Without a UDP socket, the retired UDP listener of that
    /// number accepts clients again.
    ///
    /// # Errors
    /// The runtime cannot register a socket.
    pub(crate) fn open(&mut self, number: u32, sockets: ListenerSockets) -> io::Result<()> {
        let (udp, tcp) = sockets;
        let index = number as usize;
        if self.udp.len() <= index {
            self.udp.resize_with(index + 1, || None);
            self.tcp.resize_with(index + 1, || None);
        }
        if let Some(socket) = udp {
            let address = socket.local_address();
            let waker = self.ready.waker(Source::UdpListener(number));
            let listener = UdpListener {
                socket: PolledSocket::new(socket, waker)?,
                address,
                is_wildcard: address.ip().is_unspecified(),
                retired: None,
            };
            if let Some(slot) = self.udp.get_mut(index) {
                *slot = Some(listener);
            }
        } else if let Some(listener) = self.udp(number) {
            listener.retired = None;
        }
        if let Some(listener) = tcp {
            let source = Source::TcpListener(number);
            let listener = (TcpListener::from_std(listener)?, self.ready.waker(source));
            if let Some(slot) = self.tcp.get_mut(index) {
                *slot = Some(listener);
            }
            // The waker is registered by the first accept.
            self.ready.push(source);
        }
        Ok(())
    }

    /// Opens a listener on a number of its own for the datagrams of one client.
    ///
    /// # Errors
    /// No socket can be opened.
    pub(crate) fn open_connected(
        &mut self,
        client: SocketAddr,
        server: SocketAddr,
        answering: u32,
        options: &UdpOptions,
    ) -> io::Result<u32> {
        let socket = UdpSocket::bind(server, options)?;
        socket.connect(client)?;
        let number = self.udp.len() as u32;
        self.open(number, (Some(socket), None))?;
        if let Some(listener) = self.udp(number) {
            listener.retired = Some(Retired {
                answering,
                accepts_new: false,
            });
        }
        Ok(number)
    }

    /// Accepts no new clients at a listener. If a `successor` takes its port over, new clients are
    /// served in its name.
    pub(crate) fn retire(&mut self, number: u32, successor: Option<u32>) {
        self.close_tcp(number);
        if let Some(listener) = self.udp(number) {
            listener.retired = Some(Retired {
                answering: successor.unwrap_or(number),
                accepts_new: successor.is_some(),
            });
        }
    }

    /// Stops accepting new clients at all UDP listeners; returns the numbers of the listeners that
    /// accepted them until now.
    pub(crate) fn retire_all_udp(&mut self) -> Vec<u32> {
        let mut retired = Vec::new();
        for (number, slot) in (0..).zip(&mut self.udp) {
            if let Some(listener) = slot.as_mut().filter(|listener| listener.retired.is_none()) {
                listener.retired = Some(Retired {
                    answering: number,
                    accepts_new: false,
                });
                retired.push(number);
            }
        }
        retired
    }

    /// Accepts new clients again at a retired UDP listener.
    pub(crate) fn resume_udp(&mut self, number: u32) {
        if let Some(listener) = self.udp(number) {
            listener.retired = None;
        }
    }

    pub(crate) fn close_udp(&mut self, number: u32) {
        if let Some(slot) = self.udp.get_mut(number as usize) {
            *slot = None;
        }
    }

    fn close_tcp(&mut self, number: u32) {
        if let Some(slot) = self.tcp.get_mut(number as usize) {
            *slot = None;
        }
    }

    pub(crate) fn close_all_tcp(&mut self) {
        self.tcp.iter_mut().for_each(|slot| *slot = None);
    }

    /// The open UDP listeners and their numbers.
    pub(crate) fn udp_listeners(&mut self) -> impl Iterator<Item = (u32, &mut UdpListener)> {
        (0..)
            .zip(&mut self.udp)
            .filter_map(|(number, slot)| Some((number, slot.as_mut()?)))
    }

    pub(crate) fn udp(&mut self, number: u32) -> Option<&mut UdpListener> {
        self.udp.get_mut(number as usize)?.as_mut()
    }

    /// Receives at a UDP listener; `None` if it is closed or not ready.
    ///
    /// # Errors
    /// The socket fails; it stays ready.
    pub(crate) fn receive(
        &mut self,
        number: u32,
        batch: &mut Batch,
    ) -> io::Result<Option<ListenerReceived>> {
        let Some(listener) = self.udp(number) else {
            return Ok(None);
        };
        let Some((received, readiness)) = listener.socket.receive(batch)? else {
            return Ok(None);
        };
        Ok(Some(ListenerReceived {
            received,
            readiness,
            answering: listener.retired.map_or(number, |retired| retired.answering),
            known_clients_only: listener.retired.is_some_and(|retired| !retired.accepts_new),
            address: listener.address,
            is_wildcard: listener.is_wildcard,
        }))
    }

    /// Accepts one connection; `None` if the listener is closed or nothing waits.
    ///
    /// # Errors
    /// Errors of `accept`.
    pub(crate) fn accept(&mut self, number: u32) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let Some(Some((listener, waker))) = self.tcp.get(number as usize) else {
            return Ok(None);
        };
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(accepted) => accepted.map(Some),
        }
    }

    /// The UDP listener on this address, or on the wildcard address with its port.
    pub(crate) fn number_of(&self, address: SocketAddr) -> Option<u32> {
        let listens = |listener: &Option<UdpListener>| {
            listener.as_ref().is_some_and(|listener| {
                listener.address == address
                    || (listener.is_wildcard
                        && listener.address.port() == address.port()
                        && listener.address.is_ipv4() == address.is_ipv4())
            })
        };
        let index = self.udp.iter().position(listens)?;
        u32::try_from(index).ok()
    }

    /// Queues octets that the server made, for a client of a UDP listener. False if the listener is
    /// closed.
    pub(crate) fn send(
        &mut self,
        number: u32,
        (client, server): (SocketAddr, SocketAddr),
        octets: &[u8],
        meta: RecvMeta,
        queue: &mut SendQueue,
    ) -> bool {
        let Some(listener) = self.udp(number) else {
            return false;
        };
        let payload = queue.copy(octets);
        let transmit = Transmit {
            from: listener.source_for(server),
            traffic_class: meta.traffic_class,
            hop_limit: meta.hop_limit,
            ..Transmit::new(client, payload)
        };
        queue.push(Sender::Listener(number), transmit);
        true
    }
}

impl UdpListener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn socket(&mut self) -> &mut UdpSocket {
        self.socket.socket()
    }

    /// The source address to set on datagrams to a client that wrote to `server`: a wildcard socket
    /// has several, and the kernel would choose one by the route.
    pub(crate) fn source_for(&self, server: SocketAddr) -> Option<IpAddr> {
        (self.is_wildcard && !server.ip().is_unspecified()).then(|| server.ip())
    }
}
