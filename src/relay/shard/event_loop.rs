//! The loop: receive a batch, decide, send a batch.

use crate::net;
use crate::net::dtls::DtlsServer;
use crate::net::{Batch, IcmpError, Readiness};
use crate::relay::client::clients::{Clients, Way};
use crate::relay::client::connection::Read;
use crate::relay::client::listeners::Pair;
use crate::relay::io::clock::{Clock, FOREVER};
use crate::relay::io::ready_queue::{Ready, Source};
use crate::relay::observe::allocation_log::AllocationLog;
use crate::relay::observe::counters::Counters;
use crate::relay::peer::tcp::TcpRelays;
use crate::relay::peer::udp::Peers;
use crate::relay::peer::unbound::Waiting;
use crate::relay::plan::{ConnectionLimits, SecureTransports};
use crate::relay::shard::admission::Gate;
use crate::relay::shard::coalesce::Coalesce;
use crate::relay::shard::egress::{Arrival, Egress};
use crate::relay::shard::mailbox::{Letter, Receiver};
use crate::relay::shard::messages::{Inbox, Neighbours, Passed};
use crate::turn::{
    BindError, Client, Effect, FiveTuple, Icmp, Instant, Protocol, RelayedId, Server, Setup,
    Transport,
};
use crate::wire::{Malformed, PacketKind, request_method, stream};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Sleep;

/// One core's worth of relay: it owns every socket, connection and allocation that it serves.
pub(crate) struct Shard {
    pub(crate) server: Server,
    pub(crate) egress: Egress,
    pub(crate) tcp_relays: TcpRelays,
    /// The pair that the packet at hand made of its connection.
    pub(crate) joined: Option<u32>,
    pub(crate) batch: Batch,
    pub(crate) gate: Gate,
    /// What a DTLS client said, in the batch.
    pub(crate) said: Vec<Range<usize>>,
    ready: Arc<Ready>,
    /// Sources to serve in this turn.
    due: Vec<Source>,
    /// Sources that had more than one turn could take.
    pub(crate) again: Vec<Source>,
    /// Sources that failed for want of something, to be tried again at `retry`.
    pub(crate) later: Vec<Source>,
    pub(crate) retry: Option<Instant>,
    effects: Vec<Effect>,
    errors: Vec<IcmpError>,
    mailbox: Receiver,
    letters: Vec<Letter>,
    inbox: Inbox,
    passed: Vec<Passed>,
    pub(crate) clock: Clock,
    pub(crate) now: Instant,
    pub(crate) clock_set: Instant,
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
    pub(crate) counters: Arc<Counters>,
    allocation_log: AllocationLog,
    coalesce: Coalesce,
    pub(crate) alive: bool,
}

/// What a shard starts from.
pub(crate) struct Parts {
    pub(crate) setup: Setup,
    pub(crate) listeners: Vec<Pair>,
    pub(crate) relay_options: net::UdpOptions,
    pub(crate) connections: ConnectionLimits,
    pub(crate) secure: SecureTransports,
    pub(crate) dtls: Option<Arc<DtlsServer>>,
    pub(crate) mailbox: Receiver,
    pub(crate) neighbours: Neighbours,
    pub(crate) inbox: Inbox,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<Counters>,
    pub(crate) seed: u64,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) allocation_log: AllocationLog,
}

