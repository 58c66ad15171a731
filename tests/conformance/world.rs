//! A `turn::Server` in virtual time: its sockets are a table and its clock is a number.

use crate::support::codec::*;
use hairpin::turn;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{
    BindError, ConnectionId, Effect, EndReason, FiveTuple, Forward, Icmp, Instant, Link, Policy,
    Ports, RelayAddress, RelayedId, Server, Setup, Shared, Transport,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A server, the results of its effects, and the time.
pub struct World {
    pub server: Server,
    pub now: Instant,
    /// Open relay sockets.
    pub sockets: BTreeMap<RelayedId, SocketAddr>,
    /// Ports on which binding fails.
    pub taken: Vec<u16>,
    pub ended: Vec<EndReason>,
    /// Pending connections to peers.
    pub connecting: Vec<ConnectionId>,
    /// Connections that were joined to a connection of the client.
    pub spliced: Vec<ConnectionId>,
    /// Connections that the server closed.
    pub closed: Vec<ConnectionId>,
    policy: Policy,
}

/// A client of the server.
pub struct VirtualClient {
    pub client: turn::Client,
    pub credentials: Option<Credentials>,
}

/// The destination of a payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Destination {
    Peer { from: SocketAddr, to: SocketAddr },
    Channel(u16),
    Data(SocketAddr),
    Dropped(turn::Discard),
    Nothing,
}

impl Destination {
    /// [`PEER`], from this relayed address.
    pub fn to_peer(relayed: SocketAddr) -> Destination {
        Destination::Peer {
            from: relayed,
            to: PEER.parse().unwrap(),
        }
    }
}

impl World {
    pub fn new() -> World {
        World::with(|_| {}, PORTS, 0)
    }

    /// A world with a changed policy, these relayed ports, and this limit of unauthenticated
    /// responses per second.
    pub fn with(
        change: impl FnOnce(&mut Policy),
        ports: std::ops::RangeInclusive<u16>,
        answer_rate: u32,
    ) -> World {
        let mut realm = Realm::new(REALM_NAME);
        realm
            .credentials
            .add_user(REALM_NAME, "alice", "wonderland");
        realm.credentials.add_user(REALM_NAME, "bob", "builder");
        realm.credentials.add_secret(SECRET_TEXT.to_owned());
        let locals: [IpAddr; 2] = [RELAY_V4.parse().unwrap(), RELAY_V6.parse().unwrap()];
        let mut policy = Policy::new(
            realm,
            locals
                .map(|ip| RelayAddress {
                    local: ip,
                    external: ip,
                })
                .to_vec(),
        );
        policy.tcp_relays = true;
        policy.limits.new_peers = 0;
        change(&mut policy);
        let shared = Arc::new(Shared::new(Ports::new(locals, ports), [7; 32], answer_rate));
        let server = Server::new(Setup {
            policy: Arc::new(policy.clone()),
            shared,
            shard: 0,
            seed: [9; 32],
            unix_at_epoch: Duration::from_secs(UNIX),
        });
        World {
            server,
            now: Instant(5_000_000_000),
            sockets: BTreeMap::new(),
            taken: vec![],
            ended: vec![],
            connecting: vec![],
            spliced: vec![],
            closed: vec![],
            policy,
        }
    }

