//! The face of the peer side.

use crate::net::{Batch, IcmpError, Received, UdpOptions, UdpSocket, tcp};
use crate::relay::io::ready_queue::ReadyQueue;
use crate::relay::io::stream::Stream;
use crate::relay::observe::counters::Counters;
use crate::relay::peer::data_connections::{DataConnections, Report, SpliceOutcome};
use crate::relay::peer::tcp::TcpRelays;
use crate::relay::peer::udp::RelaySockets;
use crate::relay::peer::unbound::{UnboundConnection, UnboundConnections};
use crate::turn::{BindError, ConnectionId, Instant, Meter, Protocol, RelayedId};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;
use tokio::net::TcpStream;

/// Everything of a shard that peers reach.
pub(crate) struct Peers {
    udp: RelaySockets,
    tcp: TcpRelays,
    unbound: Arc<UnboundConnections>,
    data_connections: DataConnections,
    shard: u16,
    counters: Arc<Counters>,
}

impl Peers {
    /// Uses the runtime of the calling thread; `options` are for UDP relay sockets.
    ///
    /// # Errors
    /// The runtime cannot register the poller of the relay sockets.
    pub(crate) fn new(
        options: UdpOptions,
        unbound: Arc<UnboundConnections>,
        shard: u16,
        ready: &Arc<ReadyQueue>,
        counters: &Arc<Counters>,
    ) -> io::Result<Peers> {
        Ok(Peers {
            udp: RelaySockets::new(options)?,
            tcp: TcpRelays::new(ready.clone()),
            unbound,
            data_connections: DataConnections::new(shard, ready.clone(), counters.clone()),
            shard,
            counters: counters.clone(),
        })
    }

    /// Reports the numbers of the UDP relay sockets that became ready. The next one wakes the task.
    pub(crate) fn for_each_ready(&mut self, cx: &mut Context<'_>, report: impl FnMut(u32)) {
        self.udp.for_each_ready(cx, report);
    }

    /// Binds a relayed address.
    ///
    /// # Errors
    /// [`BindError::InUse`] if another port may be free, [`BindError::Failed`] if none can be
    /// bound.
    pub(crate) fn bind(
        &mut self,
        relayed: RelayedId,
        local: SocketAddr,
        protocol: Protocol,
    ) -> Result<(), BindError> {
        let bound = match protocol {
            Protocol::Udp => self.udp.bind(relayed, local),
            Protocol::Tcp => self.tcp.listen(relayed, local),
        };
        if let Err(error) = bound {
            self.counters.relay_bind_failures.add(1);
            if error == BindError::Failed {
                tracing::warn!(%local, "relay socket could not be bound");
            }
        }
        self.count_sockets();
        bound
    }

    pub(crate) fn close(&mut self, relayed: RelayedId) {
        self.udp.close(relayed);
        self.tcp.close(relayed);
        self.count_sockets();
    }

    fn count_sockets(&self) {
        let gauge = &self.counters.relay_sockets;
        gauge.add((self.udp.open() as u64).wrapping_sub(gauge.get()));
    }

    /// Receives at a UDP relay socket; `None` if it is closed.
    ///
    /// # Errors
    /// The socket fails.
    pub(crate) fn receive(
        &mut self,
        relayed: RelayedId,
        batch: &mut Batch,
    ) -> io::Result<Option<Received>> {
        let Some(socket) = self.udp.get(relayed.0) else {
            return Ok(None);
        };
        let received = socket.receive(batch)?;
        let datagrams = received.datagrams.len() as u64;
        self.counters.peer_datagrams.add(datagrams);
        self.counters.receive_calls.add(u64::from(received.calls));
        self.counters
            .receive_overflowed
            .add(u64::from(received.overflowed));
        Ok(Some(received))
    }

    /// Reads ICMP errors about datagrams that a UDP relay socket sent; returns true if there are
    /// more.
    pub(crate) fn read_icmp_errors(
        &mut self,
        relayed: RelayedId,
        errors: &mut Vec<IcmpError>,
    ) -> bool {
        let Some(socket) = self.udp.get(relayed.0) else {
            return false;
        };
        socket.read_icmp_errors(errors);
        self.counters.icmp_errors.add(errors.len() as u64);
        socket.has_icmp_errors()
    }

    /// The socket of a relayed address, to send with.
    pub(crate) fn socket(&mut self, number: u32) -> Option<&mut UdpSocket> {
        self.udp.get(number)
    }

    /// Accepts one connection of a peer: see [`TcpRelays::accept`].
    ///
    /// # Errors
    /// No connection can be accepted for now: out of descriptors.
    pub(crate) fn accept(
        &mut self,
        relayed: RelayedId,
    ) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.tcp.accept(relayed)
    }

    /// Starts to connect to a peer: see [`TcpRelays::dial`].
    ///
    /// # Errors
    /// No socket can be bound to the relayed address.
    pub(crate) fn dial(
        &mut self,
        connection: ConnectionId,
        local: SocketAddr,
        peer: SocketAddr,
        now: Instant,
    ) -> io::Result<()> {
        self.tcp.dial(connection, local, peer, now)
    }

    /// The result of a dial once it is there.
    pub(crate) fn poll_dial(&mut self, connection: ConnectionId) -> Option<io::Result<TcpStream>> {
        self.tcp.poll_dial(connection)
    }

    /// Cancels and returns a dial that timed out.
    pub(crate) fn pop_timed_out_dial(&mut self, now: Instant) -> Option<ConnectionId> {
        self.tcp.pop_timed_out(now)
    }

    /// Stores a connection of a peer until a client binds it; false if the connection failed
    /// already.
    pub(crate) fn store_unbound(
        &mut self,
        id: ConnectionId,
        stream: TcpStream,
        meter: Option<Meter>,
    ) -> bool {
        let Ok(stream) = tcp::configure(&stream, None).and_then(|()| stream.into_std()) else {
            return false;
        };
        let connection = UnboundConnection {
            owner: self.shard,
            stream,
            meter,
        };
        self.unbound.insert(id, connection);
        true
    }

    /// Splices a client's connection, to which `output` is still to be written, with the peer's
    /// connection of this id.
    pub(crate) fn splice(
        &mut self,
        id: ConnectionId,
        client: Stream,
        output: Vec<u8>,
    ) -> SpliceOutcome {
        match self.unbound.remove(id) {
            Some(peer) => self.data_connections.bind(id, client, output, peer),
            None => SpliceOutcome::NoPeer,
        }
    }

    /// Queues octets that a client sent before its connection was spliced.
    pub(crate) fn queue_to_peer(&mut self, id: ConnectionId, octets: &[u8]) {
        self.data_connections.queue_to_peer(id, octets);
    }

    /// Carries octets of a data connection both ways.
    pub(crate) fn pump(
        &mut self,
        id: ConnectionId,
        now: Instant,
        unix: Duration,
    ) -> Option<Report> {
        self.data_connections.pump(id, now, unix)
    }

    /// Makes the data connections ready whose pause is over.
    pub(crate) fn resume_paused(&mut self, now: Instant) {
        self.data_connections.resume_paused(now);
    }

    /// Closes a data connection that is being established, unbound, or spliced on this shard; false
    /// if it is none of these.
    pub(crate) fn close_data_connection(&mut self, id: ConnectionId) -> bool {
        self.tcp.cancel_dial(id)
            || self.unbound.remove(id).is_some()
            || self.data_connections.close(id)
    }

    /// Closes a data connection that is spliced on this shard.
    pub(crate) fn close_spliced(&mut self, id: ConnectionId) {
        self.data_connections.close(id);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.tcp.next_deadline(),
            self.data_connections.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}
