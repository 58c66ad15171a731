//! TCP relays of a shard: relayed addresses that listen, connections on their way to peers, and pairs. RFC 6062.

use crate::net::tcp;
use crate::relay::client::stream::Stream;
use crate::relay::io::ready_queue::{Ready, Source};
use crate::relay::observe::counters::Counters;
use crate::relay::peer::splice::{Pair, Progress};
use crate::relay::peer::unbound::{Kept, Waiting};
use crate::relay::shard::messages::{Neighbours, Passed};
use crate::turn::{BindError, ConnectionId, Instant, Meter, RelayedId};
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
pub(crate) struct TcpRelays {
    listeners: HashMap<u32, (TcpListener, Waker)>,
    dials: HashMap<ConnectionId, Dial>,
    /// When each dial is given up, earliest first.
    patience: VecDeque<(Instant, ConnectionId)>,
    pairs: HashMap<u32, Joined>,
    /// The pairs that are looked at again, and when, earliest first: their allocation may not carry more for now, or was not
    /// told yet of what they carried.
    held: VecDeque<(Instant, u32)>,
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
    /// What it draws from, where its allocation is limited.
    meter: Option<Meter>,
    /// It is looked at again in a while.
    held: bool,
    /// Octets to the peer and to the client that its allocation's shard has not been told of.
    untold: (u64, u64),
}

/// What a pair came to.
#[derive(Debug, Default)]
pub(crate) struct Pumped {
    /// Octets that it carried to the peer and to the client for an allocation of this shard.
    pub(crate) carried: Option<(ConnectionId, u64, u64)>,
    /// It is over, and its allocation is this shard's.
    pub(crate) over: Option<ConnectionId>,
}

impl TcpRelays {
    /// None yet. `waiting` is common to all.
    pub(crate) fn new(
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
            held: VecDeque::new(),
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
    pub(crate) fn listen(
        &mut self,
        relayed: RelayedId,
        local: SocketAddr,
    ) -> Result<(), BindError> {
        let cause = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => BindError::InUse,
            _ => BindError::Failed,
        };
        // It shares its port with the connections that it makes itself, so ask first whether somebody else has it.
        drop(tcp::listen(local, tcp::PortSharing::Exclusive).map_err(cause)?);
        let listener = tcp::listen(local, tcp::PortSharing::Shared).map_err(cause)?;
        let listener = TcpListener::from_std(listener).map_err(|_| BindError::Failed)?;
        let source = Source::RelayTcp(relayed.0);
        self.listeners
            .insert(relayed.0, (listener, self.ready.waker(source)));
        self.ready.push(source);
        Ok(())
    }

    /// Stops listening.
    pub(crate) fn unlisten(&mut self, relayed: RelayedId) {
        self.listeners.remove(&relayed.0);
    }

