//! The client connections of a shard: accepting, reading, flushing, closing.

use crate::net::host::fd_limit;
use crate::net::{Batch, Rewind, TlsServer, proxy_protocol, tcp};
use crate::relay::client::connection::{
    BufferPool, Connection, HandshakeState, NextMessage, Queued, Read,
};
use crate::relay::client::demux::StreamProtocol;
use crate::relay::client::handshake_limit::HandshakeLimit;
use crate::relay::client::link_target::LinkTarget;
use crate::relay::io::ready_queue::{ReadyQueue, Source};
use crate::relay::io::slab::{Key, Slab};
use crate::relay::io::stream::Stream;
use crate::relay::observe::counters::Counters;
use crate::relay::plan::{ConnectionLimits, SecureTransports, WebConnection};
use crate::turn::policy::acl::Cidr;
use crate::turn::{Client, FiveTuple, Instant, PayloadHeader, RealmId, Transport};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// All TCP and TLS connections of clients.
pub(crate) struct Connections {
    slab: Slab<Connection>,
    /// Connections with output to flush.
    dirty: Vec<Key>,
    /// Clients whose connection is closed and whose allocation has not been ended yet.
    disconnected: Vec<Client>,
    pool: BufferPool,
    limits: ConnectionLimits,
    handshakes: HandshakeLimit,
    tls: Option<Arc<TlsServer>>,
    load_balancers: Vec<Cidr>,
    web_connections: Option<mpsc::Sender<WebConnection>>,
    shard: u16,
    ready: Arc<ReadyQueue>,
    counters: Arc<Counters>,
}

/// What one read of a connection returned.
pub(crate) enum StreamRead {
    /// Octets in the batch; the first one begins a message.
    Messages(Range<usize>),
    /// The octets belong to a PROXY header or to TLS. There may be more.
    Consumed,
    /// The TLS handshake is complete; the client asked for this server name.
    HandshakeCompleted(Option<String>),
    /// Nothing more for now, or the connection is closed.
    Blocked,
}

impl Connections {
    pub(crate) fn new(
        limits: ConnectionLimits,
        secure: SecureTransports,
        handshakes: HandshakeLimit,
        shard: u16,
        ready: Arc<ReadyQueue>,
        counters: Arc<Counters>,
    ) -> Connections {
        Connections {
            slab: Slab::new(),
            dirty: Vec::new(),
            disconnected: Vec::new(),
            pool: BufferPool::default(),
            limits,
            handshakes,
            tls: secure.tls,
            load_balancers: secure.load_balancers,
            web_connections: secure.web_connections,
            shard,
            ready,
            counters,
        }
    }

    /// Offers TLS with this server to new connections, or none.
    pub(crate) fn set_tls(&mut self, tls: Option<Arc<TlsServer>>) {
        self.tls = tls;
    }

    /// Adds an accepted connection, unless a limit is reached.
    pub(crate) fn insert(&mut self, stream: TcpStream, client: SocketAddr, now: Instant) {
        // The last descriptors are kept for relay sockets: idle connections must not take them.
        if self.slab.len() >= self.limits.max_connections || fd_limit::is_nearly_exhausted(&stream)
        {
            return self.counters.connections_refused.add(1);
        }
        let configured =
            tcp::configure(&stream, self.limits.send_buffer).and_then(|()| stream.local_addr());
        let Ok(server) = configured else {
            return self.counters.connections_failed.add(1);
        };
        self.counters.connections_accepted.add(1);
        self.counters.connections.add(1);
        let from_load_balancer = self
            .load_balancers
            .iter()
            .any(|balancer| balancer.contains(client.ip().to_canonical()));
        let five_tuple = FiveTuple {
            client,
            server,
            transport: Transport::Tcp,
        };
        let (shard, ready) = (self.shard, &self.ready);
        let key = self.slab.insert(|key| {
            let link = LinkTarget::Connection { shard, key }.link();
            let waker = ready.waker(Source::Connection(key));
            let client = Client::new(five_tuple, link);
            Connection::new(stream, client, from_load_balancer, waker, now)
        });
        self.ready.push(Source::Connection(key));
        let first_check = self.limits.idle_timeout.min(self.limits.handshakes.timeout);
        self.slab.set_deadline(key, now + first_check);
    }

