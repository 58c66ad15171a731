//! TCP relays of a shard: relayed addresses that listen, connections on their way to peers, and pairs. RFC 6062.

use super::neighbours::{Neighbours, Passed};
use super::ready::{Ready, Source};
use super::splice::{Pair, Progress};
use super::stats::Counters;
use super::stream::Stream;
use super::waiting::{Kept, Waiting};
use crate::net::tcp;
use crate::turn::{BindError, ConnectionId, Instant, RelayedId};
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Everything of a shard that carries data connections.
pub(super) struct TcpRelays {
    listeners: HashMap<u32, (TcpListener, Waker)>,
    dials: HashMap<ConnectionId, Dial>,
    /// When each dial is given up, earliest first.
    patience: VecDeque<(Instant, ConnectionId)>,
    pairs: HashMap<u32, Joined>,
    /// The pair of each connection that is joined here.
    joined: HashMap<ConnectionId, u32>,
    next_pair: u32,
    scratch: Vec<u8>,
    waiting: Arc<Waiting>,
    neighbours: Neighbours,
    shard: u16,
    ready: Arc<Ready>,
    counters: Arc<Counters>,
}

/// A connection on its way to a peer.
struct Dial {
    outcome: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
    waker: Waker,
}

struct Joined {
    pair: Box<Pair>,
    connection: ConnectionId,
    owner: u16,
}

impl TcpRelays {
    /// None yet. `waiting` is common to all.
    pub(super) fn new(
        waiting: Arc<Waiting>,
        neighbours: Neighbours,
        shard: u16,
        ready: &Arc<Ready>,
        counters: &Arc<Counters>,
    ) -> TcpRelays {
        TcpRelays {
            listeners: HashMap::new(),
            dials: HashMap::new(),
            patience: VecDeque::new(),
            pairs: HashMap::new(),
            joined: HashMap::new(),
            next_pair: 0,
            scratch: Vec::new(),
            waiting,
            neighbours,
            shard,
            ready: ready.clone(),
            counters: counters.clone(),
        }
    }

