//! A server in virtual time with its environment: sockets, connections, and clients with their
//! nonces, tokens and tickets.

use super::operation::{Ask, Binds, OCTETS, Operation, REALM, USERS, clients, key, send};
use hairpin::turn::effect::ChannelPath;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{
    BindError, Client, ConnectionId, Effect, EndReason, Forward, Icmp, Instant, Limits, Policy,
    Ports, Protocol, RelayAddress, RelayedId, Server, Setup, Shared,
};
use hairpin::wire::integrity::Key;
use hairpin::wire::{AttributeType, Class, Message, Method, Writer, channel_data};
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// The options of the policy that the model covers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The IPv4 relay address is behind a 1:1 NAT.
    pub nat: bool,
    /// There is an IPv6 relay address.
    pub v6: bool,
    /// Mobility (RFC 8016) is on.
    pub mobility: bool,
    /// Peers on the server's own address are permitted.
    pub own: bool,
}

impl Setting {
    /// Decodes the options from an octet.
    pub fn of(octet: u8) -> Setting {
        Setting {
            nat: octet & 1 != 0,
            v6: octet & 6 != 0,
            mobility: octet & 24 != 0,
            own: octet & 32 != 0,
        }
    }

    /// Local and external relay addresses.
    pub fn relays(self) -> Vec<RelayAddress> {
        let relay = |local: &str, external: &str| RelayAddress {
            local: local.parse().unwrap(),
            external: external.parse().unwrap(),
        };
        let v4 = if self.nat {
            relay("10.0.0.1", "192.0.2.1")
        } else {
            relay("192.0.2.1", "192.0.2.1")
        };
        let mut all = vec![v4];
        if self.v6 {
            all.push(relay("2001:db8::1", "2001:db8::1"));
        }
        all
    }
}

/// Small, so that every limit is reached.
pub fn limits() -> Limits {
    Limits {
        allocations: 6,
        allocations_per_user: 4,
        allocations_per_address: 3,
        permissions: 3,
        channels: 3,
        connections: 2,
        new_peers: 0,
        ..Limits::default()
    }
}

/// A range that is often exhausted; it starts with an odd port.
pub const RANGE: RangeInclusive<u16> = 50_001..=50_008;

/// One relay socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    pub id: RelayedId,
    pub local: SocketAddr,
    pub tcp: bool,
}

/// A bind and its outcome.
pub struct Bind {
    pub id: RelayedId,
    pub local: SocketAddr,
    pub tcp: bool,
    pub outcome: Result<(), BindError>,
}

/// A sent request.
#[derive(Clone)]
pub struct Sealed {
    pub octets: Vec<u8>,
    pub transaction: [u8; 12],
    pub user: usize,
    pub ask: Ask,
    /// The second in which its nonce was issued.
    pub nonce_of: u64,
}

/// The results of one operation.
#[derive(Default)]
pub struct Seen {
    /// The request, if the operation was one.
    pub request: Option<Sealed>,
    pub onward: Option<Forward>,
    pub accepted: Option<ConnectionId>,
    pub sent: Vec<(Client, Vec<u8>)>,
    pub binds: Vec<Bind>,
    pub connects: Vec<(ConnectionId, SocketAddr, SocketAddr)>,
    pub spliced: Vec<(Client, ConnectionId)>,
    pub hung_up: Vec<ConnectionId>,
    pub started: usize,
    pub ended: Vec<EndReason>,
}

/// The state of a client.
#[derive(Default)]
struct Memory {
    nonce: Option<(Vec<u8>, u64)>,
    last: Option<Sealed>,
}

pub struct World {
    pub server: Server,
    pub shared: Arc<Shared>,
    pub setting: Setting,
    pub now: Instant,
    pub clients: [Client; 8],
    pub sockets: Vec<Socket>,
    /// Channels as an offload knows them, by `Route` and `Unroute`.
    pub routes: Vec<(ChannelPath, Instant)>,
    pub faults: Vec<String>,
    memories: [Memory; 8],
    keys: [Key; 2],
    tokens: Vec<[u8; 8]>,
    tickets: Vec<Vec<u8>>,
    connections: Vec<ConnectionId>,
    boundaries: BTreeSet<u64>,
    transactions: u64,
    links: u64,
}