    pub fn change_policy(&mut self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy);
        self.server.replace_policy(Arc::new(self.policy.clone()));
    }

    pub fn caller(&self, address: &str) -> VirtualClient {
        self.caller_over(address, Transport::Udp)
    }

    pub fn caller_over(&self, address: &str, transport: Transport) -> VirtualClient {
        let client: SocketAddr = address.parse().unwrap();
        let server = if client.is_ipv4() {
            "192.0.2.1:3478"
        } else {
            "[2001:db8::1]:3478"
        }
        .parse()
        .unwrap();
        VirtualClient {
            client: turn::Client {
                five_tuple: FiveTuple {
                    client,
                    server,
                    transport,
                },
                link: Link(1),
                realm: None,
            },
            credentials: None,
        }
    }

    /// A client that has logged in as alice.
    pub fn alice(&mut self, address: &str) -> VirtualClient {
        let mut caller = self.caller(address);
        self.login(&mut caller, "alice", "wonderland");
        caller
    }

    /// A client with an allocation, and its relayed address.
    pub fn allocated(&mut self, address: &str) -> (VirtualClient, SocketAddr) {
        let mut caller = self.alice(address);
        let answer = self.ask(&mut caller, Outgoing::allocate());
        assert!(answer.is_success(), "{answer:?}");
        (caller, answer.address(XOR_RELAYED_ADDRESS).unwrap())
    }

    pub fn login(&mut self, caller: &mut VirtualClient, name: &str, password: &str) {
        caller.credentials = None;
        let challenge = self.ask(caller, Outgoing::allocate());
        assert_eq!(challenge.error(), Some(401));
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        caller.credentials = Some(Credentials::legacy(name, password, realm, nonce));
    }

    /// Advances the clock and runs each timer when it is due.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(due) = self.server.next_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.server.timeout(self.now);
            self.perform();
        }
        self.now = end;
        self.server.timeout(self.now);
        self.perform();
    }

    pub fn pass_seconds(&mut self, seconds: f64) {
        self.pass(Duration::from_secs_f64(seconds));
    }

    /// The response to a request.
    pub fn ask(&mut self, caller: &mut VirtualClient, message: Outgoing) -> Incoming {
        self.try_ask(caller, message).expect("an answer")
    }

    /// The response to a request, if there is one.
    pub fn try_ask(&mut self, caller: &VirtualClient, message: Outgoing) -> Option<Incoming> {
        self.try_ask_raw(caller, &message.encode(caller.credentials.as_ref()))
    }

    pub fn try_ask_raw(&mut self, caller: &VirtualClient, octets: &[u8]) -> Option<Incoming> {
        self.server.from_client(self.now, &caller.client, octets);
        let mut messages = self.perform();
        assert!(messages.len() <= 1, "{messages:?}");
        messages.pop()
    }

    pub fn permit(&mut self, caller: &mut VirtualClient, peer: &str) -> Incoming {
        self.ask(
            caller,
            Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer.parse().unwrap())),
        )
    }

    pub fn bind(&mut self, caller: &mut VirtualClient, channel: u16, peer: &str) -> Incoming {
        let request = Outgoing::request(CHANNEL_BIND).with(Attribute::channel(channel));
        self.ask(caller, request.with(Attribute::peer(peer.parse().unwrap())))
    }

    pub fn refresh(&mut self, caller: &mut VirtualClient, lifetime: u32) -> Incoming {
        self.ask(
            caller,
            Outgoing::request(REFRESH).with(Attribute::lifetime(lifetime)),
        )
    }

    /// Reports the outcome of a connection attempt; returns the response to the pending request.
    pub fn connected(&mut self, connection: ConnectionId, succeeded: bool) -> Option<Incoming> {
        self.server.connected(self.now, connection, succeeded);
        self.perform().pop()
    }

    /// Reports a connection from a peer; returns its id and the indication for the client.
    pub fn accepted(
        &mut self,
        relayed: SocketAddr,
        peer: &str,
    ) -> (Option<ConnectionId>, Option<Incoming>) {
        let id = self.socket_at(relayed).unwrap();
        let connection = self.server.accepted(self.now, id, peer.parse().unwrap());
        (connection, self.perform().pop())
    }

    /// The destination of ChannelData.
    pub fn channel_data(&mut self, caller: &VirtualClient, channel: u16) -> Destination {
        let forward = self.server.from_client(
            self.now,
            &caller.client,
            &channel_data(channel, b"data", false),
        );
        self.destination(forward)
    }

    /// The destination of a Send indication's data.
    pub fn send(&mut self, caller: &VirtualClient, peer: &str) -> Destination {
        let peer = Attribute::peer(peer.parse().unwrap());
        let octets = Outgoing::indication(SEND)
            .with(peer)
            .with(Attribute::data(b"data"))
            .encode(None);
        let forward = self.server.from_client(self.now, &caller.client, &octets);
        self.destination(forward)
    }

    /// The destination of a peer's datagram to a relayed address.
    pub fn datagram(&mut self, peer: &str, relayed: SocketAddr) -> Destination {
        let Some(id) = self.socket_at(relayed) else {
            return Destination::Nothing;
        };
        let forward = self
            .server
            .from_peer(self.now, id, peer.parse().unwrap(), 4);
        self.destination(forward)
    }

    /// The Data indication for an ICMP error.
    pub fn icmp(&mut self, peer: &str, relayed: SocketAddr, icmp: Icmp) -> Option<Incoming> {
        let id = self.socket_at(relayed)?;
        self.server
            .icmp_error(self.now, id, peer.parse().unwrap(), icmp);
        self.perform().pop()
    }

    pub fn socket_at(&self, local: SocketAddr) -> Option<RelayedId> {
        self.sockets
            .iter()
            .find(|(_, l)| **l == local)
            .map(|(id, _)| *id)
    }

    fn destination(&mut self, forward: Forward) -> Destination {
        assert!(self.perform().is_empty(), "data has no response");
        match forward {
            Forward::ToPeer { relayed, to, .. } => Destination::Peer {
                from: self.sockets[&relayed],
                to,
            },
            Forward::ToClient {
                framing: turn::Framing::Channel(number),
                ..
            } => Destination::Channel(number),
            Forward::ToClient {
                framing: turn::Framing::Data(peer),
                ..
            } => Destination::Data(peer),
            Forward::Discarded(discard) => Destination::Dropped(discard),
            Forward::Answered => Destination::Nothing,
            Forward::ToShard { .. } => panic!("there is one shard only"),
        }
    }

    /// Performs the effects and returns the messages that were sent.
    pub fn perform(&mut self) -> Vec<Incoming> {
        let mut sent = vec![];
        loop {
            let mut effects = vec![];
            self.server.take_effects(&mut effects);
            if effects.is_empty() {
                return sent;
            }
            let mut binds = vec![];
            for effect in effects {
                match effect {
                    Effect::Send { message, .. } => {
                        sent.push(Incoming::parse(self.server.message(&message)).unwrap())
                    }
                    Effect::Bind { relayed, local, .. } => binds.push((relayed, local)),
                    Effect::Unbind { relayed } => {
                        self.sockets.remove(&relayed).expect("an open socket");
                    }
                    Effect::Ended(record) => self.ended.push(record.end_reason.unwrap()),
                    Effect::Connect { connection, .. } => self.connecting.push(connection),
                    Effect::Splice { connection, .. } => self.spliced.push(connection),
                    Effect::CloseConnection { connection } => self.closed.push(connection),
                    _ => {}
                }
            }
            for (relayed, local) in binds {
                self.open(relayed, local);
            }
        }
    }

    fn open(&mut self, relayed: RelayedId, local: SocketAddr) {
        let outcome = if self.taken.contains(&local.port()) {
            Err(BindError::InUse)
        } else {
            Ok(())
        };
        if outcome.is_ok() {
            assert!(self.socket_at(local).is_none(), "{local} is bound twice");
            self.sockets.insert(relayed, local);
        }
        self.server.bound(self.now, relayed, outcome);
    }
}

/// The default range of relayed ports.
pub const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
pub const CLIENT: &str = "192.0.2.10:5000";
pub const OTHER_CLIENT: &str = "192.0.2.11:5000";
pub const PEER: &str = "8.8.8.8:7000";
pub const OTHER_PEER: &str = "8.8.4.4:7000";
pub const PEER_V6: &str = "[2606:4700::1]:7000";
const REALM_NAME: &str = "test.org";
pub const SECRET_TEXT: &str = "a shared secret";
pub const RELAY_V4: &str = "192.0.2.1";
pub const RELAY_V6: &str = "2001:db8::1";
/// The Unix time at which the clock of the world is 0.
pub const UNIX: u64 = 1_800_000_000;