    /// Listens on a relayed transport address.
    ///
    /// # Errors
    /// [`BindError::InUse`] when another port may do, [`BindError::Failed`] when none will.
    pub(super) fn listen(&mut self, relayed: RelayedId, local: SocketAddr) -> Result<(), BindError> {
        let cause = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => BindError::InUse,
            _ => BindError::Failed,
        };
        // It shares its port with the connections that it makes itself, so ask first whether somebody else has it.
        drop(tcp::listen(local, false).map_err(cause)?);
        let listener = tcp::listen(local, true).map_err(cause)?;
        let listener = TcpListener::from_std(listener).map_err(|_| BindError::Failed)?;
        let source = Source::RelayTcp(relayed.0);
        self.listeners.insert(relayed.0, (listener, self.ready.waker(source)));
        self.ready.push(source);
        Ok(())
    }

    /// Stops listening.
    pub(super) fn unlisten(&mut self, relayed: RelayedId) {
        self.listeners.remove(&relayed.0);
    }

    /// The next peer that connected to a relayed address.
    ///
    /// # Errors
    /// When none can be taken for now: out of descriptors.
    pub(super) fn accept(&mut self, index: u32) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let Some((listener, waker)) = self.listeners.get(&index) else { return Ok(None) };
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(accepted) => accepted.map(Some),
        }
    }

    /// Starts a connection from a relayed address to a peer.
    ///
    /// # Errors
    /// When it cannot even be started.
    pub(super) fn dial(
        &mut self,
        connection: ConnectionId,
        local: SocketAddr,
        peer: SocketAddr,
        now: Instant,
    ) -> io::Result<()> {
        let outcome = Box::pin(TcpSocket::from_std_stream(tcp::dialer(local)?).connect(peer));
        let source = Source::Dial(connection);
        self.dials.insert(connection, Dial { outcome, waker: self.ready.waker(source) });
        self.patience.push_back((now + PATIENCE, connection));
        self.ready.push(source);
        Ok(())
    }

    /// How a dial went, once it is over: whether the connection waits for its client now.
    pub(super) fn dialed(&mut self, connection: ConnectionId) -> Option<bool> {
        let dial = self.dials.get_mut(&connection)?;
        let Poll::Ready(outcome) = dial.outcome.as_mut().poll(&mut Context::from_waker(&dial.waker)) else {
            return None;
        };
        self.dials.remove(&connection);
        Some(outcome.is_ok_and(|stream| self.keep(connection, stream)))
    }

    /// The next dial that has taken too long; it is given up.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<ConnectionId> {
        while self.next_overdue().is_some_and(|at| at <= now) {
            let (_, connection) = self.patience.pop_front()?;
            if self.dials.remove(&connection).is_some() {
                return Some(connection);
            }
        }
        None
    }

    /// When the next dial is given up.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.patience.front().map(|(at, _)| *at)
    }

    /// Keeps a peer's connection until its client binds it; `false` when it is gone already.
    pub(super) fn keep(&self, connection: ConnectionId, stream: TcpStream) -> bool {
        let Ok(stream) = tcp::prepare(&stream, None).and_then(|()| stream.into_std()) else { return false };
        self.waiting.keep(connection, Kept { owner: self.shard, stream });
        true
    }

    /// Joins a client's connection, to which `owed` is still to be written, to the peer's that waits under this name.
    /// Gives the pair's number, or `None` when nothing waits.
    pub(super) fn join(&mut self, connection: ConnectionId, client: Stream, owed: Vec<u8>) -> Option<u32> {
        let Kept { owner, stream } = self.waiting.take(connection)?;
        let Ok(peer) = TcpStream::from_std(stream) else {
            self.report(connection, owner);
            return None;
        };
        let number = self.next_pair;
        self.next_pair = self.next_pair.wrapping_add(1);
        let source = Source::Pair(number);
        let pair = Pair::new(client, Stream::Tcp(peer), owed, self.ready.waker(source));
        self.pairs.insert(number, Joined { pair: Box::new(pair), connection, owner });
        self.joined.insert(connection, number);
        self.counters.data_connections.add(1);
        self.ready.push(source);
        Some(number)
    }

    /// What the client of a new pair had sent already.
    pub(super) fn owe_peer(&mut self, number: u32, octets: &[u8]) {
        if let Some(joined) = self.pairs.get_mut(&number) {
            joined.pair.owe_peer(octets);
        }
    }

    /// Carries what a pair has. Gives the name of the data connection when it is over and its allocation is this shard's.
    pub(super) fn pump(&mut self, number: u32) -> Option<ConnectionId> {
        self.scratch.resize(SCRATCH, 0);
        let joined = self.pairs.get_mut(&number)?;
        let progress = joined.pair.pump(&mut self.scratch);
        let (up, down) = joined.pair.take_carried();
        self.counters.data_octets_to_peers.add(up);
        self.counters.data_octets_to_clients.add(down);
        match progress {
            Progress::Idle => None,
            Progress::More => {
                self.ready.push(Source::Pair(number));
                None
            }
            Progress::Over => {
                let Joined { connection, owner, .. } = self.part(number)?;
                self.report(connection, owner)
            }
        }
    }

    /// Closes a data connection wherever it is: on its way, waiting, or joined on any shard.
    pub(super) fn hang_up(&mut self, connection: ConnectionId) {
        let here = self.dials.remove(&connection).is_some()
            || self.waiting.take(connection).is_some()
            || self.hang_up_here(connection);
        if !here {
            let others = (0..self.neighbours.count()).filter(|shard| *shard != self.shard);
            others.for_each(|shard| self.neighbours.tell(shard, Passed::Hangup(connection)));
        }
    }

    /// Closes a data connection that is joined on this shard; tells whether there was one.
    pub(super) fn hang_up_here(&mut self, connection: ConnectionId) -> bool {
        self.joined.get(&connection).copied().and_then(|number| self.part(number)).is_some()
    }

    fn part(&mut self, number: u32) -> Option<Joined> {
        let joined = self.pairs.remove(&number)?;
        self.joined.remove(&joined.connection);
        self.counters.data_connections.subtract(1);
        Some(joined)
    }

    /// Tells the shard of the allocation that a data connection is over, unless it is this one.
    fn report(&self, connection: ConnectionId, owner: u16) -> Option<ConnectionId> {
        if owner == self.shard {
            return Some(connection);
        }
        self.neighbours.tell(owner, Passed::Closed(connection));
        None
    }
}

/// How long a connection to a peer may take. RFC 6062 §5.2: at least 30 seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets that are read at once.
const SCRATCH: usize = 64 << 10;