/// The shared state of all servers with one set of options.
pub fn shared(setting: Setting) -> Arc<Shared> {
    let addresses: Vec<IpAddr> = setting.relays().iter().map(|relay| relay.local).collect();
    Arc::new(Shared::new(Ports::new(addresses, RANGE), [7; 32], 0))
}

/// The policy for a set of options.
pub fn policy(setting: Setting) -> Arc<Policy> {
    let mut realm = Realm::new(REALM);
    for user in USERS {
        realm.credentials.add_user(REALM, user, "pass");
    }
    if setting.own {
        realm.peers.allow.push("192.0.2.1/32".parse().unwrap());
    }
    let mut policy = Policy::new(realm, setting.relays());
    let relays = setting.relays();
    policy.own_addresses.addresses = relays
        .iter()
        .flat_map(|relay| [relay.local, relay.external])
        .collect();
    policy.own_addresses.listeners = vec![
        "192.0.2.1:3478".parse().unwrap(),
        "[2001:db8::1]:3478".parse().unwrap(),
    ];
    policy.mobility = setting.mobility;
    policy.tcp_relays = true;
    policy.limits = limits();
    Arc::new(policy)
}

impl World {
    /// A server without allocations, one second into its life.
    pub fn new(setting: Setting, policy: Arc<Policy>, shared: Arc<Shared>) -> World {
        let setup = Setup {
            policy,
            shared: shared.clone(),
            shard: 0,
            seed: [9; 32],
            unix_at_epoch: Duration::from_secs(1),
        };
        World {
            server: Server::new(setup),
            shared,
            setting,
            now: Instant(SECOND),
            clients: clients(),
            sockets: Vec::new(),
            routes: Vec::new(),
            faults: Vec::new(),
            memories: Default::default(),
            keys: [key(0), key(1)],
            tokens: Vec::new(),
            tickets: Vec::new(),
            connections: Vec::new(),
            boundaries: BTreeSet::new(),
            transactions: 0,
            links: 100,
        }
    }

    /// The external address of a socket.
    pub fn external(&self, local: SocketAddr) -> SocketAddr {
        let relay = self
            .setting
            .relays()
            .into_iter()
            .find(|relay| relay.local == local.ip())
            .unwrap();
        SocketAddr::new(relay.external, local.port())
    }

    /// The user's key.
    pub fn key(&self, user: usize) -> &Key {
        &self.keys[user]
    }

