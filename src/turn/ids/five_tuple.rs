//! Who is at the other end of the client's side. RFC 8656 §2.

use crate::turn::ids::realm::RealmId;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// How a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream inside TLS.
    Tls,
    /// Datagrams inside DTLS.
    Dtls,
}

impl Transport {
    /// All of them, in the order of [`Transport::index`].
    pub const ALL: [Transport; 4] = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Dtls,
    ];

    /// Whether messages are cut from a stream, which is reliable and cannot be spoofed.
    pub const fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// The lower-case name that logs, metrics and URIs use.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        }
    }

    /// A small number for tables.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The client's and the server's transport address and the transport between them: what identifies an allocation.
/// RFC 8656 §3.2. On a wildcard listener `server` is the address that the packet was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// The client's transport address, as the server sees it.
    pub client: SocketAddr,
    /// The server's transport address, as the client sees it.
    pub server: SocketAddr,
    /// The transport between them.
    pub transport: Transport,
}

impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(self.client, state);
        hash_address(self.server, state);
        state.write_u8(self.transport as u8);
    }
}

/// Feeds an address to a hasher in as few words as it has: every packet's lookup goes through here.
pub fn hash_address<H: Hasher>(address: SocketAddr, state: &mut H) {
    match address.ip() {
        IpAddr::V4(ip) => {
            state.write_u64(u64::from(ip.to_bits()) << 16 | u64::from(address.port()))
        }
        IpAddr::V6(ip) => {
            state.write_u128(ip.to_bits());
            state.write_u16(address.port());
        }
    }
}

/// Which of the caller's sockets or connections carries a client: the protocol hands it back and never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Link(pub u64);

/// A client as the server knows it: its five-tuple and where to send to reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// What identifies the client's allocation.
    pub five_tuple: FiveTuple,
    /// The caller's own word for the socket or connection.
    pub link: Link,
    /// The realm that the TLS server name chose, where there is one.
    pub realm: Option<RealmId>,
}

impl Client {
    /// A client without a server name.
    pub const fn new(five_tuple: FiveTuple, link: Link) -> Client {
        Client {
            five_tuple,
            link,
            realm: None,
        }
    }
}

/// A peer as a table's key: its transport address, hashed as [`hash_address`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl Hash for Peer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(self.0, state);
    }
}
