//! The relay of a shard: moves packets and effects between clients, protocol and peers.
//!
//! ```text
//!   Clients ──message──▶ turn::Server ──Forward──▶ SendQueue ──▶ relay socket
//!   Peers ───datagram──▶      │       ──Forward──▶ SendQueue ──▶ listener;  or output of a connection
//!                             └──Effect──▶ Clients, Peers, the log; their results go back to the server
//! ```
//!
//! Two rules hold everywhere. After each call of the server its effects are taken, because the
//! octets of a response are valid only until the next call. And effects are performed by one loop
//! ([`Relay::perform_effects`]), never by recursion: performing an effect may cause further
//! effects, which are appended to the queue.

use crate::net::dtls::DtlsServer;
use crate::net::{Batch, Datagram, IcmpError, Readiness, SendCounts, UdpOptions};
use crate::relay::client::clients::{ClientSetup, Clients};
use crate::relay::client::connection::NextMessage;
use crate::relay::client::connections::StreamRead;
use crate::relay::client::demux::is_dtls;
use crate::relay::client::dtls::{RecordsReceived, dtls_tuple};
use crate::relay::client::handover::ClientEnds;
use crate::relay::client::link_target::LinkTarget;
use crate::relay::client::listeners::ListenerSockets;
use crate::relay::io::clock::Clock;
use crate::relay::io::ready_queue::{ReadyQueue, Source};
use crate::relay::io::recv_meta::RecvMeta;
use crate::relay::io::send_queue::{SendQueue, Sender};
use crate::relay::io::slab::Key;
use crate::relay::observe::allocation_log::AllocationLog;
use crate::relay::observe::counters::Counters;
use crate::relay::peer::data_connections::SpliceOutcome;
use crate::relay::peer::peers::Peers;
use crate::relay::peer::unbound::UnboundConnections;
use crate::relay::plan::{ConnectionLimits, SecureTransports};
use crate::relay::shard::command::{AfterCommand, Command, send_reply, udp_tuple};
use crate::relay::shard::forwarding::{Forwarder, ShardMessage, ShardSenders};
use crate::turn;
use crate::turn::{
    Client, ConnectionId, Effect, FiveTuple, Forward, Icmp, Instant, Link, RelayedId, Server, Setup,
};
use crate::wire::request_method;
use std::collections::VecDeque;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

/// The protocol, the client and peer sides, and the buffers between them.
pub(crate) struct Relay {
    server: Server,
    clients: Clients,
    peers: Peers,
    batch: Batch,
    send_queue: SendQueue,
    forwarder: Forwarder,
    /// The effects of the last call of the server.
    new_effects: Vec<Effect>,
    /// Effects that are still to be performed.
    effects: VecDeque<Effect>,
    icmp_errors: Vec<IcmpError>,
    /// The connection that was spliced last. Its remaining octets in the batch are the first data
    /// for the peer.
    spliced: Option<(Link, ConnectionId)>,
    shard: u16,
    clock: Clock,
    now: Instant,
    clock_checked: Instant,
    allocation_log: AllocationLog,
    counters: Arc<Counters>,
}

/// The arguments of [`Relay::new`].
pub(crate) struct RelaySetup {
    pub(crate) turn: Setup,
    pub(crate) listeners: Vec<ListenerSockets>,
    pub(crate) relay_options: UdpOptions,
    pub(crate) connection_limits: ConnectionLimits,
    pub(crate) secure: SecureTransports,
    pub(crate) dtls: Option<Arc<DtlsServer>>,
    pub(crate) shards: ShardSenders,
    pub(crate) unbound: Arc<UnboundConnections>,
    /// For transaction ids of Data indications.
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) allocation_log: AllocationLog,
}

/// Whether a source may have more input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceState {
    /// The source is empty; its waker will report new input.
    Drained,
    /// There may be more, and no waker will report it.
    Unfinished,
}