    /// Decodes an operation; its octets select among the existing clients, peers, channels and
    /// tickets.
    pub fn read(&self, octets: [u8; OCTETS]) -> Operation {
        let [kind, who, a, b, c, d, e, f] = octets;
        let client = usize::from(who & 7);
        // The wrong user one time in eight.
        let user = (client / 2 + usize::from(who >> 5 == 7)) & 1;
        let binds = Binds(if f & 0xc0 == 0xc0 {
            a.rotate_left(3) ^ e
        } else {
            0
        });
        let ask = |ask| Operation::Ask {
            client,
            user,
            ask,
            binds,
        };
        match kind % 64 {
            0..=9 => ask(self.read_allocate(a, b, c, d, e)),
            10..=14 => ask(Ask::Refresh {
                lifetime: lifetime(a),
                family: family(b),
                ticket: None,
            }),
            15..=19 => ask(Ask::Refresh {
                lifetime: lifetime(if a > 0xe0 { a } else { a | 4 }),
                family: family(b),
                ticket: Some(self.ticket(c)),
            }),
            20..=24 => {
                let peers = [b, c, d, e]
                    .iter()
                    .take(usize::from(a % 5))
                    .map(|octet| self.peer(*octet))
                    .collect();
                ask(Ask::CreatePermission { peers })
            }
            25..=31 => ask(Ask::ChannelBind {
                number: number(a),
                peer: self.peer(b),
            }),
            32..=34 => ask(Ask::Connect { peer: self.peer(b) }),
            35..=36 => match pick(&self.connections, a) {
                Some(&connection) => ask(Ask::ConnectionBind { connection }),
                None => ask(Ask::ConnectionBind {
                    connection: ConnectionId(u32::from(b)),
                }),
            },
            37..=38 => Operation::Repeat { client, binds },
            39 => Operation::Unsealed { client },
            40..=42 => Operation::Send {
                client,
                peer: self.peer(a),
                length: usize::from(b),
                dont_fragment: c & 1 != 0,
            },
            43..=46 => Operation::ChannelData {
                client,
                number: number(a),
                length: usize::from(b),
            },
            47..=50 => match pick(&self.sockets, a).filter(|socket| !socket.tcp) {
                Some(socket) => Operation::FromPeer {
                    socket: socket.id,
                    peer: self.peer(b),
                    length: usize::from(c),
                },
                None => Operation::FromPeer {
                    socket: RelayedId(99),
                    peer: self.peer(b),
                    length: usize::from(c),
                },
            },
            51 => {
                let socket = pick(&self.sockets, a).map_or(RelayedId(99), |socket| socket.id);
                let icmp = Icmp {
                    kind: c % 5,
                    code: d % 5,
                    data: u32::from(e),
                };
                Operation::PeerError {
                    socket,
                    peer: self.peer(b),
                    icmp,
                }
            }
            52 => Operation::Gone {
                client: [3, 4, 5, 7][usize::from(a & 3)],
            },
            53 => match pick(&self.connections, a) {
                Some(&connection) => Operation::Connected {
                    connection,
                    succeeded: b & 3 != 0,
                },
                None => Operation::Unsealed { client },
            },
            54..=55 => match pick(&self.sockets, a).filter(|socket| socket.tcp) {
                Some(socket) => Operation::Accepted {
                    socket: socket.id,
                    peer: self.peer(b),
                },
                None => Operation::Pass {
                    until: self.later(a, b),
                },
            },
            56 => match pick(&self.connections, a) {
                Some(&connection) => Operation::Closed { connection },
                None => Operation::Pass {
                    until: self.later(a, b),
                },
            },
            57..=60 => Operation::Pass {
                until: self.later(a, b),
            },
            _ => self.read_data(client, a, b),
        }
    }

    /// Data that is likely to be relayed: on an existing channel or permission.
    fn read_data(&self, client: usize, a: u8, b: u8) -> Operation {
        match pick(&self.routes, a) {
            Some((path, _)) if b & 1 == 0 => {
                let client = self
                    .clients
                    .iter()
                    .position(|c| c.five_tuple == path.client)
                    .unwrap_or(client);
                Operation::ChannelData {
                    client,
                    number: path.channel,
                    length: usize::from(b),
                }
            }
            Some((path, _)) => match self
                .sockets
                .iter()
                .find(|socket| socket.local == path.local)
            {
                Some(socket) => Operation::FromPeer {
                    socket: socket.id,
                    peer: path.peer,
                    length: usize::from(b),
                },
                None => Operation::Send {
                    client,
                    peer: path.peer,
                    length: 3,
                    dont_fragment: false,
                },
            },
            None => Operation::Send {
                client,
                peer: self.peer(a),
                length: 3,
                dont_fragment: false,
            },
        }
    }

    fn read_allocate(&self, a: u8, b: u8, c: u8, d: u8, e: u8) -> Ask {
        let transport = match a % 32 {
            0 => None,
            1 => Some(1),
            2..=13 => Some(6),
            _ => Some(17),
        };
        let plain = transport == Some(6) && a & 0x20 == 0;
        Ask::Allocate {
            transport,
            family: if b < 0x60 { family(b) } else { None },
            additional: match c {
                0..=3 => Some(1),
                4..=7 => Some(3),
                8..=63 => Some(2),
                _ => None,
            },
            even: if d & 3 == 0 && !plain {
                Some(d & 4 == 0)
            } else {
                None
            },
            token: if d & 0x18 == 0 && !plain {
                Some(pick(&self.tokens, d >> 5).copied().unwrap_or([d; 8]))
            } else {
                None
            },
            lifetime: lifetime(e | 4),
            mobile: a & 0xc0 != 0,
            dont_fragment: e & 0x70 == 0,
        }
    }

