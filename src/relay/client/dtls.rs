//! The DTLS associations of a shard.
//!
//! ```text
//!   ClientHello ─▶ cookie check ─┬─ no valid cookie ─▶ reply with a cookie; nothing is stored
//!                                └─ verified ────────▶ new association
//!   other records ─▶ association of the two addresses ─▶ decrypted messages, in the batch
//! ```

use crate::net::dtls::{Association, CookieCheck, DtlsServer, Event, VerifiedHello};
use crate::net::{Batch, Datagram};
use crate::relay::client::handover::ClientEnds;
use crate::relay::client::handshake_limit::{HandshakeLimit, HandshakePermit};
use crate::relay::client::link_target::LinkTarget;
use crate::relay::client::listeners::Listeners;
use crate::relay::io::clock::Clock;
use crate::relay::io::recv_meta::RecvMeta;
use crate::relay::io::send_queue::SendQueue;
use crate::relay::io::slab::{Key, Slab};
use crate::relay::observe::counters::Counters;
use crate::relay::plan::ConnectionLimits;
use crate::turn::{Client, FiveTuple, Instant, RealmId, Transport};
use foldhash::quality::RandomState;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// All DTLS associations of a shard.
pub(crate) struct Associations {
    slab: Slab<AssociationEntry>,
    /// Key: the two addresses of an association, of which the client chose one: keyed hasher. At
    /// most `max_connections` entries.
    by_ends: HashMap<ClientEnds, Key, RandomState>,
    /// Messages that were decrypted into the batch and not processed yet.
    decrypted: VecDeque<Decrypted>,
    /// Clients whose association is removed and whose allocation has not been ended yet.
    disconnected: Vec<Client>,
    server: Option<Arc<DtlsServer>>,
    limits: ConnectionLimits,
    handshakes: HandshakeLimit,
    shard: u16,
    clock: Clock,
    /// The next output of an association.
    output: Vec<u8>,
    /// A message before it is encrypted.
    plaintext: Vec<u8>,
    counters: Arc<Counters>,
}

/// The batch and sockets with which associations receive and send.
pub(crate) struct DtlsIo<'a> {
    pub(crate) batch: &'a mut Batch,
    pub(crate) listeners: &'a mut Listeners,
    pub(crate) queue: &'a mut SendQueue,
    pub(crate) now: Instant,
}

struct AssociationEntry {
    association: Association,
    client: Client,
    listener: u32,
    /// When the client last sent a message.
    active: Instant,
    /// Held until the handshake is complete.
    handshake: Option<HandshakePermit>,
}

/// A message of a DTLS client, in the batch.
pub(crate) struct Decrypted {
    pub(crate) client: Client,
    pub(crate) range: Range<usize>,
    pub(crate) meta: RecvMeta,
}

/// The result of receiving DTLS records.
pub(crate) enum RecordsReceived {
    /// A response to a client whose address is not verified. The caller applies the rate limit of
    /// such responses.
    CookieReply(Vec<u8>),
    /// A new association was created.
    Accepted {
        key: Key,
        client: Client,
        /// SNI.
        server_name: Option<String>,
    },
    /// The records belong to this association.
    Association {
        key: Key,
        /// The caller closes the association after it has processed the messages.
        ended: bool,
    },
    /// The records belong to no association of this shard.
    NoAssociation,
    /// Refused or discarded, and counted.
    Discarded,
}

impl Associations {
    pub(crate) fn new(
        server: Option<Arc<DtlsServer>>,
        limits: ConnectionLimits,
        handshakes: HandshakeLimit,
        shard: u16,
        clock: Clock,
        counters: Arc<Counters>,
    ) -> Associations {
        Associations {
            slab: Slab::new(),
            by_ends: HashMap::default(),
            decrypted: VecDeque::new(),
            disconnected: Vec::new(),
            server,
            limits,
            handshakes,
            shard,
            clock,
            output: Vec::new(),
            plaintext: Vec::new(),
            counters,
        }
    }

    /// Offers DTLS with this server to new clients, or not at all.
    pub(crate) fn set_server(&mut self, server: Option<Arc<DtlsServer>>) {
        self.server = server;
    }

    pub(crate) fn contains(&self, ends: &ClientEnds) -> bool {
        self.by_ends.contains_key(ends)
    }

    /// The listener through which a client reached its association.
    pub(crate) fn listener_of(&self, key: Key) -> Option<u32> {
        self.slab.get(key).map(|entry| entry.listener)
    }

