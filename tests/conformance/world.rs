//! A `turn::Server` in virtual time: the sockets are a table, the clock is a number.

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

/// One server, everything it did, and the time.
pub struct World {
    pub server: Server,
    pub now: Instant,
    /// Relay sockets that are open.
    pub sockets: BTreeMap<RelayedId, SocketAddr>,
    /// Ports that another program has.
    pub taken: Vec<u16>,
    pub ended: Vec<EndReason>,
    /// Connections to peers that are under way.
    pub connecting: Vec<ConnectionId>,
    /// Connections that were joined to a client's.
    pub spliced: Vec<ConnectionId>,
    /// Connections that the server hung up.
    pub hung_up: Vec<ConnectionId>,
    policy: Policy,
}

/// A client in that world.
pub struct Caller {
    pub client: turn::Client,
    pub credentials: Option<Credentials>,
}

/// What became of a payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Arrival {
    Peer { from: SocketAddr, to: SocketAddr },
    Channel(u16),
    Data(SocketAddr),
    Dropped(turn::Discard),
    Nothing,
}

impl World {
    pub fn new() -> World {
        World::with(|_| {}, 49_152..=65_535, 0)
    }

    /// A world whose policy is changed first, with these relayed ports and answers a second.
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
            hung_up: vec![],
            policy,
        }
    }

    /// The operator changes his mind.
    pub fn change_policy(&mut self, change: impl FnOnce(&mut Policy)) {
        change(&mut self.policy);
        self.server.replace_policy(Arc::new(self.policy.clone()));
    }

    pub fn caller(&self, address: &str) -> Caller {
        self.caller_over(address, Transport::Udp)
    }

    pub fn caller_over(&self, address: &str, transport: Transport) -> Caller {
        let client: SocketAddr = address.parse().unwrap();
        let server = if client.is_ipv4() {
            "192.0.2.1:3478"
        } else {
            "[2001:db8::1]:3478"
        }
        .parse()
        .unwrap();
        Caller {
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

    /// A caller that has logged in as alice.
    pub fn alice(&mut self, address: &str) -> Caller {
        let mut caller = self.caller(address);
        self.login(&mut caller, "alice", "wonderland");
        caller
    }

    /// A caller with an allocation, and its relayed address.
    pub fn allocated(&mut self, address: &str) -> (Caller, SocketAddr) {
        let mut caller = self.alice(address);
        let answer = self.ask(&mut caller, Outgoing::allocate());
        assert!(answer.is_success(), "{answer:?}");
        (caller, answer.address(XOR_RELAYED_ADDRESS).unwrap())
    }

    pub fn login(&mut self, caller: &mut Caller, name: &str, password: &str) {
        caller.credentials = None;
        let challenge = self.ask(caller, Outgoing::allocate());
        assert_eq!(challenge.error(), Some(401));
        let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
        caller.credentials = Some(Credentials::legacy(name, password, realm, nonce));
    }

    /// Moves the clock on, doing at each due time what is due.
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

    /// The answer to a request.
    pub fn ask(&mut self, caller: &mut Caller, message: Outgoing) -> Incoming {
        self.try_ask(caller, message).expect("an answer")
    }

    /// The answer to a request, if it gets one.
    pub fn try_ask(&mut self, caller: &Caller, message: Outgoing) -> Option<Incoming> {
        self.try_ask_raw(caller, &message.encode(caller.credentials.as_ref()))
    }

    pub fn try_ask_raw(&mut self, caller: &Caller, octets: &[u8]) -> Option<Incoming> {
        self.server.from_client(self.now, &caller.client, octets);
        let mut messages = self.perform();
        assert!(messages.len() <= 1, "{messages:?}");
        messages.pop()
    }

    pub fn permit(&mut self, caller: &mut Caller, peer: &str) -> Incoming {
        self.ask(
            caller,
            Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer.parse().unwrap())),
        )
    }

    pub fn bind(&mut self, caller: &mut Caller, channel: u16, peer: &str) -> Incoming {
        let request = Outgoing::request(CHANNEL_BIND).with(Attribute::channel(channel));
        self.ask(caller, request.with(Attribute::peer(peer.parse().unwrap())))
    }

    pub fn refresh(&mut self, caller: &mut Caller, lifetime: u32) -> Incoming {
        self.ask(
            caller,
            Outgoing::request(REFRESH).with(Attribute::lifetime(lifetime)),
        )
    }

    /// A connection to a peer was made, or was not: the answer to the request that waited.
    pub fn connected(&mut self, connection: ConnectionId, succeeded: bool) -> Option<Incoming> {
        self.server.connected(self.now, connection, succeeded);
        self.perform().pop()
    }

    /// A peer connected: its connection, and what its client is told.
    pub fn accepted(
        &mut self,
        relayed: SocketAddr,
        peer: &str,
    ) -> (Option<ConnectionId>, Option<Incoming>) {
        let id = self.socket_at(relayed).unwrap();
        let connection = self.server.accepted(self.now, id, peer.parse().unwrap());
        (connection, self.perform().pop())
    }

    /// Where ChannelData goes.
    pub fn channel_data(&mut self, caller: &Caller, channel: u16) -> Arrival {
        let onward = self.server.from_client(
            self.now,
            &caller.client,
            &channel_data(channel, b"data", false),
        );
        self.arrival(onward)
    }

    /// Where a Send indication's data goes.
    pub fn send(&mut self, caller: &Caller, peer: &str) -> Arrival {
        let peer = Attribute::peer(peer.parse().unwrap());
        let octets = Outgoing::indication(SEND)
            .with(peer)
            .with(Attribute::data(b"data"))
            .encode(None);
        let onward = self.server.from_client(self.now, &caller.client, &octets);
        self.arrival(onward)
    }

    /// Where a peer's datagram to a relayed address goes.
    pub fn datagram(&mut self, peer: &str, relayed: SocketAddr) -> Arrival {
        let Some(id) = self.socket_at(relayed) else {
            return Arrival::Nothing;
        };
        let onward = self
            .server
            .from_peer(self.now, id, peer.parse().unwrap(), 4);
        self.arrival(onward)
    }

    /// The Data indication that an ICMP error becomes.
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

    fn arrival(&mut self, onward: Forward) -> Arrival {
        assert!(self.perform().is_empty(), "data is not answered");
        match onward {
            Forward::ToPeer { relayed, to, .. } => Arrival::Peer {
                from: self.sockets[&relayed],
                to,
            },
            Forward::ToClient {
                framing: turn::Framing::Channel(number),
                ..
            } => Arrival::Channel(number),
            Forward::ToClient {
                framing: turn::Framing::Data(peer),
                ..
            } => Arrival::Data(peer),
            Forward::Discarded(discard) => Arrival::Dropped(discard),
            Forward::Answered => Arrival::Nothing,
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
                    Effect::CloseConnection { connection } => self.hung_up.push(connection),
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

const REALM_NAME: &str = "test.org";
pub const SECRET_TEXT: &str = "a shared secret";
pub const RELAY_V4: &str = "192.0.2.1";
pub const RELAY_V6: &str = "2001:db8::1";
/// The time of day when the world's clock is 0.
pub const UNIX: u64 = 1_800_000_000;