    fn ticket(&self, octet: u8) -> Vec<u8> {
        // The newest are most likely to be valid.
        let back = usize::from(octet) % 5;
        match self.tickets.len().checked_sub(1 + back) {
            Some(at) if octet < 0xf8 => self.tickets[at].clone(),
            _ => vec![octet; 46],
        }
    }

    fn peer(&self, octet: u8) -> SocketAddr {
        let socket = pick(&self.sockets, octet >> 4);
        match (octet & 15, socket) {
            (n @ 0..=8, _) => PEERS[usize::from(n) % PEERS.len()].parse().unwrap(),
            (9..=13, Some(socket)) => self.external(socket.local),
            (14, Some(socket)) => socket.local,
            _ => SocketAddr::new("192.0.2.1".parse().unwrap(), 50_001 + u16::from(octet >> 5)),
        }
    }

    fn later(&self, a: u8, b: u8) -> u64 {
        let now = self.now.0;
        let next = self
            .server
            .next_timeout()
            .map(|at| at.0)
            .filter(|at| *at > now);
        let boundaries: Vec<u64> = self.boundaries.range(now + 1..).copied().collect();
        let at = match a % 8 {
            0 => next.unwrap_or(now + SECOND),
            1 => now + u64::from(b) * SECOND,
            2 => now + u64::from(b) * 1_000_003,
            3 => boundaries.first().copied().unwrap_or(now),
            _ => pick(&boundaries[..boundaries.len().min(16)], b)
                .copied()
                .unwrap_or(now + 300 * SECOND),
        };
        // One step before a boundary and the boundary itself.
        at.saturating_sub(u64::from(a & 0x40 != 0)).max(now)
    }

    /// Performs an operation.
    pub fn perform(&mut self, operation: &Operation) -> Seen {
        let mut seen = Seen::default();
        let mut binds = Binds(0);
        match operation {
            Operation::Ask {
                client,
                user,
                ask,
                binds: outcomes,
            } => {
                binds = *outcomes;
                self.ask(*client, *user, ask, &mut seen);
            }
            Operation::Repeat {
                client,
                binds: outcomes,
            } => {
                binds = *outcomes;
                if let Some(sealed) = self.memories[*client].last.clone() {
                    seen.onward = Some(self.server.from_client(
                        self.now,
                        &self.clients[*client],
                        &sealed.octets,
                    ));
                    seen.request = Some(sealed);
                }
            }
            Operation::Unsealed { client } => seen.onward = Some(self.ask_unsealed(*client)),
            Operation::Send {
                client,
                peer,
                length,
                dont_fragment,
            } => {
                let octets = send(&self.transaction(), *peer, *length, *dont_fragment);
                seen.onward = Some(self.give(*client, &octets));
            }
            Operation::ChannelData {
                client,
                number,
                length,
            } => {
                let mut octets = channel_data::header(*number, *length as u16).to_vec();
                octets.resize(4 + length, b'd');
                seen.onward = Some(self.give(*client, &octets));
            }
            Operation::FromPeer {
                socket,
                peer,
                length,
            } => {
                seen.onward = Some(self.server.from_peer(self.now, *socket, *peer, *length));
            }
            Operation::PeerError { socket, peer, icmp } => {
                self.server.icmp_error(self.now, *socket, *peer, *icmp)
            }
            Operation::Gone { client } => {
                self.server
                    .client_disconnected(self.now, &self.clients[*client]);
                self.links += 1;
                self.clients[*client].link.0 = self.links;
            }
            Operation::Connected {
                connection,
                succeeded,
            } => {
                self.server.connected(self.now, *connection, *succeeded);
            }
            Operation::Accepted { socket, peer } => {
                seen.accepted = self.server.accepted(self.now, *socket, *peer);
            }
            Operation::Closed { connection } => self.server.connection_closed(*connection),
            Operation::Pass { until } => {
                self.now = Instant(*until);
                self.server.timeout(self.now);
            }
            Operation::Raw { client, octets } => seen.onward = Some(self.give(*client, octets)),
        }
        self.settle(&mut seen, binds);
        self.remember(operation, &seen);
        seen
    }