    /// The next peer that connected to a relayed address.
    ///
    /// # Errors
    /// When none can be taken for now: out of descriptors.
    pub(crate) fn accept(&mut self, index: u32) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let Some((listener, waker)) = self.listeners.get(&index) else {
            return Ok(None);
        };
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(accepted) => accepted.map(Some),
        }
    }

    /// Starts a connection from a relayed address to a peer.
    ///
    /// # Errors
    /// When it cannot even be started.
    pub(crate) fn dial(
        &mut self,
        connection: ConnectionId,
        local: SocketAddr,
        peer: SocketAddr,
        now: Instant,
    ) -> io::Result<()> {
        let outcome =
            Box::pin(TcpSocket::from_std_stream(tcp::bind_outgoing(local)?).connect(peer));
        let source = Source::Dial(connection);
        self.dials.insert(
            connection,
            Dial {
                outcome,
                waker: self.ready.waker(source),
            },
        );
        self.patience.push_back((now + PATIENCE, connection));
        self.ready.push(source);
        Ok(())
    }

    /// How a dial went, once it is over: whether the connection waits for its client now.
    pub(crate) fn dialed(
        &mut self,
        connection: ConnectionId,
        meter: impl FnOnce() -> Option<Meter>,
    ) -> Option<bool> {
        let dial = self.dials.get_mut(&connection)?;
        let Poll::Ready(outcome) = dial
            .outcome
            .as_mut()
            .poll(&mut Context::from_waker(&dial.waker))
        else {
            return None;
        };
        self.dials.remove(&connection);
        Some(outcome.is_ok_and(|stream| self.keep(connection, stream, meter())))
    }

    /// The next dial that has taken too long; it is given up.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<ConnectionId> {
        while self.patience.front().is_some_and(|(at, _)| *at <= now) {
            let (_, connection) = self.patience.pop_front()?;
            if self.dials.remove(&connection).is_some() {
                return Some(connection);
            }
        }
        None
    }

    /// Lets the pairs go on that were held long enough.
    pub(crate) fn release(&mut self, now: Instant) {
        while self.held.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, number)) = self.held.pop_front() else {
                break;
            };
            if let Some(joined) = self.pairs.get_mut(&number) {
                joined.held = false;
                self.ready.push(Source::Pair(number));
            }
        }
    }

    /// When the next dial is given up, or the next pair goes on.
    pub(crate) fn next_overdue(&self) -> Option<Instant> {
        let (patience, held) = (self.patience.front(), self.held.front());
        patience
            .map(|(at, _)| *at)
            .into_iter()
            .chain(held.map(|(at, _)| *at))
            .min()
    }

    /// Keeps a peer's connection, which draws from `meter`, until its client binds it; `false` when it is gone already.
    pub(crate) fn keep(
        &self,
        connection: ConnectionId,
        stream: TcpStream,
        meter: Option<Meter>,
    ) -> bool {
        let Ok(stream) = tcp::configure(&stream, None).and_then(|()| stream.into_std()) else {
            return false;
        };
        self.waiting.keep(
            connection,
            Kept {
                owner: self.shard,
                stream,
                meter,
            },
        );
        true
    }

    /// Joins a client's connection, to which `owed` is still to be written, to the peer's that waits under this name.
    /// Gives the pair's number, or `None` when nothing waits.
    pub(crate) fn join(
        &mut self,
        connection: ConnectionId,
        client: Stream,
        owed: Vec<u8>,
    ) -> Option<u32> {
        let Kept {
            owner,
            stream,
            meter,
        } = self.waiting.take(connection)?;
        let Ok(peer) = TcpStream::from_std(stream) else {
            self.report(connection, owner);
            return None;
        };
        let number = self.next_pair;
        self.next_pair = self.next_pair.wrapping_add(1);
        let source = Source::Pair(number);
        let pair = Pair::new(client, Stream::Tcp(peer), owed, self.ready.waker(source));
        let pair = Box::new(pair);
        self.pairs.insert(
            number,
            Joined {
                pair,
                connection,
                owner,
                meter,
                held: false,
                untold: (0, 0),
            },
        );
        self.joined.insert(connection, number);
        self.counters.data_connections.add(1);
        self.ready.push(source);
        Some(number)
    }

    /// What the client of a new pair had sent already.
    pub(crate) fn owe_peer(&mut self, number: u32, octets: &[u8]) {
        if let Some(joined) = self.pairs.get_mut(&number) {
            joined.pair.owe_peer(octets);
        }
    }

    /// Carries what a pair has, unless its allocation's limits say that it has to wait.
    pub(crate) fn pump(&mut self, number: u32, now: Instant, unix: Duration) -> Pumped {
        self.scratch.resize(SCRATCH, 0);
        let Some(joined) = self.pairs.get_mut(&number) else {
            return Pumped::default();
        };
        if joined
            .meter
            .as_ref()
            .is_some_and(|meter| !meter.is_open(now, unix))
        {
            self.hold(number, now);
            return Pumped::default();
        }
        let progress = joined.pair.pump(&mut self.scratch);
        let (up, down) = joined.pair.take_carried();
        if let Some(meter) = &joined.meter {
            meter.charge(now, unix, up + down);
        }
        self.counters.data_bytes_to_peers.add(up);
        self.counters.data_bytes_to_clients.add(down);
        joined.untold = (joined.untold.0 + up, joined.untold.1 + down);
        let carried = self.tell(number, progress == Progress::Over || up + down == 0);
        let over = match progress {
            Progress::Idle => {
                self.hold_untold(number, now);
                None
            }
            Progress::More => {
                self.ready.push(Source::Pair(number));
                None
            }
            // Its allocation knows before its ends do, which may want the next connection at once.
            Progress::Over => self.part(number).and_then(
                |Joined {
                     pair,
                     connection,
                     owner,
                     ..
                 }| {
                    let over = self.report(connection, owner);
                    pair.close();
                    over
                },
            ),
        };
        Pumped { carried, over }
    }

    /// Looks at a pair again in a while.
    fn hold(&mut self, number: u32, now: Instant) {
        if let Some(joined) = self.pairs.get_mut(&number)
            && !std::mem::replace(&mut joined.held, true)
        {
            self.held.push_back((now + PAUSE, number));
        }
    }

    /// What another shard has not been told of is not left untold because a pair falls silent.
    fn hold_untold(&mut self, number: u32, now: Instant) {
        if self
            .pairs
            .get(&number)
            .is_some_and(|joined| joined.untold != (0, 0))
        {
            self.hold(number, now);
        }
    }

    /// What an allocation of this shard is to be told of what a pair carried; another shard is told from here, of much at a
    /// time or of all when it is `due`.
    fn tell(&mut self, number: u32, due: bool) -> Option<(ConnectionId, u64, u64)> {
        let joined = self.pairs.get_mut(&number)?;
        let (up, down) = joined.untold;
        let here = joined.owner == self.shard;
        if up + down == 0 || !(here || due || up + down >= MUCH) {
            return None;
        }
        joined.untold = (0, 0);
        if here {
            return Some((joined.connection, up, down));
        }
        self.neighbours
            .tell(joined.owner, Passed::Carried(joined.connection, up, down));
        None
    }

    /// Closes a data connection wherever it is: on its way, waiting, or joined on any shard.
    pub(crate) fn hang_up(&mut self, connection: ConnectionId) {
        let here = self.dials.remove(&connection).is_some()
            || self.waiting.take(connection).is_some()
            || self.hang_up_here(connection);
        if !here {
            let others = (0..self.neighbours.count()).filter(|shard| *shard != self.shard);
            others.for_each(|shard| self.neighbours.tell(shard, Passed::Hangup(connection)));
        }
    }

    /// Closes a data connection that is joined on this shard; tells whether there was one.
    pub(crate) fn hang_up_here(&mut self, connection: ConnectionId) -> bool {
        self.joined
            .get(&connection)
            .copied()
            .and_then(|number| self.part(number))
            .is_some()
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
/// After how long a pair is looked at again: as long as a burst that passes.
const PAUSE: Duration = Duration::from_millis(100);
/// Octets that another shard hears of at once.
const MUCH: u64 = 256 << 10;
/// Octets that are read at once.
const SCRATCH: usize = 64 << 10;
