//! TCP relays: relayed addresses that listen, and connections to peers that are being established.
//! RFC 6062.

use crate::net::tcp;
use crate::relay::io::ready_queue::{ReadyQueue, Source};
use crate::relay::peer::udp::bind_error;
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

/// The TCP relays of a shard.
pub(crate) struct TcpRelays {
    /// By the number of the relayed address.
    listeners: HashMap<u32, (TcpListener, Waker)>,
    dials: HashMap<ConnectionId, Dial>,
    /// When each dial times out. All take equally long, so the earliest is first.
    deadlines: VecDeque<(Instant, ConnectionId)>,
    ready: Arc<ReadyQueue>,
}

/// A connection to a peer that is being established.
struct Dial {
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
    waker: Waker,
}

impl TcpRelays {
    pub(crate) fn new(ready: Arc<ReadyQueue>) -> TcpRelays {
        TcpRelays {
            listeners: HashMap::new(),
            dials: HashMap::new(),
            deadlines: VecDeque::new(),
            ready,
        }
    }

    /// Listens on a relayed transport address.
    ///
    /// # Errors
    /// [`BindError::InUse`] if another port may be free, [`BindError::Failed`] if none can be
    /// bound.
    pub(crate) fn listen(
        &mut self,
        relayed: RelayedId,
        local: SocketAddr,
    ) -> Result<(), BindError> {
        // The listener shares its port with the connections that are dialed from it (SO_REUSEPORT),
        // so it could be bound next to a listener of another process: check first that the port is
        // free.
        drop(tcp::listen(local, tcp::PortSharing::Exclusive).map_err(|error| bind_error(&error))?);
        let listener =
            tcp::listen(local, tcp::PortSharing::Shared).map_err(|error| bind_error(&error))?;
        let listener = TcpListener::from_std(listener).map_err(|_| BindError::Failed)?;
        let source = Source::TcpRelay(relayed.0);
        let waker = self.ready.waker(source);
        self.listeners.insert(relayed.0, (listener, waker));
        self.ready.push(source);
        Ok(())
    }

    pub(crate) fn close(&mut self, relayed: RelayedId) {
        self.listeners.remove(&relayed.0);
    }

    /// Accepts one connection of a peer; `None` if nothing waits.
    ///
    /// # Errors
    /// No connection can be accepted for now: out of descriptors.
    pub(crate) fn accept(
        &mut self,
        relayed: RelayedId,
    ) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let Some((listener, waker)) = self.listeners.get(&relayed.0) else {
            return Ok(None);
        };
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Pending => Ok(None),
            Poll::Ready(accepted) => accepted.map(Some),
        }
    }

    /// Starts to connect from a relayed address to a peer.
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
        let socket = TcpSocket::from_std_stream(tcp::bind_outgoing(local)?);
        let source = Source::Dial(connection);
        let dial = Dial {
            connecting: Box::pin(socket.connect(peer)),
            waker: self.ready.waker(source),
        };
        self.dials.insert(connection, dial);
        self.deadlines.push_back((now + DIAL_TIMEOUT, connection));
        self.ready.push(source);
        Ok(())
    }

    /// The result of a dial once it is there.
    pub(crate) fn poll_dial(&mut self, connection: ConnectionId) -> Option<io::Result<TcpStream>> {
        let dial = self.dials.get_mut(&connection)?;
        let mut cx = Context::from_waker(&dial.waker);
        let Poll::Ready(result) = dial.connecting.as_mut().poll(&mut cx) else {
            return None;
        };
        self.dials.remove(&connection);
        Some(result)
    }

    /// Cancels a dial; false if there is none.
    pub(crate) fn cancel_dial(&mut self, connection: ConnectionId) -> bool {
        self.dials.remove(&connection).is_some()
    }

    /// Cancels and returns a dial that timed out.
    pub(crate) fn pop_timed_out(&mut self, now: Instant) -> Option<ConnectionId> {
        while self.deadlines.front().is_some_and(|(at, _)| *at <= now) {
            let (_, connection) = self.deadlines.pop_front()?;
            if self.cancel_dial(connection) {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }
}

/// RFC 6062 §5.2 asks for at least 30 seconds.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