    /// Continues the TLS handshake if there is one, else reads once.
    pub(crate) fn read(&mut self, key: Key, batch: &mut Batch, now: Instant) -> StreamRead {
        let Some(connection) = self.slab.get_mut(key) else {
            return StreamRead::Blocked;
        };
        match connection.poll_handshake(now) {
            HandshakeState::NotInProgress => {}
            HandshakeState::InProgress => return StreamRead::Blocked,
            HandshakeState::Failed => {
                self.close(key);
                return StreamRead::Blocked;
            }
            HandshakeState::Completed {
                server_name,
                is_acme_validation,
            } => {
                self.counters.tls_handshakes.add(1);
                if is_acme_validation {
                    self.close(key);
                    return StreamRead::Blocked;
                }
                return StreamRead::HandshakeCompleted(server_name);
            }
        }
        match connection.read(batch) {
            Read::Blocked => StreamRead::Blocked,
            Read::Ended => {
                self.close(key);
                StreamRead::Blocked
            }
            Read::Octets(range) => {
                self.counters.stream_reads.add(1);
                if connection.has_received_message() {
                    StreamRead::Messages(range)
                } else {
                    self.demultiplex(key, range, batch, now)
                }
            }
        }
    }

    /// Handles the first octets of a connection, or the first inside TLS.
    fn demultiplex(
        &mut self,
        key: Key,
        mut range: Range<usize>,
        batch: &Batch,
        now: Instant,
    ) -> StreamRead {
        let Some(connection) = self.slab.get_mut(key) else {
            return StreamRead::Blocked;
        };
        let mut octets = batch.octets().get(range.clone()).unwrap_or_default();
        if connection.expects_proxy_header() {
            match proxy_protocol::parse(octets) {
                Ok(Some((header, length))) => {
                    if let proxy_protocol::ProxyHeader::Proxied(client) = header {
                        connection.client_mut().five_tuple.client = client;
                    }
                    connection.end_proxy_header();
                    octets = octets.get(length..).unwrap_or_default();
                    range.start += length;
                }
                Ok(None) => {
                    connection.store_partial(octets);
                    return StreamRead::Consumed;
                }
                Err(_) => {
                    self.close_malformed(key);
                    return StreamRead::Blocked;
                }
            }
        }
        match StreamProtocol::of(octets, connection.is_encrypted()) {
            StreamProtocol::Turn => return StreamRead::Messages(range),
            StreamProtocol::Tls if self.tls.is_some() => {
                self.start_handshake(key, octets.to_vec(), now);
            }
            StreamProtocol::Http if self.web_connections.is_some() => {
                self.pass_to_web_service(key, octets.to_vec());
            }
            StreamProtocol::Tls | StreamProtocol::Http | StreamProtocol::Unknown => {
                self.close_malformed(key);
            }
        }
        StreamRead::Consumed
    }

    /// Starts TLS on a connection from which `client_hello` was read already.
    fn start_handshake(&mut self, key: Key, client_hello: Vec<u8>, now: Instant) {
        let (Some(tls), Some(connection)) = (&self.tls, self.slab.get_mut(key)) else {
            return;
        };
        let client = connection.client().five_tuple.client.ip();
        let Some(permit) = self.handshakes.acquire(client) else {
            self.counters.handshakes_refused.add(1);
            return self.close(key);
        };
        let max_octets = self.limits.handshakes.max_octets;
        connection.start_handshake(permit, now, |stream| {
            tls.accept(
                Rewind::new(client_hello, stream)
                    .with_limit(max_octets)
                    .with_read_ahead(),
            )
        });
    }

    /// Passes a connection to the web service; `read` was read from it already.
    fn pass_to_web_service(&mut self, key: Key, read: Vec<u8>) {
        let Some(connection) = self.remove(key) else {
            return;
        };
        let five_tuple = connection.client().five_tuple;
        let (Stream::Tls(stream), _) = connection.into_parts() else {
            return;
        };
        let connection = WebConnection {
            stream: Box::new(Rewind::new(read, *stream)),
            client: five_tuple.client,
            server: five_tuple.server,
        };
        let passed = self
            .web_connections
            .as_ref()
            .is_some_and(|service| service.try_send(connection).is_ok());
        if passed {
            self.counters.web_connections.add(1);
        } else {
            self.counters.web_connections_refused.add(1);
        }
    }

