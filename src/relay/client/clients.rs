//! The interface of the client side: receives from listeners and connections, and sends to a client
//! through its listener, connection or association.

use crate::net::dtls::DtlsServer;
use crate::net::{Batch, Datagram, TlsServer, Transmit, UdpOptions, UdpSocket};
use crate::relay::client::connection::NextMessage;
use crate::relay::client::connections::{Connections, StreamRead, concerns_one_connection};
use crate::relay::client::dtls::{Associations, Decrypted, DtlsIo, RecordsReceived};
use crate::relay::client::handover::{ClientEnds, Handover};
use crate::relay::client::handshake_limit::HandshakeLimit;
use crate::relay::client::link_target::LinkTarget;
use crate::relay::client::listeners::{ListenerReceived, ListenerSockets, Listeners};
use crate::relay::io::clock::Clock;
use crate::relay::io::ready_queue::ReadyQueue;
use crate::relay::io::recv_meta::RecvMeta;
use crate::relay::io::send_queue::{Payload, SendQueue, Sender, message_parts};
use crate::relay::io::slab::Key;
use crate::relay::io::stream::Stream;
use crate::relay::observe::counters::Counters;
use crate::relay::plan::{ConnectionLimits, SecureTransports};
use crate::turn::{Client, FiveTuple, Instant, Link, PayloadHeader, RealmId};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The listeners, connections and associations of a shard.
pub(crate) struct Clients {
    listeners: Listeners,
    connections: Connections,
    associations: Associations,
    handover: Handover,
    shard: u16,
    counters: Arc<Counters>,
}

/// The arguments of [`Clients::new`].
pub(crate) struct ClientSetup {
    pub(crate) listeners: Vec<ListenerSockets>,
    pub(crate) limits: ConnectionLimits,
    pub(crate) secure: SecureTransports,
    pub(crate) dtls: Option<Arc<DtlsServer>>,
    pub(crate) shard: u16,
    pub(crate) clock: Clock,
}

impl Clients {
    /// Registers the sockets with the runtime of the calling thread.
    ///
    /// # Errors
    /// The runtime cannot register a socket.
    pub(crate) fn new(
        setup: ClientSetup,
        ready: &Arc<ReadyQueue>,
        counters: &Arc<Counters>,
    ) -> io::Result<Clients> {
        let ClientSetup {
            limits,
            secure,
            shard,
            ..
        } = setup;
        let handshakes = HandshakeLimit::new(limits.handshakes);
        let mut listeners = Listeners::new(ready.clone());
        for (number, sockets) in (0..).zip(setup.listeners) {
            listeners.open(number, sockets)?;
        }
        Ok(Clients {
            listeners,
            associations: Associations::new(
                setup.dtls,
                limits,
                handshakes.clone(),
                shard,
                setup.clock,
                counters.clone(),
            ),
            connections: Connections::new(
                limits,
                secure,
                handshakes,
                shard,
                ready.clone(),
                counters.clone(),
            ),
            handover: Handover::default(),
            shard,
            counters: counters.clone(),
        })
    }

    /// Receives at a UDP listener; `None` if it is closed or not ready.
    ///
    /// # Errors
    /// The socket fails; it stays ready.
    pub(crate) fn receive(
        &mut self,
        listener: u32,
        batch: &mut Batch,
    ) -> io::Result<Option<ListenerReceived>> {
        let received = self.listeners.receive(listener, batch)?;
        if let Some(ListenerReceived { received, .. }) = &received {
            let datagrams = received.datagrams.len() as u64;
            self.counters.client_datagrams.add(datagrams);
            self.counters.receive_calls.add(u64::from(received.calls));
            self.counters
                .receive_overflowed
                .add(u64::from(received.overflowed));
        }
        Ok(received)
    }

    /// Receives a datagram of DTLS records. Messages are then to be had from
    /// [`Clients::pop_decrypted`].
    pub(crate) fn receive_records(
        &mut self,
        listener: u32,
        ends: ClientEnds,
        datagram: &Datagram,
        batch: &mut Batch,
        queue: &mut SendQueue,
        now: Instant,
    ) -> RecordsReceived {
        let mut io = DtlsIo {
            batch,
            listeners: &mut self.listeners,
            queue,
            now,
        };
        self.associations.receive(listener, ends, datagram, &mut io)
    }

    /// The next message that DTLS decrypted.
    pub(crate) fn pop_decrypted(&mut self) -> Option<Decrypted> {
        self.associations.pop_decrypted()
    }

    pub(crate) fn remove_association(&mut self, key: Key) {
        self.associations.remove(key);
    }

    /// The realm that the server name of a DTLS client chose.
    pub(crate) fn set_association_realm(&mut self, key: Key, realm: Option<RealmId>) {
        self.associations.set_realm(key, realm);
    }

    /// Sends a datagram that belongs to no association.
    pub(crate) fn send_datagram(
        &mut self,
        listener: u32,
        ends: ClientEnds,
        octets: &[u8],
        meta: RecvMeta,
        queue: &mut SendQueue,
    ) {
        if !self.listeners.send(listener, ends, octets, meta, queue) {
            self.counters.client_gone.add(1);
        }
    }

