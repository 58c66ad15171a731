//! Effects: actions that the protocol returns for its caller to perform. They are data, so that the
//! socket path and a kernel data path can both read them.

use crate::turn::allocation::record::AllocationRecord;
use crate::turn::ids::connection_id::ConnectionId;
use crate::turn::ids::five_tuple::{Client, FiveTuple};
use crate::turn::ids::relayed::{Protocol, RelayedId};
use crate::turn::ids::time::Instant;
use std::net::SocketAddr;
use std::ops::Range;

/// One action. Effects must be performed in order.
#[derive(Debug)]
pub enum Effect {
    /// Send a STUN message to a client.
    Send {
        /// The client.
        to: Client,
        /// The server address to send from, if it differs from the one that the client sent to (RFC
        /// 5780).
        from: Option<SocketAddr>,
        /// The message, for [`super::Server::message`].
        message: Range<usize>,
    },
    /// Bind a UDP socket or a TCP listener, and report the outcome to [`super::Server::bound`] at
    /// once.
    Bind {
        /// The new relay socket.
        relayed: RelayedId,
        /// The address to bind.
        local: SocketAddr,
        /// UDP or TCP.
        protocol: Protocol,
    },
    /// Close a relay socket.
    Unbind {
        /// The relay socket.
        relayed: RelayedId,
    },
    /// Connect to a peer over TCP, and report the outcome to [`super::Server::connected`]; give up
    /// after 30 seconds. RFC 6062 §5.2.
    Connect {
        /// The new data connection.
        connection: ConnectionId,
        /// The relayed address to connect from.
        local: SocketAddr,
        /// The peer.
        peer: SocketAddr,
    },
    /// Join a client's connection to a data connection, which may belong to another shard: from
    /// here on octets pass unchanged in both directions. When either end closes, report to
    /// [`super::Server::connection_closed`].
    Splice {
        /// The client, whose connection it is.
        client: Client,
        /// The data connection.
        connection: ConnectionId,
    },
    /// Close a data connection, and the client's connection that is joined to it.
    CloseConnection {
        /// The data connection.
        connection: ConnectionId,
    },
    /// A channel has a route in both directions until `expires`. Repeated with a later time when it
    /// is refreshed.
    Route {
        /// The ends of the channel.
        path: Box<ChannelPath>,
        /// The earliest expiry of channel, permission and allocation.
        expires: Instant,
    },
    /// A channel has no route any more.
    Unroute {
        /// The ends of the channel.
        path: Box<ChannelPath>,
    },
    /// An allocation began.
    Started(Box<AllocationRecord>),
    /// An allocation ended.
    Ended(Box<AllocationRecord>),
}

/// The ends of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPath {
    /// The client.
    pub client: FiveTuple,
    /// The channel number.
    pub channel: u16,
    /// The relayed transport address, as its socket is bound.
    pub local: SocketAddr,
    /// The peer.
    pub peer: SocketAddr,
}

/// Why a relay socket could not be bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// Another process uses the port: the server tries another port.
    InUse,
    /// No port of this address can be bound: no descriptors left, or no such address.
    Failed,
}

/// An ICMP or ICMPv6 error for a datagram that a relay socket sent. RFC 8656 §11.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// The type.
    pub kind: u8,
    /// The code.
    pub code: u8,
    /// The four octets behind the checksum: for "fragmentation needed" and "packet too big" the MTU
    /// of the next hop.
    pub data: u32,
}

impl Icmp {
    /// Returns true for the types that are reported to clients: destination unreachable, packet too
    /// big, time exceeded.
    pub(super) fn is_reported(self, peer: SocketAddr) -> bool {
        match peer {
            SocketAddr::V4(_) => matches!(self.kind, 3 | 11),
            SocketAddr::V6(_) => matches!(self.kind, 1..=3),
        }
    }

    /// The Error Data of the ICMP attribute: the next hop's MTU if the error has one, otherwise
    /// zero. RFC 8656 §18.13.
    pub(super) fn error_data(self, peer: SocketAddr) -> u32 {
        let has_mtu = match peer {
            SocketAddr::V4(_) => (self.kind, self.code) == (3, 4),
            SocketAddr::V6(_) => self.kind == 2,
        };
        if has_mtu { self.data } else { 0 }
    }
}