impl Relay {
    /// Registers the sockets with the runtime of the calling thread.
    ///
    /// # Errors
    /// The runtime cannot register a socket.
    pub(crate) fn new(setup: RelaySetup, ready: &Arc<ReadyQueue>) -> io::Result<Relay> {
        let (clock, shard) = (setup.clock, setup.turn.shard);
        let counters = setup.counters;
        let client_setup = ClientSetup {
            listeners: setup.listeners,
            limits: setup.connection_limits,
            secure: setup.secure,
            dtls: setup.dtls,
            shard,
            clock,
        };
        let relay_options = setup.relay_options;
        let now = clock.now();
        Ok(Relay {
            server: Server::new(setup.turn),
            clients: Clients::new(client_setup, ready, &counters)?,
            peers: Peers::new(relay_options, setup.unbound, shard, ready, &counters)?,
            batch: Batch::new(SLOTS),
            send_queue: SendQueue::new(relay_options.receive_hop_limit, counters.clone()),
            forwarder: Forwarder::new(setup.shards, shard, setup.seed, counters.clone()),
            new_effects: Vec::new(),
            effects: VecDeque::new(),
            icmp_errors: Vec::new(),
            spliced: None,
            shard,
            clock,
            now,
            clock_checked: now,
            allocation_log: setup.allocation_log,
            counters,
        })
    }

    pub(crate) fn turn_counters(&self) -> Arc<turn::Counters> {
        self.server.counters().clone()
    }

    /// The time of the current batch.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn set_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Reports the numbers of the relay sockets that became ready. The next one wakes the task.
    pub(crate) fn for_each_ready_relay_socket(
        &mut self,
        cx: &mut Context<'_>,
        report: impl FnMut(u32),
    ) {
        self.peers.for_each_ready(cx, report);
    }

    /// Executes a command; breaks if the shard is to stop.
    pub(crate) fn execute(&mut self, command: Command) -> ControlFlow<()> {
        let after = command.execute(&mut self.server, &mut self.clients, self.now);
        self.perform_effects();
        match after {
            AfterCommand::Continue => ControlFlow::Continue(()),
            AfterCommand::Reply(reply, found) => {
                send_reply(reply, found);
                ControlFlow::Continue(())
            }
            AfterCommand::Stop => ControlFlow::Break(()),
        }
    }

    /// Receives from a source that is ready.
    ///
    /// # Errors
    /// A receive or accept failed, for example because no descriptors are left.
    pub(crate) fn serve(&mut self, source: Source) -> io::Result<SourceState> {
        let served = match source {
            Source::UdpListener(number) => self.serve_listener(number)?,
            Source::UdpRelay(number) => self.serve_relay(RelayedId(number))?,
            Source::TcpListener(number) => match self.clients.accept(number, self.now)? {
                true => SourceState::Unfinished,
                false => SourceState::Drained,
            },
            Source::Connection(key) => self.serve_connection(key),
            Source::TcpRelay(number) => self.serve_tcp_relay(RelayedId(number))?,
            Source::Dial(connection) => self.serve_dial(connection),
            Source::DataConnection(connection) => self.serve_data_connection(connection),
        };
        self.perform_effects();
        Ok(served)
    }

    fn serve_listener(&mut self, number: u32) -> io::Result<SourceState> {
        let Some(listener) = self.clients.receive(number, &mut self.batch)? else {
            return Ok(SourceState::Drained);
        };
        let link = LinkTarget::Listener(listener.answering).link();
        for index in listener.received.datagrams.clone() {
            let Some(datagram) = self.batch.datagrams().get(index).copied() else {
                break;
            };
            let ends = (datagram.source, listener.server_address(&datagram));
            if listener.known_clients_only && !self.is_known(ends) {
                self.counters.retired_listener_dropped.add(1);
            } else if is_dtls(self.batch.payload(&datagram)) {
                self.receive_records(listener.answering, ends, &datagram);
            } else {
                let client = Client::new(udp_tuple(ends), link);
                let meta = RecvMeta::of_datagram(&datagram);
                self.receive_from_client(&client, datagram.range(), meta);
            }
        }
        Ok(match listener.readiness {
            Readiness::Armed => SourceState::Drained,
            Readiness::Ready => SourceState::Unfinished,
        })
    }

    /// Returns true if this or another shard has a client with these addresses.
    fn is_known(&self, ends: ClientEnds) -> bool {
        let [udp, dtls] = [udp_tuple(ends), dtls_tuple(ends)];
        self.server.has_allocation(&udp)
            || self.clients.has_association(&ends)
            || self.server.owning_shard(&udp).is_some()
            || self.server.owning_shard(&dtls).is_some()
    }

