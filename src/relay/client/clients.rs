//! The clients' side: listeners and connections.

use crate::net::host::fd_limit;
use crate::net::{PolledSocket, tcp};
use crate::relay::client::connection::{Conn, Pool};
use crate::relay::client::listeners::Pair;
use crate::relay::client::stream::Stream;
use crate::relay::io::ready_queue::{Ready, Source};
use crate::relay::observe::counters::Counters;
use crate::relay::plan::ConnectionLimits;
use crate::turn::policy::acl::Cidr;
use crate::turn::{Client, FiveTuple, Instant, Link, Transport};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::{TcpListener, TcpStream};

/// Everything of a shard that clients write to.
pub(crate) struct Clients {
    /// By the listener's number.
    pub(crate) udp: Vec<Option<UdpListener>>,
    pub(crate) tcp: Vec<Option<(TcpListener, Waker)>>,
    /// SocketOptions of single clients, once another process has the listeners.
    pub(crate) dedicated: Vec<Dedicated>,
    /// The listeners that took strangers until then.
    pub(crate) muted: Vec<u32>,
    connections: Vec<Slot>,
    vacant: Vec<u32>,
    /// When each connection is to be looked at for silence, earliest first.
    checks: BinaryHeap<Reverse<(Instant, Link)>>,
    touched: Vec<u32>,
    /// Spare output buffers.
    pub(crate) pool: Pool,
    limits: ConnectionLimits,
    balancers: Vec<Cidr>,
    shard: u16,
    pub(crate) ready: Arc<Ready>,
    counters: Arc<Counters>,
}

/// A UDP listener.
pub(crate) struct UdpListener {
    /// Its socket.
    pub(crate) port: PolledSocket,
    /// What it is bound to.
    pub(crate) address: SocketAddr,
    /// It is bound to a wildcard.
    pub(crate) wildcard: bool,
    /// It was taken away.
    pub(crate) retired: Option<Retired>,
}

/// What a listener is that was taken away: it takes no new clients, and keeps those that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    /// The listener that answers those who come this way: itself, or one that has its address and port too.
    pub(crate) answers: u32,
    /// Whether strangers are answered.
    pub(crate) strangers: bool,
}

/// A socket that only one client reaches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dedicated {
    /// Its number among the listeners of this shard.
    pub(crate) number: u32,
    /// Its two ends.
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

/// A place for a connection. The generation tells a link to what was here before from one to what is here now.
struct Slot {
    generation: u16,
    conn: Option<Box<Conn>>,
}

/// What a [`Link`] leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A UDP listener; every shard has the same ones, so any shard may send to its clients.
    Listener(u32),
    /// A connection of the shard `shard`.
    Conn {
        shard: u16,
        generation: u16,
        index: u32,
    },
    /// A DTLS association of the shard `shard`.
    Association {
        shard: u16,
        generation: u16,
        index: u32,
    },
}

impl Clients {
    /// The listeners' sockets, watched by the shard's runtime.
    ///
    /// # Errors
    /// When the runtime cannot watch them.
    pub(crate) fn new(
        listeners: Vec<Pair>,
        (limits, balancers): (ConnectionLimits, Vec<Cidr>),
        shard: u16,
        ready: &Arc<Ready>,
        counters: &Arc<Counters>,
    ) -> io::Result<Clients> {
        let mut clients = Clients {
            udp: Vec::new(),
            tcp: Vec::new(),
            dedicated: Vec::new(),
            muted: Vec::new(),
            connections: Vec::new(),
            vacant: Vec::new(),
            checks: BinaryHeap::new(),
            touched: Vec::new(),
            pool: Pool::default(),
            limits,
            balancers,
            shard,
            ready: ready.clone(),
            counters: counters.clone(),
        };
        for (number, (udp, tcp)) in (0..).zip(listeners) {
            clients.listen(number, udp, tcp)?;
        }
        Ok(clients)
    }

    /// A UDP listener.
    pub(crate) fn udp(&mut self, index: u32) -> Option<&mut UdpListener> {
        self.udp.get_mut(index as usize)?.as_mut()
    }