    fn give(&mut self, client: usize, octets: &[u8]) -> Forward {
        self.server
            .from_client(self.now, &self.clients[client], octets)
    }

    fn ask_unsealed(&mut self, client: usize) -> Forward {
        let mut out = Vec::new();
        let transaction = self.transaction();
        Writer::new(&mut out, Class::Request, Method::ALLOCATE, &transaction).finish();
        self.give(client, &out)
    }

    fn ask(&mut self, client: usize, user: usize, ask: &Ask, seen: &mut Seen) {
        if self.memories[client].nonce.is_none() {
            self.ask_unsealed(client);
            let mut challenge = Seen::default();
            self.settle(&mut challenge, Binds(0));
            self.learn_nonce(client, &challenge);
        }
        let (nonce, nonce_of) = self.memories[client]
            .nonce
            .clone()
            .expect("a nonce with the first challenge");
        let transaction = self.transaction();
        let octets = ask.write(&transaction, user, &self.keys[user], &nonce);
        let sealed = Sealed {
            octets,
            transaction,
            user,
            ask: ask.clone(),
            nonce_of,
        };
        seen.onward = Some(self.give(client, &sealed.octets));
        self.memories[client].last = Some(sealed.clone());
        seen.request = Some(sealed);
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transactions.to_be_bytes());
        id
    }

    /// Performs effects until there are none.
    fn settle(&mut self, seen: &mut Seen, mut outcomes: Binds) {
        let mut effects = Vec::new();
        self.server.take_effects(&mut effects);
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::Send { to, message, .. } => {
                    let octets = self.server.message(&message).to_vec();
                    self.expect(Message::parse(&octets).is_ok(), "what is sent is a message");
                    seen.sent.push((to, octets));
                }
                Effect::Bind {
                    relayed: id,
                    local,
                    protocol,
                } => {
                    let tcp = protocol == Protocol::Tcp;
                    let free = self
                        .sockets
                        .iter()
                        .all(|socket| socket.id != id && socket.local != local);
                    self.expect(free, "what is bound was free");
                    let outcome = outcomes.next();
                    seen.binds.push(Bind {
                        id,
                        local,
                        tcp,
                        outcome,
                    });
                    if outcome.is_ok() {
                        self.sockets.push(Socket { id, local, tcp });
                    }
                    // The queued effects were taken before, so the effects of `bound` come after
                    // them.
                    self.server.bound(self.now, id, outcome);
                    let mut more = Vec::new();
                    self.server.take_effects(&mut more);
                    queue.extend(more);
                }
                Effect::Unbind { relayed } => {
                    let known = self.sockets.iter().position(|socket| socket.id == relayed);
                    self.expect(known.is_some(), "what is unbound was bound");
                    known.map(|at| self.sockets.remove(at));
                }
                Effect::Connect {
                    connection,
                    local,
                    peer,
                } => seen.connects.push((connection, local, peer)),
                Effect::Splice { client, connection } => seen.spliced.push((client, connection)),
                Effect::CloseConnection { connection } => seen.hung_up.push(connection),
                Effect::Route { path, expires } => {
                    self.routes.retain(|(other, _)| *other != *path);
                    self.routes.push((*path, expires));
                }
                Effect::Unroute { path } => self.routes.retain(|(other, _)| *other != *path),
                Effect::Started(_) => seen.started += 1,
                Effect::Ended(record) => seen.ended.extend(record.end_reason),
            }
        }
        self.routes.retain(|(_, expires)| self.now < *expires);
    }

    fn expect(&mut self, holds: bool, what: &str) {
        if !holds {
            self.faults.push(what.to_owned());
        }
    }

    /// Records nonces, tokens, tickets and connection ids from the messages.
    fn remember(&mut self, operation: &Operation, seen: &Seen) {
        if let Operation::Ask { client, .. }
        | Operation::Repeat { client, .. }
        | Operation::Unsealed { client } = operation
        {
            self.learn_nonce(*client, seen);
        }
        for (_, octets) in &seen.sent {
            let Ok(message) = Message::parse(octets) else {
                continue;
            };
            if let Some(token) = message
                .attribute(AttributeType::RESERVATION_TOKEN)
                .and_then(|t| t.try_into().ok())
            {
                self.tokens.retain(|other| *other != token);
                self.tokens.push(token);
            }
            if let Some(ticket) = message.attribute(AttributeType::MOBILITY_TICKET) {
                self.tickets.retain(|other| other != ticket);
                self.tickets.push(ticket.to_vec());
            }
        }
        self.connections
            .extend(seen.connects.iter().map(|(connection, ..)| *connection));
        self.connections.extend(seen.accepted);
        shorten(&mut self.connections);
        shorten(&mut self.tokens);
        if !matches!(operation, Operation::Pass { .. }) {
            let boundaries = [30, 300, 600, 900, 3600].map(|seconds| self.now.0 + seconds * SECOND);
            self.boundaries.extend(boundaries);
        }
        self.boundaries = self.boundaries.split_off(&(self.now.0 + 1));
    }

    fn learn_nonce(&mut self, client: usize, seen: &Seen) {
        for (to, octets) in &seen.sent {
            let nonce = Message::parse(octets)
                .ok()
                .and_then(|m| m.attribute(AttributeType::NONCE).map(<[u8]>::to_vec));
            if let Some(nonce) = nonce.filter(|_| *to == self.clients[client]) {
                self.memories[client].nonce = Some((nonce, self.now.seconds()));
            }
        }
    }

    /// Deletes everything and waits for reservations; nothing may be left.
    pub fn close(&mut self) -> Result<(), String> {
        self.server.end_all(self.now, EndReason::Stopped);
        self.settle(&mut Seen::default(), Binds(0));
        self.now = self.now + Duration::from_secs(31);
        self.server.timeout(self.now);
        self.shared.reservations.release_expired(self.now);
        let left = (
            self.sockets.len(),
            self.shared.ports.taken(),
            self.shared.ledger.allocations(),
        );
        if left != (0, 0, 0) || !self.routes.is_empty() {
            return Err(format!(
                "sockets, ports, grants left {left:?}, routes {:?}",
                self.routes
            ));
        }
        match self.faults.pop() {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }
}