    /// Receives a datagram of DTLS records.
    fn receive_records(&mut self, listener: u32, ends: ClientEnds, datagram: &Datagram) {
        let received = self.clients.receive_records(
            listener,
            ends,
            datagram,
            &mut self.batch,
            &mut self.send_queue,
            self.now,
        );
        match received {
            RecordsReceived::CookieReply(reply) => {
                if self.server.allows_unverified_answer(self.now, ends.0.ip()) {
                    self.counters.dtls_cookies_sent.add(1);
                    let meta = RecvMeta::of_datagram(datagram);
                    self.clients
                        .send_datagram(listener, ends, &reply, meta, &mut self.send_queue);
                }
            }
            RecordsReceived::Accepted {
                key,
                client,
                server_name,
            } => {
                let realm = server_name.and_then(|name| self.server.realm_of_server_name(&name));
                self.clients.set_association_realm(key, realm);
                // The client starts anew. Its lost association may have been another shard's.
                if let Some(shard) = self.server.owning_shard(&client.five_tuple) {
                    self.forwarder
                        .send(shard, ShardMessage::ClientDisconnected(client));
                }
            }
            RecordsReceived::Association { key, ended } => {
                self.receive_decrypted();
                if ended {
                    self.clients.remove_association(key);
                }
            }
            RecordsReceived::NoAssociation => match self.server.owning_shard(&dtls_tuple(ends)) {
                Some(shard) => {
                    let message = ShardMessage::DtlsRecords {
                        listener,
                        client: ends.0,
                        server: ends.1,
                        octets: self.batch.payload(datagram).to_vec(),
                    };
                    self.forwarder.send(shard, message);
                }
                None => self.counters.dtls_unassociated.add(1),
            },
            RecordsReceived::Discarded => {}
        }
        self.perform_effects();
    }

    /// Processes the messages that DTLS decrypted. Only now: the responses are encrypted by the
    /// same association.
    fn receive_decrypted(&mut self) {
        while let Some(message) = self.clients.pop_decrypted() {
            self.receive_from_client(&message.client, message.range, message.meta);
        }
    }

    fn serve_relay(&mut self, relayed: RelayedId) -> io::Result<SourceState> {
        let Some(received) = self.peers.receive(relayed, &mut self.batch)? else {
            return Ok(SourceState::Drained);
        };
        for index in received.datagrams.clone() {
            let Some(datagram) = self.batch.datagrams().get(index).copied() else {
                break;
            };
            let forward =
                self.server
                    .from_peer(self.now, relayed, datagram.source, datagram.length);
            self.forward(forward, RecvMeta::of_datagram(&datagram));
            self.perform_effects();
        }
        let has_more_errors = received.errors && self.report_icmp_errors(relayed);
        Ok(if received.drained && !has_more_errors {
            SourceState::Drained
        } else {
            SourceState::Unfinished
        })
    }

    /// Reports ICMP errors about datagrams that a relay socket sent; returns true if there are
    /// more.
    fn report_icmp_errors(&mut self, relayed: RelayedId) -> bool {
        let has_more = self.peers.read_icmp_errors(relayed, &mut self.icmp_errors);
        for index in 0..self.icmp_errors.len() {
            let Some(error) = self.icmp_errors.get(index) else {
                break;
            };
            let icmp = Icmp {
                kind: error.kind,
                code: error.code,
                data: error.mtu,
            };
            self.server
                .icmp_error(self.now, relayed, error.destination, icmp);
            self.perform_effects();
        }
        self.icmp_errors.clear();
        has_more
    }

    fn serve_connection(&mut self, key: Key) -> SourceState {
        self.clients.flush(key);
        for _ in 0..MAX_READS {
            match self.clients.read(key, &mut self.batch, self.now) {
                StreamRead::Blocked => return SourceState::Drained,
                StreamRead::Consumed => {}
                StreamRead::HandshakeCompleted(server_name) => {
                    let realm =
                        server_name.and_then(|name| self.server.realm_of_server_name(&name));
                    self.clients.set_connection_realm(key, realm);
                }
                StreamRead::Messages(range) => self.receive_stream(key, range),
            }
            if self.batch.free() == 0 {
                break;
            }
        }
        SourceState::Unfinished
    }

