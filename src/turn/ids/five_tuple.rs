//! The identity of a client. RFC 8656 §2.

use crate::turn::ids::realm::RealmId;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// The transport between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// All transports, in the order of [`Transport::index`].
    pub const ALL: [Transport; 4] = [
        Transport::Udp,
        Transport::Tcp,
        Transport::Tls,
        Transport::Dtls,
    ];

    /// Returns true for a byte stream, which is reliable and whose source address cannot be forged.
    pub const fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// The lower-case name in logs, metrics and URIs.
    pub const fn name(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
            Transport::Dtls => "dtls",
        }
    }

    /// The position in [`Transport::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What identifies an allocation: the client's and the server's transport address and the transport
/// between them. RFC 8656 §3.2. On a wildcard listener `server` is the destination address of the
/// packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// The client's transport address, as the server sees it.
    pub client: SocketAddr,
    /// The server's transport address, as the client sees it.
    pub server: SocketAddr,
    /// The transport between client and server.
    pub transport: Transport,
}

impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(self.client, state);
        hash_address(self.server, state);
        state.write_u8(self.transport as u8);
    }
}

/// Feeds an address to a hasher in as few words as possible, because every packet is looked up by
/// addresses.
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

/// The caller's own number for the socket or connection of a client. The protocol returns it and
/// never interprets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Link(pub u64);

/// A client: its five-tuple and the link to send on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// What identifies the client's allocation.
    pub five_tuple: FiveTuple,
    /// The caller's number for the client's socket or connection.
    pub link: Link,
    /// The realm that the TLS server name of the connection selected.
    pub realm: Option<RealmId>,
}

impl Client {
    /// A client without a TLS server name.
    pub const fn new(five_tuple: FiveTuple, link: Link) -> Client {
        Client {
            five_tuple,
            link,
            realm: None,
        }
    }
}

/// A transport address as a key, hashed by [`hash_address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressKey(pub SocketAddr);

impl Hash for AddressKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_address(self.0, state);
    }
}