    /// Receives a datagram of DTLS records.
    pub(crate) fn receive(
        &mut self,
        listener: u32,
        ends: ClientEnds,
        datagram: &Datagram,
        io: &mut DtlsIo<'_>,
    ) -> RecordsReceived {
        let octets = io.batch.payload(datagram);
        let key = if is_client_hello(octets) {
            match self.receive_hello(listener, ends, octets, io.now) {
                HelloReceived::Retransmission(key) => key,
                HelloReceived::Done(received) => {
                    if let RecordsReceived::Accepted { key, .. } = &received {
                        self.poll(*key, None, io);
                    }
                    return received;
                }
            }
        } else {
            match self.by_ends.get(&ends) {
                Some(key) => *key,
                None => return RecordsReceived::NoAssociation,
            }
        };
        let now = self.clock.to_std(io.now);
        let Some(entry) = self.slab.get_mut(key) else {
            return RecordsReceived::NoAssociation;
        };
        let failed = entry.association.receive(octets, now).is_err();
        let closed = self.poll(key, Some(datagram), io);
        RecordsReceived::Association {
            key,
            ended: failed || closed,
        }
    }

    /// Checks the cookie of a ClientHello, and creates an association if it is valid.
    fn receive_hello(
        &mut self,
        listener: u32,
        ends: ClientEnds,
        octets: &[u8],
        now: Instant,
    ) -> HelloReceived {
        let Some(server) = self.server.clone() else {
            return self.discard();
        };
        match server.check_cookie(octets, ends.0, ends.1, Duration::from_nanos(now.0)) {
            CookieCheck::Reply(reply) => HelloReceived::Done(RecordsReceived::CookieReply(reply)),
            CookieCheck::Verified(hello) => self.accept(&server, listener, ends, &hello, now),
            CookieCheck::Discard => self.discard(),
        }
    }

    /// A new handshake from the address of an existing association replaces the association,
    /// because the client has lost it (RFC 6347 §4.2.8). An attacker who obtains a valid cookie is
    /// on the path, and could disrupt the association anyway.
    fn accept(
        &mut self,
        server: &DtlsServer,
        listener: u32,
        ends: ClientEnds,
        hello: &VerifiedHello<'_>,
        now: Instant,
    ) -> HelloReceived {
        if let Some(key) = self.by_ends.get(&ends).copied() {
            let retransmitted = self
                .slab
                .get(key)
                .is_some_and(|entry| entry.association.began_with_hello(hello));
            if retransmitted {
                return HelloReceived::Retransmission(key);
            }
            self.remove(key);
        }
        let has_room = self.slab.len() < self.limits.max_connections;
        let Some(permit) = self.handshakes.acquire(ends.0.ip()).filter(|_| has_room) else {
            self.counters.handshakes_refused.add(1);
            return HelloReceived::Done(RecordsReceived::Discarded);
        };
        let Ok(association) = server.accept(hello, self.clock.to_std(now)) else {
            self.counters.handshakes_failed.add(1);
            return HelloReceived::Done(RecordsReceived::Discarded);
        };
        let shard = self.shard;
        let client = |key| {
            Client::new(
                dtls_tuple(ends),
                LinkTarget::Association { shard, key }.link(),
            )
        };
        let key = self.slab.insert(|key| AssociationEntry {
            association,
            client: client(key),
            listener,
            active: now,
            handshake: Some(permit),
        });
        self.by_ends.insert(ends, key);
        HelloReceived::Done(RecordsReceived::Accepted {
            key,
            client: client(key),
            server_name: hello.server_name().map(str::to_owned),
        })
    }

    fn discard(&self) -> HelloReceived {
        self.counters.dtls_unassociated.add(1);
        HelloReceived::Done(RecordsReceived::Discarded)
    }

    /// The realm that the client's server name chose.
    pub(crate) fn set_realm(&mut self, key: Key, realm: Option<RealmId>) {
        if let Some(entry) = self.slab.get_mut(key) {
            entry.client.realm = realm;
        }
    }

    /// Processes the events of an association until there are none; returns true if the client
    /// closed it. Messages replace the datagram that they arrived in, because a message is shorter
    /// than its record.
    fn poll(&mut self, key: Key, datagram: Option<&Datagram>, io: &mut DtlsIo<'_>) -> bool {
        let meta = datagram.map_or(RecvMeta::ORIGINATED, RecvMeta::of_datagram);
        let mut space = datagram.map_or(0..0, Datagram::range);
        while let Some(entry) = self.slab.get_mut(key) {
            match entry.association.poll(&mut self.output) {
                Event::Send(record) => {
                    send_record(entry, record, meta, io.listeners, io.queue, &self.counters);
                }
                Event::Data(message) => {
                    entry.active = io.now;
                    match place(message, &mut space, io.batch) {
                        Some(range) => self.decrypted.push_back(Decrypted {
                            client: entry.client,
                            meta: RecvMeta {
                                start: range.start,
                                headroom: 0,
                                ..meta
                            },
                            range,
                        }),
                        None => self.counters.dtls_unassociated.add(1),
                    }
                }
                Event::Connected => {
                    entry.handshake = None;
                    self.counters.dtls_handshakes.add(1);
                }
                Event::Closed => return true,
                Event::WaitUntil(until) => {
                    let idle_check = match entry.active + self.limits.idle_timeout {
                        at if at > io.now => at,
                        _ => io.now + self.limits.idle_timeout,
                    };
                    let deadline = self.clock.instant_of(until).min(idle_check);
                    self.slab.set_deadline(key, deadline);
                    return false;
                }
            }
        }
        false
    }