    /// Processes the messages in octets of a connection.
    fn receive_stream(&mut self, key: Key, mut range: Range<usize>) {
        loop {
            let octets = self.batch.octets().get(range.clone()).unwrap_or_default();
            match self.clients.next_message(key, octets, self.now) {
                Some((client, NextMessage::Complete(length))) => {
                    let meta = RecvMeta::in_stream(range.start);
                    range.start += length;
                    self.receive_from_client(&client, meta.start..range.start, meta);
                }
                Some((_, NextMessage::Incomplete)) => return,
                Some((_, NextMessage::Malformed)) => return self.clients.close_malformed(key),
                // The last message spliced the connection: what follows is the first data.
                None => {
                    let link = LinkTarget::Connection {
                        shard: self.shard,
                        key,
                    };
                    if let Some((spliced, connection)) = self.spliced.take()
                        && spliced == link.link()
                    {
                        self.peers.queue_to_peer(connection, octets);
                    }
                    return;
                }
            }
        }
    }

    /// Accepts connections of peers.
    fn serve_tcp_relay(&mut self, relayed: RelayedId) -> io::Result<SourceState> {
        for _ in 0..MAX_PEER_ACCEPTS {
            let Some((stream, peer)) = self.peers.accept(relayed)? else {
                return Ok(SourceState::Drained);
            };
            if let Some(connection) = self.server.accepted(self.now, relayed, peer) {
                let meter = self.server.meter(connection);
                let stored = self.peers.store_unbound(connection, stream, meter);
                self.perform_effects();
                if !stored {
                    self.server.connection_closed(connection);
                }
            }
            self.perform_effects();
        }
        Ok(SourceState::Unfinished)
    }

    fn serve_dial(&mut self, connection: ConnectionId) -> SourceState {
        if let Some(result) = self.peers.poll_dial(connection) {
            let meter = self.server.meter(connection);
            let stored =
                result.is_ok_and(|stream| self.peers.store_unbound(connection, stream, meter));
            self.server.connected(self.now, connection, stored);
        }
        SourceState::Drained
    }

    fn serve_data_connection(&mut self, connection: ConnectionId) -> SourceState {
        let unix = self.server.unix_time(self.now);
        if let Some(report) = self.peers.pump(connection, self.now, unix) {
            self.forwarder
                .report_data_connection(connection, report, &mut self.server);
        }
        SourceState::Drained
    }

    /// Processes one message of a client, which is in the batch.
    fn receive_from_client(&mut self, client: &Client, range: Range<usize>, meta: RecvMeta) {
        let octets = self.batch.octets().get(range).unwrap_or_default();
        let method = request_method(octets);
        match self.server.from_client(self.now, client, octets) {
            Forward::ToShard { shard } => {
                let message = ShardMessage::Packet {
                    client: *client,
                    octets: octets.to_vec(),
                    reader: self.shard,
                };
                self.forwarder.send(shard, message);
            }
            forward => self.forward(forward, meta),
        }
        self.perform_effects();
        if let Some(method) = method {
            // From when the batch was received to when the response is queued. Relayed packets are
            // not timed.
            let duration = self.clock.now().since(self.now);
            self.counters.request_durations.observe(method, duration);
        }
    }

    fn forward(&mut self, forward: Forward, meta: RecvMeta) {
        let (batch, queue) = (&mut self.batch, &mut self.send_queue);
        self.forwarder
            .forward(forward, meta, &mut self.clients, batch, queue);
    }

