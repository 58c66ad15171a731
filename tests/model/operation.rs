//! Operations on a server, decoded from random octets, and the encoding of their requests.

use hairpin::turn::{BindError, Client, ConnectionId, FiveTuple, Icmp, Link, RelayedId, Transport};
use hairpin::wire::integrity::Key;
use hairpin::wire::registry::PasswordAlgorithm;
use hairpin::wire::{AttributeType, Class, Method, Writer, attribute};
use std::net::SocketAddr;

/// Octets that one operation is decoded from.
pub const OCTETS: usize = 8;

#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    /// An authenticated request, and the outcomes of its binds.
    Ask {
        client: usize,
        user: usize,
        ask: Ask,
        binds: Binds,
    },
    /// A retransmission of the client's last request.
    Repeat { client: usize, binds: Binds },
    /// A request without credentials.
    Unsealed { client: usize },
    /// A Send indication.
    Send {
        client: usize,
        peer: SocketAddr,
        length: usize,
        dont_fragment: bool,
    },
    /// A ChannelData message.
    ChannelData {
        client: usize,
        number: u16,
        length: usize,
    },
    /// A datagram from a peer.
    FromPeer {
        socket: RelayedId,
        peer: SocketAddr,
        length: usize,
    },
    /// An ICMP error.
    PeerError {
        socket: RelayedId,
        peer: SocketAddr,
        icmp: Icmp,
    },
    /// A client's connection closes; its next packet uses a new one.
    Gone { client: usize },
    /// The outcome of a connection attempt.
    Connected {
        connection: ConnectionId,
        succeeded: bool,
    },
    /// A peer connects.
    Accepted { socket: RelayedId, peer: SocketAddr },
    /// A data connection closes.
    Closed { connection: ConnectionId },
    /// The clock advances to this time.
    Pass { until: u64 },
    /// Arbitrary octets, sent by the fuzzer only.
    Raw { client: usize, octets: Vec<u8> },
}

#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    Allocate {
        transport: Option<u8>,
        family: Option<u8>,
        additional: Option<u8>,
        even: Option<bool>,
        token: Option<[u8; 8]>,
        lifetime: Option<u32>,
        mobile: bool,
        dont_fragment: bool,
    },
    Refresh {
        lifetime: Option<u32>,
        family: Option<u8>,
        ticket: Option<Vec<u8>>,
    },
    CreatePermission {
        peers: Vec<SocketAddr>,
    },
    ChannelBind {
        number: u16,
        peer: SocketAddr,
    },
    Connect {
        peer: SocketAddr,
    },
    ConnectionBind {
        connection: ConnectionId,
    },
}

/// The outcomes of the binds of one request, two bits each; the last pair repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binds(pub u8);

impl Binds {
    /// The next outcome.
    pub fn next(&mut self) -> Result<(), BindError> {
        let pair = self.0 & 3;
        self.0 = (self.0 >> 2) | (self.0 & 0xc0);
        match pair {
            0 | 1 => Ok(()),
            2 => Err(BindError::InUse),
            _ => Err(BindError::Failed),
        }
    }
}

/// The clients: three hosts, every transport, both families.
pub fn clients() -> [Client; 8] {
    let client = |address: &str, transport: Transport, link: u64| {
        let client: SocketAddr = address.parse().unwrap();
        let server = if client.is_ipv4() {
            "192.0.2.1:3478"
        } else {
            "[2001:db8::1]:3478"
        };
        Client::new(
            FiveTuple {
                client,
                server: server.parse().unwrap(),
                transport,
            },
            Link(link),
        )
    };
    [
        client("198.51.100.7:5000", Transport::Udp, 0),
        client("198.51.100.7:5001", Transport::Udp, 1),
        client("198.51.100.8:5000", Transport::Udp, 2),
        client("198.51.100.7:6000", Transport::Tcp, 3),
        client("198.51.100.8:6000", Transport::Tcp, 4),
        client("198.51.100.9:6000", Transport::Tls, 5),
        client("[2a00:1::1]:5000", Transport::Dtls, 6),
        client("198.51.100.9:5000", Transport::Tcp, 7),
    ]
}