    /// The next message to process.
    pub(crate) fn pop_decrypted(&mut self) -> Option<Decrypted> {
        self.decrypted.pop_front()
    }

    /// Encrypts the concatenation of `parts` as one message and queues the record.
    pub(crate) fn send(
        &mut self,
        key: Key,
        parts: &[&[u8]],
        meta: RecvMeta,
        listeners: &mut Listeners,
        queue: &mut SendQueue,
    ) {
        self.plaintext.clear();
        for part in parts {
            self.plaintext.extend_from_slice(part);
        }
        let sent = self
            .slab
            .get_mut(key)
            .is_some_and(|entry| entry.association.send(&self.plaintext).is_ok());
        if sent {
            self.send_pending(key, meta, listeners, queue);
        } else {
            self.counters.client_gone.add(1);
        }
    }

    /// Queues the records that an association has ready.
    fn send_pending(
        &mut self,
        key: Key,
        meta: RecvMeta,
        listeners: &mut Listeners,
        queue: &mut SendQueue,
    ) {
        while let Some(entry) = self.slab.get_mut(key) {
            let Event::Send(record) = entry.association.poll(&mut self.output) else {
                return;
            };
            send_record(entry, record, meta, listeners, queue, &self.counters);
        }
    }

    /// Sends a close_notify and removes the association.
    fn close(&mut self, key: Key, listeners: &mut Listeners, queue: &mut SendQueue) {
        if let Some(entry) = self.slab.get_mut(key) {
            entry.association.close();
            self.send_pending(key, RecvMeta::ORIGINATED, listeners, queue);
        }
        self.remove(key);
    }

    /// Removes an association that ended.
    pub(crate) fn remove(&mut self, key: Key) {
        let Some(entry) = self.slab.remove(key) else {
            return;
        };
        let five_tuple = &entry.client.five_tuple;
        self.by_ends.remove(&(five_tuple.client, five_tuple.server));
        if entry.handshake.is_some() {
            self.counters.handshakes_failed.add(1);
        }
        self.disconnected.push(entry.client);
    }

    /// A client whose association was removed: the caller ends its allocation.
    pub(crate) fn pop_disconnected(&mut self) -> Option<Client> {
        self.disconnected.pop()
    }

    /// Retransmits flights of handshakes, and closes the associations that were idle for too long.
    /// A client with an allocation may be idle.
    pub(crate) fn handle_timeouts(
        &mut self,
        io: &mut DtlsIo<'_>,
        has_allocation: impl Fn(&FiveTuple) -> bool,
    ) {
        while let Some(key) = self.slab.pop_expired(io.now) {
            let Some(entry) = self.slab.get_mut(key) else {
                continue;
            };
            let is_idle = entry.association.is_connected()
                && entry.active + self.limits.idle_timeout <= io.now;
            if is_idle && !has_allocation(&entry.client.five_tuple) {
                self.counters.connections_idle.add(1);
                self.close(key, io.listeners, io.queue);
                continue;
            }
            let failed = entry
                .association
                .handle_timeout(self.clock.to_std(io.now))
                .is_err();
            if self.poll(key, None, io) || failed {
                self.remove(key);
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.slab.next_deadline()
    }
}

/// The result of receiving a ClientHello.
enum HelloReceived {
    /// The association exists, and its first flight is to be sent again.
    Retransmission(Key),
    Done(RecordsReceived),
}

/// The five-tuple of an association.
pub(crate) fn dtls_tuple((client, server): ClientEnds) -> FiveTuple {
    FiveTuple {
        client,
        server,
        transport: Transport::Dtls,
    }
}

fn send_record(
    entry: &AssociationEntry,
    record: &[u8],
    meta: RecvMeta,
    listeners: &mut Listeners,
    queue: &mut SendQueue,
    counters: &Counters,
) {
    let five_tuple = &entry.client.five_tuple;
    let ends = (five_tuple.client, five_tuple.server);
    if !listeners.send(entry.listener, ends, record, meta, queue) {
        counters.client_gone.add(1);
    }
}

/// Copies a decrypted message into the batch: into `space` as long as it lasts, else into a slot of
/// its own. `None` if the batch is full.
fn place(message: &[u8], space: &mut Range<usize>, batch: &mut Batch) -> Option<Range<usize>> {
    let start = if message.len() <= space.len() {
        let start = space.start;
        space.start += message.len();
        start
    } else if batch.free() > 0 {
        batch.occupy_slot()
    } else {
        return None;
    };
    let range = start..start + message.len();
    batch
        .octets_mut()
        .get_mut(range.clone())?
        .copy_from_slice(message);
    Some(range)
}

/// Returns true if a datagram begins with an unencrypted ClientHello.
fn is_client_hello(octets: &[u8]) -> bool {
    matches!(octets, [22, _, _, 0, 0, _, _, _, _, _, _, _, _, 1, ..])
}