    /// Processes a message of another shard.
    pub(crate) fn receive_message(&mut self, message: ShardMessage) {
        match message {
            ShardMessage::Packet {
                client,
                octets,
                reader,
            } => {
                if let Some(meta) = self.copy_to_batch(&octets) {
                    match self.server.from_shard(self.now, &client, &octets) {
                        Forward::ToShard { .. } => {
                            let message = ShardMessage::ReturnedPacket { client, octets };
                            self.forwarder.send(reader, message);
                        }
                        forward => self.forward(forward, meta),
                    }
                }
            }
            ShardMessage::ReturnedPacket { client, octets } => {
                self.server.remove_foreign_client(&client);
                if let Some(meta) = self.copy_to_batch(&octets) {
                    self.receive_from_client(&client, meta.start..meta.start + octets.len(), meta);
                }
            }
            ShardMessage::DtlsRecords {
                listener,
                client,
                server,
                octets,
            } => self.receive_forwarded_records(listener, (client, server), &octets),
            ShardMessage::Framed { link, octets } => {
                self.clients
                    .send_framed(link, &octets, &mut self.send_queue);
            }
            // The sender chose the shard that has the allocation, so no other shard is notified.
            ShardMessage::ClientDisconnected(client) => {
                let _ = self.server.client_disconnected(self.now, &client);
            }
            ShardMessage::CloseDataConnection(connection) => self.peers.close_spliced(connection),
            ShardMessage::DataConnectionTraffic {
                connection,
                to_peer,
                to_client,
            } => self
                .server
                .record_stream_traffic(connection, to_peer, to_client),
            ShardMessage::DataConnectionClosed(connection) => {
                self.server.connection_closed(connection);
            }
        }
        self.perform_effects();
    }

    /// Receives DTLS records that another shard read, unless the association has ended.
    fn receive_forwarded_records(&mut self, listener: u32, ends: ClientEnds, octets: &[u8]) {
        if !self.clients.has_association(&ends) {
            return self.counters.dtls_unassociated.add(1);
        }
        let Some(meta) = self.copy_to_batch(octets) else {
            return;
        };
        let datagram = Datagram {
            source: ends.0,
            local: Some(ends.1.ip()),
            start: meta.start,
            length: octets.len(),
            headroom: meta.headroom,
            traffic_class: meta.traffic_class,
            hop_limit: meta.hop_limit,
        };
        self.receive_records(listener, ends, &datagram);
    }

    /// Copies octets into a slot of the batch; `None` if they are longer than any packet.
    fn copy_to_batch(&mut self, octets: &[u8]) -> Option<RecvMeta> {
        if self.batch.free() == 0 {
            self.send_batch();
        }
        self.batch
            .free_slot()
            .get_mut(..octets.len())?
            .copy_from_slice(octets);
        Some(RecvMeta::in_slot(self.batch.occupy_slot()))
    }

    /// Performs the effects of the last call of the server, and the effects that these cause, until
    /// none is left.
    fn perform_effects(&mut self) {
        loop {
            self.take_effects();
            if let Some(effect) = self.effects.pop_front() {
                self.perform(effect);
            } else if let Some(client) = self.clients.pop_disconnected() {
                self.end_client(&client);
            } else {
                return;
            }
        }
    }