impl Shard {
    /// Takes the sockets into the calling thread's runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub(crate) fn new(parts: Parts) -> io::Result<(Shard, Arc<crate::turn::Counters>)> {
        let Parts {
            secure,
            dtls,
            setup,
            listeners,
            relay_options,
            connections,
            mailbox,
            neighbours,
            inbox,
            clock,
            counters,
            seed,
            waiting,
            allocation_log,
        } = parts;
        let ready = Arc::new(Ready::default());
        let now = clock.now();
        let shard = setup.shard;
        let balancers = secure.load_balancers.clone();
        let gate = Gate::new(secure, dtls, connections.handshakes, &setup);
        let server = Server::new(setup);
        let protocol = server.counters().clone();
        let maximum = connections.max_connections;
        let clients = Clients::new(
            listeners,
            (connections, balancers),
            shard,
            &ready,
            &counters,
        )?;
        let peers = Peers::new(relay_options)?;
        let shard = Shard {
            server,
            tcp_relays: TcpRelays::new(waiting, neighbours.clone(), shard, &ready, &counters),
            joined: None,
            egress: Egress::new(
                clients,
                peers,
                (neighbours, maximum),
                seed,
                relay_options.receive_hop_limit,
                counters.clone(),
            ),
            batch: Batch::new(SLOTS),
            gate,
            said: Vec::new(),
            ready,
            due: Vec::new(),
            again: Vec::new(),
            later: Vec::new(),
            retry: None,
            effects: Vec::new(),
            errors: Vec::new(),
            mailbox,
            letters: Vec::new(),
            inbox,
            passed: Vec::new(),
            clock,
            now,
            clock_set: now,
            sleep: Box::pin(tokio::time::sleep_until(clock.tokio(FOREVER))),
            armed: FOREVER,
            counters,
            allocation_log,
            coalesce: Coalesce::new(now),
            alive: true,
        };
        Ok((shard, protocol))
    }

    /// Relays until it is told to stop.
    pub(crate) async fn run(mut self) {
        while self.alive {
            self.wait().await;
            let began = self.clock.now();
            self.now = began;
            self.turn();
            self.counters.iterations.add(1);
            let ended = self.clock.now();
            self.counters
                .busy_nanoseconds
                .add(ended.0.saturating_sub(began.0));
            let gather = self.coalesce.after(began, ended);
            if let Some(pause) = gather.filter(|_| self.again.is_empty() && self.alive) {
                std::thread::sleep(pause);
            }
        }
    }

    /// Waits until there is something to do; while there is, only lets the runtime look at its descriptors.
    async fn wait(&mut self) {
        if !self.again.is_empty() {
            tokio::task::yield_now().await;
            self.ready.take(&mut self.due, None);
            self.egress
                .peers
                .ready(&mut Context::from_waker(Waker::noop()), &mut self.due);
            self.due.append(&mut self.again);
            while let Ok(letter) = self.mailbox.try_recv() {
                self.letters.push(letter);
            }
            while let Ok(passed) = self.inbox.try_recv() {
                self.passed.push(passed);
            }
            return;
        }
        self.arm();
        poll_fn(|cx| {
            self.ready.take(&mut self.due, Some(cx.waker()));
            self.egress.peers.ready(cx, &mut self.due);
            let mut woken = !self.due.is_empty();
            while let Poll::Ready(letter) = self.mailbox.poll_recv(cx) {
                woken = true;
                let gone = letter.is_none();
                self.letters.push(letter.unwrap_or(Letter::Stop));
                if gone {
                    break;
                }
            }
            while let Poll::Ready(Some(passed)) = self.inbox.poll_recv(cx) {
                woken = true;
                self.passed.push(passed);
            }
            woken |= self.sleep.as_mut().poll(cx).is_ready();
            if woken {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Sets the timer, unless it rings early enough already: waking for nothing is cheaper than setting it every turn.
    fn arm(&mut self) {
        let next = [
            self.server.next_timeout(),
            self.egress.clients.next_check(),
            self.egress.associations.next_timeout(),
            self.tcp_relays.next_overdue(),
            self.retry,
        ]
        .into_iter()
        .flatten()
        .min();
        let next = next.unwrap_or(FOREVER);
        if next < self.armed || self.armed <= self.now {
            self.armed = next;
            self.sleep.as_mut().reset(self.clock.tokio(next));
        }
    }

    /// Serves every source that is ready, then sends what came of it.
    fn turn(&mut self) {
        for letter in std::mem::take(&mut self.letters) {
            self.read(letter);
        }
        for passed in std::mem::take(&mut self.passed) {
            self.hear(passed);
        }
        let mut due = std::mem::take(&mut self.due);
        for source in due.drain(..) {
            if self.batch.free() < RESERVE {
                self.finish();
                self.now = self.clock.now();
            }
            self.serve(source);
        }
        self.due = due;
        self.expire();
        self.finish();
    }

    /// Sends everything and makes the batch free again.
    pub(crate) fn finish(&mut self) {
        self.flush();
        self.batch.clear();
    }

    fn serve(&mut self, source: Source) {
        let outcome = match source {
            Source::Udp(index) => self.serve_listener(index),
            Source::Relay(index) => self.serve_relay(index),
            Source::Tcp(index) => self.egress.clients.accept(index, self.now),
            Source::Conn(index) => {
                self.serve_conn(index);
                Ok(())
            }
            Source::RelayTcp(index) => self.serve_tcp_relay(index),
            Source::Dial(connection) => {
                if let Some(succeeded) = self
                    .tcp_relays
                    .dialed(connection, || self.server.meter(connection))
                {
                    self.connected(connection, succeeded);
                }
                Ok(())
            }
            Source::Pair(number) => {
                self.serve_pair(number);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(?source, %error, "a socket could not be read and is tried again");
            self.later.push(source);
            self.retry = Some(self.retry.unwrap_or(self.now + RETRY));
        }
    }

    fn serve_listener(&mut self, index: u32) -> io::Result<()> {
        let Some(listener) = self.egress.clients.udp(index) else {
            return Ok(());
        };
        let (address, wildcard, retired) = (listener.address, listener.wildcard, listener.retired);
        let Some((received, rest)) = listener.port.receive(&mut self.batch)? else {
            return Ok(());
        };
        self.count(&received, rest, Source::Udp(index));
        self.counters
            .client_datagrams
            .add(received.datagrams.len() as u64);
        let index = retired.map_or(index, |retired| retired.answers);
        let link = Way::Listener(index).link();
        for place in received.datagrams {
            let Some(datagram) = self.batch.datagrams().get(place).copied() else {
                break;
            };
            let server = match datagram.local {
                Some(local) if wildcard => SocketAddr::new(local, address.port()),
                _ => address,
            };
            if retired.is_some_and(|retired| !retired.strangers)
                && self.is_stranger(datagram.source, server)
            {
                self.counters.retired_listener_dropped.add(1);
                continue;
            }
            let octets = self.batch.payload(&datagram);
            if octets.first().map(|first| PacketKind::of(*first)) == Some(PacketKind::Dtls) {
                self.take_records(index, server, &datagram);
                continue;
            }
            let five_tuple = FiveTuple {
                client: datagram.source,
                server,
                transport: Transport::Udp,
            };
            let client = Client::new(five_tuple, link);
            self.take(&client, datagram.range(), Arrival::of(&datagram));
        }
        Ok(())
    }

    fn serve_relay(&mut self, index: u32) -> io::Result<()> {
        let Some(socket) = self.egress.peers.get(index) else {
            return Ok(());
        };
        let received = socket.receive(&mut self.batch)?;
        let rest = if received.drained {
            Readiness::Armed
        } else {
            Readiness::Ready
        };
        self.count(&received, rest, Source::Relay(index));
        self.counters
            .peer_datagrams
            .add(received.datagrams.len() as u64);
        let relayed = RelayedId(index);
        for place in received.datagrams {
            let Some(datagram) = self.batch.datagrams().get(place).copied() else {
                break;
            };
            let onward = self
                .server
                .from_peer(self.now, relayed, datagram.source, datagram.length);
            self.egress
                .forward(onward, Arrival::of(&datagram), &mut self.batch);
            self.perform();
        }
        if received.errors {
            self.tell_errors(relayed);
        }
        Ok(())
    }

    fn count(&mut self, received: &net::Received, rest: Readiness, source: Source) {
        self.counters.receive_calls.add(u64::from(received.calls));
        self.counters
            .receive_overflowed
            .add(u64::from(received.overflowed));
        if let Readiness::Ready = rest {
            self.again.push(source);
        }
    }

    /// Passes on what the network said about datagrams that a relay socket sent.
    fn tell_errors(&mut self, relayed: RelayedId) {
        let mut errors = std::mem::take(&mut self.errors);
        if let Some(socket) = self.egress.peers.get(relayed.0) {
            socket.read_icmp_errors(&mut errors);
            if socket.has_icmp_errors() {
                self.again.push(Source::Relay(relayed.0));
            }
        }
        self.counters.icmp_errors.add(errors.len() as u64);
        for error in errors.drain(..) {
            let icmp = Icmp {
                kind: error.kind,
                code: error.code,
                data: error.mtu,
            };
            self.server
                .icmp_error(self.now, relayed, error.destination, icmp);
            self.perform();
        }
        self.errors = errors;
    }

    fn serve_conn(&mut self, index: u32) {
        if !self.egress.clients.flush(index) {
            return self.hang_up(index);
        }
        for _ in 0..READS {
            if !self.negotiate(index) {
                return;
            }
            let Some(conn) = self.egress.clients.conn(index) else {
                return;
            };
            match conn.read(&mut self.batch) {
                Read::None => return,
                Read::End => return self.hang_up(index),
                Read::Some(range) => {
                    self.counters.stream_reads.add(1);
                    let range = if conn.greeted {
                        Some(range)
                    } else {
                        self.open(index, range)
                    };
                    if let Some(range) = range {
                        self.frames(index, range);
                    }
                }
            }
            if self.batch.free() == 0 {
                break;
            }
        }
        self.again.push(Source::Conn(index));
    }

    /// Takes one message of a client's, which lies in the batch: it is answered, relayed, or passed on.
    pub(crate) fn take(&mut self, client: &Client, octets: Range<usize>, arrival: Arrival) {
        let octets = self.batch.octets().get(octets).unwrap_or_default();
        let asked = request_method(octets);
        let onward = self.server.from_client(self.now, client, octets);
        let onward = self.pass_on(onward, client, octets);
        self.egress.forward(onward, arrival, &mut self.batch);
        self.perform();
        self.note_time(asked);
    }

    /// Takes the messages out of what a connection brought; what is left of it waits for the next read.
    fn frames(&mut self, index: u32, mut range: Range<usize>) {
        let Some((client, mut greeted)) = self
            .egress
            .clients
            .conn(index)
            .map(|conn| (conn.client, conn.greeted))
        else {
            return;
        };
        loop {
            let octets = self.batch.octets().get(range.clone()).unwrap_or_default();
            // Before its first STUN message a client has no channel; other protocols' first words would pass for one.
            let known = greeted
                || octets
                    .first()
                    .is_none_or(|first| PacketKind::of(*first) == PacketKind::Stun);
            let frame = match stream::frame(octets) {
                _ if !known => Err(Malformed::Unrecognized),
                other => other,
            };
            let frame = match frame {
                Ok(Some(length)) => octets.get(..length),
                Ok(None) => None,
                Err(_) => {
                    self.counters.connections_malformed.add(1);
                    return self.hang_up(index);
                }
            };
            let Some(frame) = frame else { break };
            let arrival = Arrival {
                start: range.start,
                room: 0,
                traffic_class: 0,
                hop_limit: 0,
            };
            range.start += frame.len();
            self.take(&client, arrival.start..range.start, arrival);
            if self.egress.clients.place(client.link).is_none() {
                let rest = self.batch.octets().get(range).unwrap_or_default();
                if let Some(pair) = self.joined.take() {
                    self.tcp_relays.owe_peer(pair, rest);
                }
                return;
            }
            greeted = true;
            if let Some(conn) = self.egress.clients.conn(index) {
                conn.active = self.now;
                conn.greeted = true;
            }
        }
        let rest = self.batch.octets().get(range).unwrap_or_default();
        if let Some(conn) = self.egress.clients.conn(index) {
            conn.keep(rest);
        }
    }

    /// Does what the protocol asked for in its last call.
    pub(crate) fn perform(&mut self) {
        self.server.take_effects(&mut self.effects);
        if self.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        // Relayed addresses close before the answer that says so: whoever reads it may want the port.
        let failed = self.close_relayed(&effects);
        // Then answers: their octets last until the server is called again.
        let mut overfull = Vec::new();
        for effect in &effects {
            if let Effect::Send { to, from, message } = effect {
                overfull.extend(self.egress.answer(to, *from, self.server.message(message)));
            }
        }
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { .. } | Effect::Unbind { .. } => {}
                Effect::Bind {
                    relayed,
                    local,
                    protocol,
                } => self.bind(relayed, local, protocol),
                Effect::Started(record) => self.allocation_log.started(*record),
                Effect::Ended(record) => self.allocation_log.ended(*record),
                // For an offload; the socket path finds its way by asking the server.
                Effect::Route { .. } | Effect::Unroute { .. } => {}
                Effect::Connect {
                    connection,
                    local,
                    peer,
                } => {
                    if self
                        .tcp_relays
                        .dial(connection, local, peer, self.now)
                        .is_err()
                    {
                        self.connected(connection, false);
                    }
                }
                Effect::Splice { client, connection } => self.join(&client, connection),
                Effect::CloseConnection { connection } => self.tcp_relays.hang_up(connection),
            }
        }
        if self.effects.capacity() == 0 {
            self.effects = effects;
        }
        self.counters.connections_unread.add(overfull.len() as u64);
        for index in overfull.into_iter().chain(failed) {
            self.hang_up(index);
        }
    }

    /// Closes the relayed addresses that are given up, once what they were given in this turn has left. The places of
    /// connections that failed meanwhile.
    fn close_relayed(&mut self, effects: &[Effect]) -> Vec<u32> {
        let mut failed = Vec::new();
        for effect in effects {
            let Effect::Unbind { relayed } = effect else {
                continue;
            };
            failed.extend(self.egress.flush(&self.batch));
            self.egress.peers.unbind(*relayed);
            self.tcp_relays.unlisten(*relayed);
            self.note_sockets();
        }
        failed
    }

    fn bind(&mut self, relayed: RelayedId, local: SocketAddr, protocol: Protocol) {
        let outcome = match protocol {
            Protocol::Udp => self.egress.peers.bind(relayed, local),
            Protocol::Tcp => self.tcp_relays.listen(relayed, local),
        };
        if let Err(error) = outcome {
            self.counters.relay_bind_failures.add(1);
            if error == BindError::Failed {
                tracing::warn!(%local, "a relay socket could not be bound");
            }
        }
        self.note_sockets();
        self.server.bound(self.now, relayed, outcome);
        self.perform();
    }

    fn note_sockets(&self) {
        let counted = self.counters.relay_sockets.get();
        let open = self.egress.peers.open() as u64;
        self.counters.relay_sockets.add(open.wrapping_sub(counted));
    }

    /// Sends all that was decided on so far. What was received stays where it is.
    fn flush(&mut self) {
        let failed = self.egress.flush(&self.batch);
        for index in failed {
            self.hang_up(index);
        }
    }
}

/// Slots of a shard's batch: datagrams, or trains of them, that one turn takes before it sends.
const SLOTS: usize = 512;
/// With fewer free slots the batch is sent before the next source is served.
const RESERVE: usize = 8;
/// Reads of one connection in one turn.
const READS: usize = 4;
/// After a failure that more of something would cure.
const RETRY: Duration = Duration::from_millis(100);