    /// The realm that the client's server name chose.
    pub(crate) fn set_realm(&mut self, key: Key, realm: Option<RealmId>) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.client_mut().realm = realm;
        }
    }

    /// Finds the next message in octets of a connection; `None` if the connection is closed.
    pub(crate) fn next_message(
        &mut self,
        key: Key,
        octets: &[u8],
        now: Instant,
    ) -> Option<(Client, NextMessage)> {
        let connection = self.slab.get_mut(key)?;
        let message = connection.next_message(octets, now);
        Some((*connection.client(), message))
    }

    /// Queues a relayed payload. It is dropped if the client does not read.
    pub(crate) fn queue_payload(&mut self, key: Key, header: &PayloadHeader, payload: &[u8]) {
        let limit = self.limits.max_output;
        let Some(connection) = self.slab.get_mut(key) else {
            return self.counters.client_gone.add(1);
        };
        match connection.queue_payload(header, payload, limit, &mut self.pool) {
            Queued::OutputFull => self.counters.stream_dropped.add(1),
            Queued::Yes => {}
        }
        if connection.mark_dirty() {
            self.dirty.push(key);
        }
    }

    /// Queues what another shard framed for the client. It is dropped if the client does not read.
    pub(crate) fn queue_framed(&mut self, key: Key, octets: &[u8]) {
        if self.queue_message(key, octets, self.limits.max_output) != Some(Queued::Yes) {
            self.counters.stream_dropped.add(1);
        }
    }

    /// Queues a response. A client that does not read even these is disconnected.
    pub(crate) fn queue_response(&mut self, key: Key, response: &[u8]) {
        match self.queue_message(key, response, self.limits.max_output * 2) {
            Some(Queued::Yes) => {}
            Some(Queued::OutputFull) => {
                self.counters.connections_unread.add(1);
                self.close(key);
            }
            None => self.counters.client_gone.add(1),
        }
    }

    fn queue_message(&mut self, key: Key, message: &[u8], limit: usize) -> Option<Queued> {
        let connection = self.slab.get_mut(key)?;
        let queued = connection.queue_message(message, limit, &mut self.pool);
        if connection.mark_dirty() {
            self.dirty.push(key);
        }
        Some(queued)
    }

    /// Writes the output that was queued since the last call, and closes connections whose write
    /// fails.
    pub(crate) fn flush_dirty(&mut self) {
        while let Some(key) = self.dirty.pop() {
            self.flush(key);
        }
    }

    /// Writes the output of a connection, which is closed if it fails.
    pub(crate) fn flush(&mut self, key: Key) {
        let Some(connection) = self.slab.get_mut(key) else {
            return;
        };
        match connection.flush(&mut self.pool) {
            Ok(writes) => self.counters.stream_writes.add(writes),
            Err(_) => self.close(key),
        }
    }

    /// Closes the connections that were idle for too long. A client with an allocation may be idle.
    pub(crate) fn close_idle(&mut self, now: Instant, has_allocation: impl Fn(&FiveTuple) -> bool) {
        while let Some(key) = self.slab.pop_expired(now) {
            let Some(connection) = self.slab.get(key) else {
                continue;
            };
            let deadline = if has_allocation(&connection.client().five_tuple) {
                now + self.limits.idle_timeout
            } else {
                connection.idle_deadline(&self.limits)
            };
            if deadline > now {
                self.slab.set_deadline(key, deadline);
                continue;
            }
            if !connection.is_in_handshake() {
                self.counters.connections_idle.add(1);
            }
            self.close(key);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.slab.next_deadline()
    }

    /// Closes a connection that sent something other than messages.
    pub(crate) fn close_malformed(&mut self, key: Key) {
        self.counters.connections_malformed.add(1);
        self.close(key);
    }

    /// Closes a connection. Queued output is written first, as far as the client reads it without
    /// blocking.
    fn close(&mut self, key: Key) {
        if let Some(connection) = self.slab.get_mut(key)
            && let Ok(writes) = connection.flush(&mut self.pool)
        {
            self.counters.stream_writes.add(writes);
        }
        let Some(mut connection) = self.remove(key) else {
            return;
        };
        let client = *connection.client();
        if connection.is_in_handshake() {
            self.counters.handshakes_failed.add(1);
        }
        connection.shut_down();
        self.disconnected.push(client);
    }

    /// A client whose connection was closed: the caller ends its allocation.
    pub(crate) fn pop_disconnected(&mut self) -> Option<Client> {
        self.disconnected.pop()
    }

    /// Takes a connection out to splice it: its stream and what is still to be written to it.
    pub(crate) fn take_stream(&mut self, key: Key) -> Option<(Stream, Vec<u8>)> {
        self.remove(key).map(Connection::into_parts)
    }

    fn remove(&mut self, key: Key) -> Option<Connection> {
        let connection = self.slab.remove(key)?;
        self.counters.connections.subtract(1);
        Some(connection)
    }
}

/// Returns true if an error of `accept` concerns one connection only, so that the next one can be
/// accepted. accept(2) reports network errors that are pending on the new socket.
pub(crate) fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied, TimedOut,
    };
    let network = [
        libc::EPROTO,
        libc::ENOPROTOOPT,
        libc::EHOSTUNREACH,
        libc::ENETUNREACH,
        libc::ENETDOWN,
    ];
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied | TimedOut
    ) || error
        .raw_os_error()
        .is_some_and(|code| network.contains(&code))
}