/// The users, by number.
pub const USERS: [&str; 2] = ["ann", "bob"];
pub const REALM: &str = "hairpin";

/// A user's key.
pub fn key(user: usize) -> Key {
    Key::long_term(PasswordAlgorithm::MD5, USERS[user], REALM, "pass").unwrap()
}

impl Ask {
    /// The request's method.
    pub fn method(&self) -> Method {
        match self {
            Ask::Allocate { .. } => Method::ALLOCATE,
            Ask::Refresh { .. } => Method::REFRESH,
            Ask::CreatePermission { .. } => Method::CREATE_PERMISSION,
            Ask::ChannelBind { .. } => Method::CHANNEL_BIND,
            Ask::Connect { .. } => Method::CONNECT,
            Ask::ConnectionBind { .. } => Method::CONNECTION_BIND,
        }
    }

    /// The authenticated request.
    pub fn write(&self, transaction: &[u8; 12], user: usize, key: &Key, nonce: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, self.method(), transaction);
        self.write_attributes(&mut writer);
        writer.attribute(AttributeType::USERNAME, USERS[user].as_bytes());
        writer.attribute(AttributeType::REALM, REALM.as_bytes());
        writer.attribute(AttributeType::NONCE, nonce).integrity(key);
        writer.finish();
        out
    }

    fn write_attributes(&self, writer: &mut Writer) {
        let mut family = |kind, family: &Option<u8>| {
            if let Some(family) = family {
                writer.attribute(kind, &[*family, 0, 0, 0]);
            }
        };
        match self {
            Ask::Allocate {
                transport,
                family: one,
                additional,
                even,
                token,
                lifetime,
                mobile,
                dont_fragment,
            } => {
                family(AttributeType::REQUESTED_TRANSPORT, transport);
                family(AttributeType::REQUESTED_ADDRESS_FAMILY, one);
                family(AttributeType::ADDITIONAL_ADDRESS_FAMILY, additional);
                even.inspect(|next| {
                    _ = writer.attribute(AttributeType::EVEN_PORT, &[u8::from(*next) << 7])
                });
                token
                    .inspect(|token| _ = writer.attribute(AttributeType::RESERVATION_TOKEN, token));
                lifetime.inspect(|lifetime| _ = writer.number(AttributeType::LIFETIME, *lifetime));
                if *mobile {
                    writer.attribute(AttributeType::MOBILITY_TICKET, &[]);
                }
                if *dont_fragment {
                    writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
                }
            }
            Ask::Refresh {
                lifetime,
                family: one,
                ticket,
            } => {
                family(AttributeType::REQUESTED_ADDRESS_FAMILY, one);
                lifetime.inspect(|lifetime| _ = writer.number(AttributeType::LIFETIME, *lifetime));
                if let Some(ticket) = ticket {
                    writer.attribute(AttributeType::MOBILITY_TICKET, ticket);
                }
            }
            Ask::CreatePermission { peers } => {
                for peer in peers {
                    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
                }
            }
            Ask::ChannelBind { number, peer } => {
                let [n0, n1] = number.to_be_bytes();
                writer.attribute(AttributeType::CHANNEL_NUMBER, &[n0, n1, 0, 0]);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
            Ask::Connect { peer } => {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
            Ask::ConnectionBind { connection } => {
                writer.number(AttributeType::CONNECTION_ID, connection.0);
            }
        }
    }
}

/// A Send indication of `length` octets of data.
pub fn send(
    transaction: &[u8; 12],
    peer: SocketAddr,
    length: usize,
    dont_fragment: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Indication, Method::SEND, transaction);
    let (octets, size) = attribute::xor_address(peer, transaction);
    writer.attribute(AttributeType::XOR_PEER_ADDRESS, &octets[..size]);
    if dont_fragment {
        writer.attribute(AttributeType::DONT_FRAGMENT, &[]);
    }
    writer.attribute(AttributeType::DATA, &vec![b'd'; length]);
    writer.finish();
    out
}
