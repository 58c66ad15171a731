//! The protocol in virtual time: a server and its clients without sockets.

mod data_connections;
mod hairpin;
mod listing;
mod mobility;
mod policy;

use crate::turn::client_state;
use crate::turn::client_state::{Answer, Event, Login, Request};
use crate::turn::policy::realm::Realm;
use crate::turn::*;
use crate::wire::integrity::Key;
use crate::wire::registry::PasswordAlgorithm;
use crate::wire::{AttributeType, Class, ErrorCode, Message, Method, Writer, attribute};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A server, the time, and its relay sockets.
struct World {
    server: Server,
    policy: Policy,
    now: Instant,
    sent: Vec<(Client, Vec<u8>)>,
    sockets: Vec<(RelayedId, SocketAddr)>,
    connects: Vec<ConnectionId>,
    spliced: Vec<ConnectionId>,
    hung_up: Vec<ConnectionId>,
}

impl World {
    fn new() -> World {
        let shared = Arc::new(Shared::new(
            Ports::new(World::addresses(), 50_000..=50_099),
            [7; 32],
            0,
        ));
        World::of_shard(0, shared)
    }

    fn addresses() -> Vec<IpAddr> {
        vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()]
    }

    fn of_shard(shard: u16, shared: Arc<Shared>) -> World {
        let mut realm = Realm::new("hairpin");
        realm.credentials.add_user("hairpin", "user", "pass");
        let addresses = World::addresses();
        let relays = addresses
            .iter()
            .map(|&ip| RelayAddress {
                local: ip,
                external: ip,
            })
            .collect();
        let mut policy = Policy::new(realm, relays);
        policy.tcp_relays = true;
        policy.limits.new_peers = 0;
        policy.limits.allocations_per_user = u32::MAX;
        policy.own_addresses.addresses = addresses;
        policy.own_addresses.listeners = vec!["192.0.2.1:3478".parse().unwrap()];
        let setup = Setup {
            policy: Arc::new(policy.clone()),
            shared,
            shard,
            seed: [9; 32],
            unix_at_epoch: Duration::from_secs(1),
        };
        World {
            server: Server::new(setup),
            policy,
            now: Instant(1_000_000_000),
            sent: vec![],
            sockets: vec![],
            connects: vec![],
            spliced: vec![],
            hung_up: vec![],
        }
    }

    fn settle(&mut self) {
        let mut effects = Vec::new();
        self.server.take_effects(&mut effects);
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Send { to, message, .. } => {
                        self.sent.push((to, self.server.message(&message).to_vec()))
                    }
                    Effect::Bind { relayed, local, .. } => {
                        self.sockets.push((relayed, local));
                        self.server.bound(self.now, relayed, Ok(()));
                        self.server.take_effects(&mut effects);
                    }
                    Effect::Unbind { relayed } => self.sockets.retain(|(id, _)| *id != relayed),
                    Effect::Connect { connection, .. } => self.connects.push(connection),
                    Effect::Splice { connection, .. } => self.spliced.push(connection),
                    Effect::CloseConnection { connection } => self.hung_up.push(connection),
                    _ => {}
                }
            }
        }
    }

    fn give(&mut self, from: &Client, octets: &[u8]) -> Forward {
        let forward = self.server.from_client(self.now, from, octets);
        self.settle();
        forward
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
        self.server.timeout(self.now);
        self.settle();
    }

    /// Sends a request and answers challenges until it is granted or refused.
    fn ask(
        &mut self,
        from: &Client,
        client: &mut client_state::ClientState,
        request: Request,
    ) -> Result<Answer, ErrorCode> {
        let mut out = Vec::new();
        client.request(request, &mut out);
        loop {
            self.give(from, &std::mem::take(&mut out));
            let (to, octets) = self.sent.pop().expect("an answer");
            assert_eq!(to, *from);
            match client.receive(&octets, &mut out) {
                Event::Granted { answer, .. } => return Ok(answer),
                Event::Refused { refusal, .. } => return Err(refusal.code),
                Event::Retried { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn socket(&self, external: SocketAddr) -> RelayedId {
        self.sockets
            .iter()
            .find(|(_, local)| *local == external)
            .expect("a socket")
            .0
    }
}

fn at(port: u16) -> Client {
    let client = SocketAddr::new("198.51.100.7".parse().unwrap(), port);
    let server = "192.0.2.1:3478".parse().unwrap();
    Client::new(
        FiveTuple {
            client,
            server,
            transport: Transport::Udp,
        },
        Link(1),
    )
}

fn user() -> client_state::ClientState {
    let login = Login {
        username: "user".into(),
        password: "pass".into(),
    };
    client_state::ClientState::new(Some(login), [3; 32])
}

const PEER: &str = "8.8.8.8:9000";

fn allocated() -> (World, Client, client_state::ClientState, SocketAddr) {
    let (mut world, here, mut client) = (World::new(), at(5000), user());
    let request = Request::Allocate {
        family: None,
        lifetime: None,
    };
    let relayed = world
        .ask(&here, &mut client, request)
        .unwrap()
        .relayed
        .unwrap();
    (world, here, client, relayed)
}

#[test]
fn an_allocation_relays_in_both_directions_until_it_expires() {
    let (mut world, here, mut client, relayed) = allocated();
    let peer: SocketAddr = PEER.parse().unwrap();
    let socket = world.socket(relayed);
    assert_eq!(
        world.server.from_peer(world.now, socket, peer, 9),
        Forward::Discarded(Discard::NoPermission)
    );
    world
        .ask(
            &here,
            &mut client,
            Request::CreatePermission { peers: vec![peer] },
        )
        .unwrap();
    let framing = Framing::Data(peer);
    let data = Forward::ToClient {
        client: here,
        start: 0,
        end: 9,
        framing,
    };
    assert_eq!(world.server.from_peer(world.now, socket, peer, 9), data);
    world
        .ask(
            &here,
            &mut client,
            Request::ChannelBind {
                number: 0x4000,
                peer,
            },
        )
        .unwrap();
    let channel = Forward::ToClient {
        client: here,
        start: 0,
        end: 9,
        framing: Framing::Channel(0x4000),
    };
    assert_eq!(world.server.from_peer(world.now, socket, peer, 9), channel);
    let there = Forward::ToPeer {
        relayed: socket,
        to: peer,
        start: 4,
        end: 6,
        dont_fragment: false,
    };
    assert_eq!(world.give(&here, &[0x40, 0, 0, 2, 1, 2]), there);
    world.pass(299);
    assert_eq!(world.give(&here, &[0x40, 0, 0, 2, 1, 2]), there);
    world.pass(1);
    assert_eq!(
        world.give(&here, &[0x40, 0, 0, 2, 1, 2]),
        Forward::Discarded(Discard::NoPermission)
    );
    world.pass(299);
    assert_eq!(world.server.allocation_count(), 1);
    world.pass(1);
    assert_eq!(
        (world.server.allocation_count(), world.sockets.len()),
        (0, 0)
    );
    assert_eq!(
        world.give(&here, &[0x40, 0, 0, 2, 1, 2]),
        Forward::Discarded(Discard::NoAllocation)
    );
}

#[test]
fn repeated_refreshes_leave_one_timer() {
    let (mut world, here, mut client, _) = allocated();
    for _ in 0..100 {
        world.pass(1);
        world
            .ask(&here, &mut client, Request::Refresh { lifetime: 3600 })
            .unwrap();
    }
    world.pass(3599);
    assert_eq!(world.server.allocation_count(), 1);
    world.pass(1);
    assert_eq!(world.server.allocation_count(), 0);
    assert_eq!(world.server.next_timeout(), None);
}

#[test]
fn an_allocation_without_a_free_port_gets_508_until_one_is_released() {
    let mut world = World::new();
    let allocate = || Request::Allocate {
        family: None,
        lifetime: None,
    };
    let mut clients: Vec<_> = (0..100).map(|n| (at(6000 + n), user())).collect();
    for (here, client) in &mut clients {
        world.ask(here, client, allocate()).unwrap();
    }
    let (here, mut late) = (at(7000), user());
    assert_eq!(
        world.ask(&here, &mut late, allocate()),
        Err(ErrorCode::INSUFFICIENT_CAPACITY)
    );
    let (first, client) = &mut clients[0];
    world
        .ask(first, client, Request::Refresh { lifetime: 0 })
        .unwrap();
    assert!(world.ask(&here, &mut late, allocate()).is_ok());
}

/// Sends a request of any method with any attributes, which [`ClientState`] cannot write, and
/// answers its challenge.
fn ask_raw(
    world: &mut World,
    from: &Client,
    method: Method,
    attributes: &[(AttributeType, &[u8])],
) -> Result<Vec<(AttributeType, Vec<u8>)>, ErrorCode> {
    let mut nonce = Vec::new();
    let key = Key::long_term(PasswordAlgorithm::MD5, "user", "hairpin", "pass").unwrap();
    for _ in 0..2 {
        let mut out = Vec::new();
        let transaction = [method.0 as u8; 12];
        let mut writer = Writer::new(&mut out, Class::Request, method, &transaction);
        for (kind, value) in attributes {
            writer.attribute(*kind, value);
        }
        if !nonce.is_empty() {
            writer
                .attribute(AttributeType::USERNAME, b"user")
                .attribute(AttributeType::REALM, b"hairpin");
            writer
                .attribute(AttributeType::NONCE, &nonce)
                .integrity(&key);
        }
        writer.finish();
        world.give(from, &out);
        let Some((_, octets)) = world.sent.pop() else {
            return Ok(vec![]);
        };
        let answer = Message::parse(&octets).unwrap();
        let code = answer
            .attribute(AttributeType::ERROR_CODE)
            .and_then(attribute::read_error_code);
        match code {
            Some(ErrorCode::UNAUTHENTICATED | ErrorCode::STALE_NONCE) => {
                nonce = answer.attribute(AttributeType::NONCE).unwrap().to_vec();
            }
            Some(code) => return Err(code),
            None => {
                return Ok(answer
                    .attributes()
                    .map(|(kind, value)| (kind, value.to_vec()))
                    .collect());
            }
        }
    }
    Err(ErrorCode::UNAUTHENTICATED)
}

const UDP: (AttributeType, &[u8]) = (AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

const TCP: (AttributeType, &[u8]) = (AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);

fn find(attributes: &[(AttributeType, Vec<u8>)], kind: AttributeType) -> Vec<u8> {
    attributes
        .iter()
        .find(|(found, _)| *found == kind)
        .unwrap_or_else(|| panic!("{kind:?}"))
        .1
        .clone()
}

#[test]
fn requests_of_unknown_methods_are_discarded() {
    let (mut world, here, ..) = allocated();
    let known = [
        Method::BINDING,
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::CONNECT,
        Method::CONNECTION_BIND,
    ];
    // Greater numbers do not begin like STUN: RFC 7983 gives their first octet to other protocols.
    for method in (0..0x100).map(Method).filter(|m| !known.contains(m)) {
        let mut out = Vec::new();
        Writer::new(&mut out, Class::Request, method, &[1; 12]).finish();
        let before = discards(&world, Discard::UnknownMethod);
        assert_eq!(world.give(&here, &out), Forward::Answered);
        let after = discards(&world, Discard::UnknownMethod);
        assert_eq!((after - before, world.sent.len()), (1, 0), "{method:?}");
    }
}

fn discards(world: &World, discard: Discard) -> u64 {
    world.server.counters().discards[discard.index()].get()
}