    pub(crate) fn has_association(&self, ends: &ClientEnds) -> bool {
        self.associations.contains(ends)
    }

    /// Accepts connections at a TCP listener; returns true if there may be more.
    ///
    /// # Errors
    /// No connection can be accepted for now: out of descriptors.
    pub(crate) fn accept(&mut self, listener: u32, now: Instant) -> io::Result<bool> {
        for _ in 0..MAX_ACCEPTS {
            match self.listeners.accept(listener) {
                Ok(None) => return Ok(false),
                Ok(Some((stream, client))) => self.connections.insert(stream, client, now),
                Err(error) => {
                    self.counters.connections_failed.add(1);
                    if !concerns_one_connection(&error) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads a connection once, or continues its TLS handshake.
    pub(crate) fn read(&mut self, connection: Key, batch: &mut Batch, now: Instant) -> StreamRead {
        self.connections.read(connection, batch, now)
    }

    /// Writes the output of a connection.
    pub(crate) fn flush(&mut self, connection: Key) {
        self.connections.flush(connection);
    }

    /// The realm that the server name of a TLS client chose.
    pub(crate) fn set_connection_realm(&mut self, connection: Key, realm: Option<RealmId>) {
        self.connections.set_realm(connection, realm);
    }

    /// Finds the next message in octets of a connection; `None` if the connection is closed.
    pub(crate) fn next_message(
        &mut self,
        connection: Key,
        octets: &[u8],
        now: Instant,
    ) -> Option<(Client, NextMessage)> {
        self.connections.next_message(connection, octets, now)
    }

    /// Closes a connection that sent something other than messages.
    pub(crate) fn close_malformed(&mut self, connection: Key) {
        self.connections.close_malformed(connection);
    }

    /// Takes the stream of a client's connection to splice it, and what is still to be written to
    /// it.
    pub(crate) fn take_stream(&mut self, client: &Client) -> Option<(Stream, Vec<u8>)> {
        match LinkTarget::of(client.link) {
            LinkTarget::Connection { shard, key } if shard == self.shard => {
                self.connections.take_stream(key)
            }
            LinkTarget::Connection { .. }
            | LinkTarget::Association { .. }
            | LinkTarget::Listener(_) => None,
        }
    }

    /// The shard that reaches a client, if this one does not.
    pub(crate) fn remote_shard(&self, link: Link) -> Option<u16> {
        match LinkTarget::of(link) {
            LinkTarget::Listener(_) => None,
            LinkTarget::Connection { shard, .. } | LinkTarget::Association { shard, .. } => {
                (shard != self.shard).then_some(shard)
            }
        }
    }

    /// Sends a relayed payload behind its header.
    pub(crate) fn send_payload(
        &mut self,
        client: &Client,
        header: &PayloadHeader,
        payload: Payload,
        meta: RecvMeta,
        batch: &mut Batch,
        queue: &mut SendQueue,
    ) {
        match LinkTarget::of(client.link) {
            LinkTarget::Listener(number) => {
                let Some(listener) = self.listeners.udp(number) else {
                    return self.counters.client_gone.add(1);
                };
                let Some(hop_limit) = queue.forwarded_hop_limit(meta.hop_limit) else {
                    return;
                };
                let (first, second) = queue.prepend(header, payload, batch);
                let transmit = Transmit {
                    from: listener.source_for(client.five_tuple.server),
                    header: first,
                    padding: header.padding(),
                    traffic_class: meta.traffic_class,
                    hop_limit,
                    ..Transmit::new(client.five_tuple.client, second)
                };
                queue.push(Sender::Listener(number), transmit);
            }
            LinkTarget::Association { key, .. } => {
                let Some(hop_limit) = queue.forwarded_hop_limit(meta.hop_limit) else {
                    return;
                };
                let parts = message_parts(header, payload, batch);
                let meta = RecvMeta { hop_limit, ..meta };
                self.associations
                    .send(key, &parts, meta, &mut self.listeners, queue);
            }
            LinkTarget::Connection { key, .. } => {
                let payload = batch.octets().get(payload.range()).unwrap_or_default();
                self.connections.queue_payload(key, header, payload);
            }
        }
    }

    /// Sends a response of this server, from another of its addresses if `from` says so (RFC 5780).
    pub(crate) fn send_response(
        &mut self,
        client: &Client,
        from: Option<SocketAddr>,
        response: &[u8],
        queue: &mut SendQueue,
    ) {
        match LinkTarget::of(client.link) {
            LinkTarget::Listener(number) => {
                let number = match from {
                    Some(address) => self.listeners.number_of(address),
                    None => Some(number),
                };
                let Some(number) = number else {
                    return self.counters.client_gone.add(1);
                };
                let server = from.unwrap_or(client.five_tuple.server);
                let ends = (client.five_tuple.client, server);
                self.send_datagram(number, ends, response, RecvMeta::ORIGINATED, queue);
            }
            LinkTarget::Association { key, .. } => self.associations.send(
                key,
                &[response],
                RecvMeta::ORIGINATED,
                &mut self.listeners,
                queue,
            ),
            LinkTarget::Connection { key, .. } => self.connections.queue_response(key, response),
        }
    }

    /// Sends what another shard framed for a client that this shard reaches.
    pub(crate) fn send_framed(&mut self, link: Link, octets: &[u8], queue: &mut SendQueue) {
        match LinkTarget::of(link) {
            LinkTarget::Association { key, .. } => self.associations.send(
                key,
                &[octets],
                RecvMeta::ORIGINATED,
                &mut self.listeners,
                queue,
            ),
            LinkTarget::Connection { key, .. } => self.connections.queue_framed(key, octets),
            // Any shard can send to clients of a listener, so none asks another to.
            LinkTarget::Listener(_) => self.counters.client_gone.add(1),
        }
    }

    /// The socket of a listener, to send with.
    pub(crate) fn socket(&mut self, listener: u32) -> Option<&mut UdpSocket> {
        Some(self.listeners.udp(listener)?.socket())
    }

    /// Writes the output of all connections that got some.
    pub(crate) fn flush_connections(&mut self) {
        self.connections.flush_dirty();
    }

    /// A client whose connection or association ended: the caller ends its allocation.
    pub(crate) fn pop_disconnected(&mut self) -> Option<Client> {
        self.connections
            .pop_disconnected()
            .or_else(|| self.associations.pop_disconnected())
    }

    /// Closes idle connections and associations, and retransmits DTLS handshakes.
    pub(crate) fn handle_timeouts(
        &mut self,
        batch: &mut Batch,
        queue: &mut SendQueue,
        now: Instant,
        has_allocation: impl Fn(&FiveTuple) -> bool,
    ) {
        self.connections.close_idle(now, &has_allocation);
        let mut io = DtlsIo {
            batch,
            listeners: &mut self.listeners,
            queue,
            now,
        };
        self.associations.handle_timeouts(&mut io, &has_allocation);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.connections.next_deadline(),
            self.associations.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Opens a listener: see [`Listeners::open`].
    ///
    /// # Errors
    /// The runtime cannot register a socket.
    pub(crate) fn open_listener(
        &mut self,
        number: u32,
        sockets: ListenerSockets,
    ) -> io::Result<()> {
        self.listeners.open(number, sockets)
    }

    /// Accepts no new clients at a listener: see [`Listeners::retire`].
    pub(crate) fn retire_listener(&mut self, number: u32, successor: Option<u32>) {
        self.listeners.retire(number, successor);
    }

    pub(crate) fn close_listener(&mut self, number: u32) {
        self.listeners.close_udp(number);
    }

    /// Returns true if one of `clients` is answered by a listener.
    pub(crate) fn uses_listener(
        &self,
        mut clients: impl Iterator<Item = Client>,
        number: u32,
    ) -> bool {
        clients.any(|client| self.listener_of(&client) == Some(number))
    }

    /// The listener that answers a client; `None` for a client on a stream.
    fn listener_of(&self, client: &Client) -> Option<u32> {
        match LinkTarget::of(client.link) {
            LinkTarget::Listener(number) => Some(number),
            LinkTarget::Association { shard, key } if shard == self.shard => {
                self.associations.listener_of(key)
            }
            LinkTarget::Association { .. } | LinkTarget::Connection { .. } => None,
        }
    }

    /// Offers TLS and DTLS with these servers to new clients, or not at all.
    pub(crate) fn set_tls(&mut self, tls: Option<Arc<TlsServer>>, dtls: Option<Arc<DtlsServer>>) {
        self.connections.set_tls(tls);
        self.associations.set_server(dtls);
    }

    /// Prepares the handover of the listeners: see [`Handover`].
    ///
    /// # Errors
    /// A socket could not be opened; the handover is aborted.
    pub(crate) fn prepare_handover(
        &mut self,
        clients: impl Iterator<Item = Client>,
        options: &UdpOptions,
    ) -> io::Result<()> {
        let with_listener: BTreeSet<(ClientEnds, u32)> = clients
            .filter_map(|client| {
                let five_tuple = &client.five_tuple;
                let ends = (five_tuple.client, five_tuple.server);
                Some((ends, self.listener_of(&client)?))
            })
            .collect();
        self.handover
            .prepare(&mut self.listeners, &with_listener, options)
    }

    pub(crate) fn abort_handover(&mut self) {
        self.handover.abort(&mut self.listeners);
    }

    pub(crate) fn commit_handover(&mut self) {
        self.handover.commit(&mut self.listeners);
    }

    /// Closes the sockets that were opened for a handover and whose client has neither an
    /// allocation nor an association.
    pub(crate) fn close_unused_client_sockets(
        &mut self,
        has_allocation: impl Fn(&ClientEnds) -> bool,
    ) {
        let associations = &self.associations;
        self.handover.close_unused(&mut self.listeners, |ends| {
            !has_allocation(ends) && !associations.contains(ends)
        });
    }
}

/// Connections that one iteration accepts at one listener.
const MAX_ACCEPTS: usize = 64;
