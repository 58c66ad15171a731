//! What the protocol asks of its caller. Effects are data: the socket path performs them, an offload may read them too.

use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use crate::turn::ids::traffic::Traffic;
use crate::turn::shared::connection_ids::ConnectionId;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

/// Something to be done, in order.
#[derive(Debug)]
pub enum Effect {
    /// Send a STUN message to a client; [`super::Server::message`] has its octets.
    Send {
        /// To whom.
        to: Client,
        /// From which of the server's addresses, where it is not the one that the client wrote to (RFC 5780).
        from: Option<SocketAddr>,
        /// Which octets.
        message: Range<usize>,
    },
    /// Bind a UDP socket, or listen on TCP, and report to [`super::Server::bound`] at once.
    Bind {
        /// The new socket's number.
        relayed: RelayedId,
        /// Where.
        local: SocketAddr,
        /// What for.
        protocol: Protocol,
    },
    /// Connect over TCP, from a relayed address that is listened on, and report to [`super::Server::connected`]; give up
    /// after 30 seconds. RFC 6062 §5.2.
    Connect {
        /// The new connection's name.
        connection: ConnectionId,
        /// From where.
        local: SocketAddr,
        /// To whom.
        peer: SocketAddr,
    },
    /// From here on a client's connection carries a data connection's octets, both ways and as they are. The data
    /// connection may be another shard's. When either end closes report to [`super::Server::connection_closed`].
    Splice {
        /// The client's connection.
        client: Client,
        /// The data connection.
        connection: ConnectionId,
    },
    /// Close a data connection, and the client's that it may be joined to.
    CloseConnection {
        /// Which.
        connection: ConnectionId,
    },
    /// Close a relay socket.
    Unbind {
        /// Which.
        relayed: RelayedId,
    },
    /// A channel leads from a client to a peer and back until `expires`. Repeated with a later time when refreshed.
    Route {
        /// The channel's ends.
        path: Box<ChannelPath>,
        /// When it ends unless refreshed: the earliest of channel, permission and allocation.
        expires: Instant,
    },
    /// A channel leads nowhere any more.
    Unroute {
        /// The channel's ends.
        path: Box<ChannelPath>,
    },
    /// An allocation began.
    Started(Box<AllocationRecord>),
    /// An allocation ended.
    Ended(Box<AllocationRecord>),
}

/// The two ends of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPath {
    /// The client's end.
    pub client: FiveTuple,
    /// The channel's number there.
    pub channel: u16,
    /// The relayed transport address between, as its socket is bound.
    pub local: SocketAddr,
    /// The peer's end.
    pub peer: SocketAddr,
}

/// An allocation's life, for logs and usage.
#[derive(Clone, Debug)]
pub struct AllocationRecord {
    /// Unique among this server's allocations since its start.
    pub id: u64,
    /// Who.
    pub user: Arc<str>,
    /// In which realm.
    pub realm: Arc<str>,
    /// From where.
    pub client: FiveTuple,
    /// The relayed transport addresses, as clients are told them.
    pub relayed: Vec<SocketAddr>,
    /// The addresses that its permissions let reach it, or did when it ended.
    pub peers: Vec<IpAddr>,
    /// When it began.
    pub started: Instant,
    /// Its lifetime so far.
    pub elapsed: std::time::Duration,
    /// What it carried.
    pub traffic: Traffic,
    /// Why it ended; `None` while it lives.
    pub end_reason: Option<EndReason>,
}

/// One allocation, looked at closely.
#[derive(Clone, Debug)]
pub struct AllocationDetail {
    /// What is told of every allocation.
    pub record: AllocationRecord,
    /// How much longer it lives unless refreshed; for a dual one, the half that ends first.
    pub remaining: std::time::Duration,
    /// Who may reach it, and for how much longer.
    pub permissions: Vec<(IpAddr, std::time::Duration)>,
    /// Number and peer of its channels, and for how much longer; zero while a channel cools off.
    pub channels: Vec<(u16, SocketAddr, std::time::Duration)>,
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Its client deleted it: Refresh with lifetime 0.
    Deleted,
    /// Its lifetime ran out.
    Expired,
    /// Its client's connection closed.
    Disconnected,
    /// The operator closed it.
    Closed,
    /// The server stopped.
    Stopped,
}

impl EndReason {
    /// All of them, in the order of [`EndReason::index`].
    pub const ALL: [EndReason; 5] = [
        EndReason::Deleted,
        EndReason::Expired,
        EndReason::Disconnected,
        EndReason::Closed,
        EndReason::Stopped,
    ];

    /// The lower-case name that logs and metrics use.
    pub const fn name(self) -> &'static str {
        match self {
            EndReason::Deleted => "deleted",
            EndReason::Expired => "expired",
            EndReason::Disconnected => "disconnected",
            EndReason::Closed => "closed",
            EndReason::Stopped => "stopped",
        }
    }

    /// A small number for tables.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Why a relay socket could not be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Somebody else has the port: another one is tried.
    InUse,
    /// Nothing can be bound there: out of descriptors, or no such address.
    Failed,
}

/// An ICMP error about a datagram that a relay socket sent. RFC 8656 §11.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// ICMP or ICMPv6 type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
    /// The error's own four octets: the next-hop MTU for "fragmentation needed" and "packet too big".
    pub data: u32,
}