/// One of them, or `None` when there are none.
fn pick<T>(of: &[T], octet: u8) -> Option<&T> {
    of.get(usize::from(octet).checked_rem(of.len())?)
}

/// The newest eight.
fn shorten<T>(list: &mut Vec<T>) {
    list.drain(..list.len().saturating_sub(8));
}

fn lifetime(octet: u8) -> Option<u32> {
    match octet % 8 {
        0 | 1 => Some(0),
        2 => Some(1),
        3 => Some(u32::MAX),
        4 => Some(1800),
        5 => Some(700 + u32::from(octet)),
        _ => None,
    }
}

fn family(octet: u8) -> Option<u8> {
    match octet % 16 {
        0 => Some(3),
        1..=3 => Some(1),
        4..=8 => Some(2),
        _ => None,
    }
}

/// A channel number: mostly one of the first four of the range, sometimes an invalid number.
fn number(octet: u8) -> u16 {
    match octet {
        0xff => 0x3fff,
        0xfe => 0x5000,
        0xfd => 0x4fff,
        _ => 0x4000 + u16::from(octet & 3),
    }
}

const PEERS: [&str; 9] = [
    "8.8.8.8:9000",
    "8.8.8.8:9001",
    "8.8.4.4:9000",
    "1.1.1.1:9000",
    "[2a00::1]:9000",
    "[2a00::1]:9001",
    "[2a00::2]:9000",
    "10.9.9.9:9000",
    "192.0.2.1:3478",
];
/// Nanoseconds.
pub const SECOND: u64 = 1_000_000_000;