    /// Takes the effects of the last call of the server. Responses are sent at once, because the
    /// next call invalidates their octets; but relayed addresses are closed first, because a client
    /// that reads the response may use the port.
    fn take_effects(&mut self) {
        self.server.take_effects(&mut self.new_effects);
        if self.new_effects.is_empty() {
            return;
        }
        let is_unbind = |effect: &Effect| matches!(effect, Effect::Unbind { .. });
        if self.new_effects.iter().any(is_unbind) {
            // What was queued for the socket leaves before it is closed.
            self.flush();
        }
        for effect in &self.new_effects {
            if let Effect::Unbind { relayed } = effect {
                self.peers.close(*relayed);
            }
        }
        for effect in self.new_effects.drain(..) {
            match effect {
                Effect::Send { to, from, message } => {
                    let octets = self.server.message(&message);
                    let queue = &mut self.send_queue;
                    self.forwarder
                        .respond(&to, from, octets, &mut self.clients, queue);
                }
                // Closed above.
                Effect::Unbind { .. } => {}
                // For an offload. The socket path asks the server for each packet.
                Effect::Route { .. } | Effect::Unroute { .. } => {}
                Effect::Bind { .. }
                | Effect::Connect { .. }
                | Effect::Splice { .. }
                | Effect::CloseConnection { .. }
                | Effect::Started(_)
                | Effect::Ended(_) => self.effects.push_back(effect),
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Bind {
                relayed,
                local,
                protocol,
            } => {
                let bound = self.peers.bind(relayed, local, protocol);
                self.server.bound(self.now, relayed, bound);
            }
            Effect::Connect {
                connection,
                local,
                peer,
            } => {
                if self.peers.dial(connection, local, peer, self.now).is_err() {
                    self.server.connected(self.now, connection, false);
                }
            }
            Effect::Splice { client, connection } => self.splice(&client, connection),
            Effect::CloseConnection { connection } => {
                if !self.peers.close_data_connection(connection) {
                    self.forwarder
                        .broadcast(|| ShardMessage::CloseDataConnection(connection));
                }
            }
            Effect::Started(record) => self.allocation_log.started(*record),
            Effect::Ended(record) => self.allocation_log.ended(*record),
            // Performed when they were taken.
            Effect::Send { .. }
            | Effect::Unbind { .. }
            | Effect::Route { .. }
            | Effect::Unroute { .. } => {}
        }
    }

    /// Splices the connection of a client with the peer's.
    fn splice(&mut self, client: &Client, connection: ConnectionId) {
        let Some((stream, output)) = self.clients.take_stream(client) else {
            return;
        };
        self.spliced = Some((client.link, connection));
        match self.peers.splice(connection, stream, output) {
            SpliceOutcome::Spliced | SpliceOutcome::NoPeer => {}
            SpliceOutcome::Failed { owner } => {
                self.forwarder
                    .report_closed(connection, owner, &mut self.server);
            }
        }
    }

    /// Ends the allocation of a client whose connection or association ended.
    fn end_client(&mut self, client: &Client) {
        if let Some(shard) = self.server.client_disconnected(self.now, client) {
            self.forwarder
                .send(shard, ShardMessage::ClientDisconnected(*client));
        }
    }

    /// Handles expired timers.
    pub(crate) fn handle_timeouts(&mut self) {
        if self.server.next_timeout().is_some_and(|at| at <= self.now) {
            self.server.timeout(self.now);
            self.perform_effects();
        }
        while let Some(connection) = self.peers.pop_timed_out_dial(self.now) {
            self.server.connected(self.now, connection, false);
            self.perform_effects();
        }
        self.peers.resume_paused(self.now);
        let server = &self.server;
        self.clients.handle_timeouts(
            &mut self.batch,
            &mut self.send_queue,
            self.now,
            |five_tuple: &FiveTuple| server.is_known_client(five_tuple),
        );
        self.receive_decrypted();
        self.perform_effects();
        if self.now.since(self.clock_checked) > CLOCK_CHECK_INTERVAL {
            self.clock_checked = self.now;
            self.server.set_unix_epoch(self.clock.unix_at_epoch());
        }
    }

    /// The earliest time at which something is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.server.next_timeout(),
            self.clients.next_deadline(),
            self.peers.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Returns true if the batch is to be sent before the next source is served.
    pub(crate) fn is_batch_nearly_full(&self) -> bool {
        self.batch.free() < MIN_FREE_SLOTS
    }

    /// Sends everything that is queued, and frees the batch.
    pub(crate) fn send_batch(&mut self) {
        self.flush();
        // A connection that failed may have ended an allocation, and that sends too.
        self.perform_effects();
        self.flush();
        self.batch.clear();
    }

    /// Sends everything that is queued. What was received stays in the batch.
    fn flush(&mut self) {
        let (clients, peers) = (&mut self.clients, &mut self.peers);
        self.send_queue.flush(&self.batch, |sender, datagrams| {
            let socket = match sender {
                Sender::Listener(number) => clients.socket(number),
                Sender::Relay(number) => peers.socket(number),
            };
            socket.map_or_else(SendCounts::default, |socket| datagrams.send(socket))
        });
        clients.flush_connections();
    }
}

/// Datagrams, or GRO trains of them, that one batch holds.
const SLOTS: usize = 512;
/// With fewer free slots the batch is sent before the next source is served.
const MIN_FREE_SLOTS: usize = 8;
/// Reads of one connection in one iteration.
const MAX_READS: usize = 4;
/// Connections of peers that one iteration accepts at one relayed address.
const MAX_PEER_ACCEPTS: usize = 16;
/// How often to look whether the system's clock was set.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(10);