    /// The UDP listener with this address, or the wildcard with its port.
    pub(crate) fn listener_at(&self, address: SocketAddr) -> Option<u32> {
        let bound = |listener: &Option<UdpListener>| {
            listener.as_ref().is_some_and(|listener| {
                listener.address == address
                    || (listener.wildcard
                        && listener.address.port() == address.port()
                        && listener.address.is_ipv4() == address.is_ipv4())
            })
        };
        self.udp
            .iter()
            .position(bound)
            .and_then(|index| u32::try_from(index).ok())
    }

    /// Takes the connections that wait at a listener, up to some.
    ///
    /// # Errors
    /// When none can be taken for now: out of descriptors.
    pub(crate) fn accept(&mut self, index: u32, now: Instant) -> io::Result<()> {
        for _ in 0..ACCEPTS {
            let Some(Some((listener, waker))) = self.tcp.get(index as usize) else {
                return Ok(());
            };
            match listener.poll_accept(&mut Context::from_waker(waker)) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok((stream, client))) => self.admit(stream, client, now),
                Poll::Ready(Err(error)) => {
                    self.counters.connections_failed.add(1);
                    if !is_about_one_connection(&error) {
                        return Err(error);
                    }
                }
            }
        }
        self.ready.push(Source::Tcp(index));
        Ok(())
    }

    fn admit(&mut self, stream: TcpStream, client: SocketAddr, now: Instant) {
        let open = self.connections.len() - self.vacant.len();
        // Connections that do nothing must not take the sockets of relays: the last descriptors are kept for those.
        if open >= self.limits.max_connections || fd_limit::is_nearly_exhausted(&stream) {
            return self.counters.connections_refused.add(1);
        }
        let prepared =
            tcp::configure(&stream, self.limits.send_buffer).and_then(|()| stream.local_addr());
        let Ok(server) = prepared else {
            return self.counters.connections_failed.add(1);
        };
        self.counters.connections_accepted.add(1);
        self.counters.connections.add(1);
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.connections.push(Slot {
                generation: 0,
                conn: None,
            });
            (self.connections.len() - 1) as u32
        });
        let Some(slot) = self.connections.get_mut(index as usize) else {
            return;
        };
        let link = Way::Conn {
            shard: self.shard,
            generation: slot.generation,
            index,
        }
        .link();
        let five_tuple = FiveTuple {
            client,
            server,
            transport: Transport::Tcp,
        };
        let source = Source::Conn(index);
        let client = Client::new(five_tuple, link);
        let mut conn = Conn::new(Stream::Tcp(stream), client, self.ready.waker(source), now);
        conn.balanced = self
            .balancers
            .iter()
            .any(|balancer| balancer.contains(five_tuple.client.ip().to_canonical()));
        slot.conn = Some(Box::new(conn));
        self.ready.push(source);
        self.checks.push(Reverse((
            now + self.limits.idle_timeout.min(self.limits.handshakes.timeout),
            link,
        )));
    }

    /// The connection at a place.
    pub(crate) fn conn(&mut self, index: u32) -> Option<&mut Conn> {
        self.connections
            .get_mut(index as usize)?
            .conn
            .as_deref_mut()
    }

    /// The place of the connection that a link leads to, if it is still there.
    pub(crate) fn place(&self, link: Link) -> Option<u32> {
        let Way::Conn {
            shard,
            generation,
            index,
        } = Way::of(link)
        else {
            return None;
        };
        let slot = self.connections.get(index as usize)?;
        (shard == self.shard && slot.generation == generation && slot.conn.is_some())
            .then_some(index)
    }

    /// The connection at a place and the spare buffers, to queue output.
    pub(crate) fn output(&mut self, index: u32) -> Option<(&mut Conn, &mut Pool)> {
        let conn = self
            .connections
            .get_mut(index as usize)?
            .conn
            .as_deref_mut()?;
        if !conn.touched {
            conn.touched = true;
            self.touched.push(index);
        }
        Some((conn, &mut self.pool))
    }

    /// The places of the connections that were given output since they were last flushed.
    pub(crate) fn take_touched(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.touched)
    }

    /// Gives back the list that [`Clients::take_touched`] gave, for its memory.
    pub(crate) fn return_touched(&mut self, mut list: Vec<u32>) {
        if self.touched.is_empty() {
            list.clear();
            self.touched = list;
        }
    }

    /// Writes what waits for a connection; `false` when it has failed.
    pub(crate) fn flush(&mut self, index: u32) -> bool {
        let Some(conn) = self
            .connections
            .get_mut(index as usize)
            .and_then(|slot| slot.conn.as_deref_mut())
        else {
            return true;
        };
        conn.touched = false;
        match conn.flush(&mut self.pool) {
            Ok(writes) => {
                self.counters.stream_writes.add(writes);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes a connection out; dropped, it is closed.
    pub(crate) fn take(&mut self, index: u32) -> Option<Box<Conn>> {
        let slot = self.connections.get_mut(index as usize)?;
        let conn = slot.conn.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.vacant.push(index);
        self.counters.connections.subtract(1);
        Some(conn)
    }

    /// When the next connection is to be looked at for silence.
    pub(crate) fn next_check(&self) -> Option<Instant> {
        self.checks.peek().map(|Reverse((at, _))| *at)
    }

    /// The next connection that has been silent for too long, unless it `holds` an allocation.
    pub(crate) fn silent(
        &mut self,
        now: Instant,
        holds: impl Fn(&FiveTuple) -> bool,
    ) -> Option<u32> {
        while self.next_check().is_some_and(|at| at <= now) {
            let Some(Reverse((_, link))) = self.checks.pop() else {
                break;
            };
            let limits = self.limits;
            let Some(index) = self.place(link) else {
                continue;
            };
            let Some(conn) = self.conn(index) else {
                continue;
            };
            let due = conn.deadline(&limits);
            let again = if holds(&conn.client.five_tuple) {
                now + limits.idle_timeout
            } else {
                due
            };
            if again <= now {
                return Some(index);
            }
            self.checks.push(Reverse((again, link)));
        }
        None
    }

    /// Which shard this is.
    pub(crate) fn shard(&self) -> u16 {
        self.shard
    }

    /// Bounds of connections.
    pub(crate) fn limits(&self) -> &ConnectionLimits {
        &self.limits
    }
}

impl Way {
    /// As the protocol carries it.
    pub(crate) fn link(self) -> Link {
        Link(match self {
            Way::Listener(index) => u64::from(index),
            Way::Conn {
                shard,
                generation,
                index,
            } => CONNECTION | placed(shard, generation, index),
            Way::Association {
                shard,
                generation,
                index,
            } => CONNECTION | ASSOCIATION | placed(shard, generation, index),
        })
    }

    /// What a link leads to.
    pub(crate) fn of(link: Link) -> Way {
        if link.0 & CONNECTION == 0 {
            return Way::Listener(link.0 as u32);
        }
        let (shard, generation, index) = (
            (link.0 >> 48) as u16 & SHARD,
            (link.0 >> 32) as u16,
            link.0 as u32,
        );
        match link.0 & ASSOCIATION {
            0 => Way::Conn {
                shard,
                generation,
                index,
            },
            _ => Way::Association {
                shard,
                generation,
                index,
            },
        }
    }
}

fn placed(shard: u16, generation: u16, index: u32) -> u64 {
    u64::from(shard & SHARD) << 48 | u64::from(generation) << 32 | u64::from(index)
}

/// Errors of `accept` that the next call has nothing to do with.
fn is_about_one_connection(error: &io::Error) -> bool {
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

/// What a link has room for of a shard's number.
const SHARD: u16 = 0x3fff;
/// Marks a link to a DTLS association, among those to connections.
const ASSOCIATION: u64 = 1 << 62;
/// Marks a link to a connection.
const CONNECTION: u64 = 1 << 63;
/// Connections taken at once before others have their turn.
const ACCEPTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_back() {
        let ways = [
            Way::Listener(0),
            Way::Listener(7),
            Way::Conn {
                shard: 0,
                generation: 0,
                index: 0,
            },
            Way::Conn {
                shard: 0x3fff,
                generation: 0xffff,
                index: u32::MAX,
            },
            Way::Association {
                shard: 0x3fff,
                generation: 0xffff,
                index: u32::MAX,
            },
            Way::Association {
                shard: 0,
                generation: 0,
                index: 0,
            },
            Way::Conn {
                shard: 3,
                generation: 9,
                index: 70_000,
            },
        ];
        for way in ways {
            assert_eq!(Way::of(way.link()), way);
        }
    }
}
