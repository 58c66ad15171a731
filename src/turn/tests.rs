//! The protocol in virtual time: a server and its clients without sockets.

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
fn data_between_two_allocations_does_not_leave_the_server() {
    let (mut world, here, mut client, relayed) = allocated();
    let (there, mut other) = (at(6000), user());
    let request = Request::Allocate {
        family: None,
        lifetime: None,
    };
    let other_relayed = world
        .ask(&there, &mut other, request)
        .unwrap()
        .relayed
        .unwrap();
    world
        .ask(
            &here,
            &mut client,
            Request::ChannelBind {
                number: 0x4000,
                peer: other_relayed,
            },
        )
        .unwrap();
    let message = [0x40, 0, 0, 2, 1, 2];
    assert_eq!(
        world.give(&here, &message),
        Forward::Discarded(Discard::NoPermission),
        "without a permission of the other"
    );
    world
        .ask(
            &there,
            &mut other,
            Request::CreatePermission {
                peers: vec![relayed],
            },
        )
        .unwrap();
    let framing = Framing::Data(relayed);
    assert_eq!(
        world.give(&here, &message),
        Forward::ToClient {
            client: there,
            start: 4,
            end: 6,
            framing
        }
    );
    world
        .ask(&there, &mut other, Request::Refresh { lifetime: 0 })
        .unwrap();
    assert_eq!(
        world.give(&here, &message),
        Forward::Discarded(Discard::PeerRefused),
        "the other allocation has ended"
    );
}

#[test]
fn an_own_address_is_permitted_only_if_it_is_a_live_relayed_address() {
    let (mut world, here, mut client, relayed) = allocated();
    let mut permit = |peer: SocketAddr| {
        let peers = vec![peer];
        world.ask(&here, &mut client, Request::CreatePermission { peers })
    };
    assert_eq!(
        permit(SocketAddr::new(relayed.ip(), 22)),
        Err(ErrorCode::FORBIDDEN)
    );
    assert_eq!(
        permit("192.0.2.1:3478".parse().unwrap()),
        Err(ErrorCode::FORBIDDEN)
    );
    assert_eq!(
        permit("127.0.0.1:9000".parse().unwrap()),
        Err(ErrorCode::FORBIDDEN)
    );
    assert!(permit(relayed).is_ok());
    let mut out = Vec::new();
    client.send("192.0.2.1:22".parse().unwrap(), b"x", &mut out);
    assert_eq!(
        world.give(&here, &out),
        Forward::Discarded(Discard::PeerRefused)
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
fn the_first_data_from_a_new_five_tuple_completes_a_move() {
    let (mut world, old, new) = (World::new(), at(5000), at(5001));
    let peer: SocketAddr = PEER.parse().unwrap();
    let answer = ask_raw(
        &mut world,
        &old,
        Method::ALLOCATE,
        &[UDP, (AttributeType::MOBILITY_TICKET, &[])],
    )
    .unwrap();
    let ticket = find(&answer, AttributeType::MOBILITY_TICKET);
    let mut client = user();
    world
        .ask(
            &old,
            &mut client,
            Request::ChannelBind {
                number: 0x4000,
                peer,
            },
        )
        .unwrap();
    let socket = world.sockets[0].0;
    let show = |world: &mut World, from: &Client, ticket: &[u8]| {
        ask_raw(
            world,
            from,
            Method::REFRESH,
            &[(AttributeType::MOBILITY_TICKET, ticket)],
        )
    };
    assert_eq!(
        show(&mut world, &old, &ticket),
        Err(ErrorCode::BAD_REQUEST),
        "it has not moved"
    );
    let next = find(
        &show(&mut world, &new, &ticket).unwrap(),
        AttributeType::MOBILITY_TICKET,
    );
    assert_ne!(next, ticket);
    assert_eq!(
        find(
            &show(&mut world, &new, &ticket).unwrap(),
            AttributeType::MOBILITY_TICKET
        ),
        next,
        "repeated"
    );
    assert_eq!(
        show(&mut world, &at(5002), &ticket),
        Err(ErrorCode::BAD_REQUEST),
        "the ticket is spent"
    );
    let to = |client| Forward::ToClient {
        client,
        start: 0,
        end: 3,
        framing: Framing::Channel(0x4000),
    };
    let to_peer = Forward::ToPeer {
        relayed: socket,
        to: peer,
        start: 4,
        end: 6,
        dont_fragment: false,
    };
    let data = [0x40, 0, 0, 2, 1, 2];
    assert_eq!(
        world.server.from_peer(world.now, socket, peer, 3),
        to(old),
        "until data comes from the new five-tuple"
    );
    assert_eq!(world.give(&old, &data), to_peer);
    assert_eq!(world.give(&new, &data), to_peer);
    assert_eq!(world.server.from_peer(world.now, socket, peer, 3), to(new));
    assert_eq!(
        world.give(&old, &data),
        Forward::Discarded(Discard::NoAllocation)
    );
    world
        .ask(&new, &mut user(), Request::Refresh { lifetime: 0 })
        .unwrap();
    assert_eq!(
        (world.server.allocation_count(), world.sockets.len()),
        (0, 0)
    );
}

#[test]
fn a_ticket_of_another_shard_makes_a_foreign_client_only_over_a_connection() {
    let mut world = World::new();
    let ticket = crate::turn::shared::mobility_ticket::Ticket {
        shard: 1,
        allocation: super::allocation::AllocationId(0),
        serial: 1,
        generation: 0,
    };
    let ticket = crate::turn::shared::mobility_ticket::TicketKey::new([7; 32]).seal(ticket);
    let (here, forged) = (over_tcp(5000), at(5000));
    for client in [&here, &forged] {
        let _ = ask_raw(
            &mut world,
            client,
            Method::REFRESH,
            &[(AttributeType::MOBILITY_TICKET, &ticket)],
        );
    }
    assert_eq!(
        world.give(&here, &[0x40, 0, 0, 2, 1, 2]),
        Forward::ToShard { shard: 1 }
    );
    for other in [forged, over_tcp(5001)] {
        assert_eq!(
            world.give(&other, &[0x40, 0, 0, 2, 1, 2]),
            Forward::Discarded(Discard::NoAllocation)
        );
    }
}

/// A client that moves, or that binds a data connection, sends from a five-tuple without an
/// allocation. The ticket and the connection number name the owner, whose key stays valid.
#[test]
fn an_owner_moves_and_binds_connections_after_its_realm_is_removed() {
    let (mut world, old, new) = (World::new(), over_tcp(5000), over_tcp(5001));
    let answer = ask_raw(
        &mut world,
        &old,
        Method::ALLOCATE,
        &[TCP, (AttributeType::MOBILITY_TICKET, &[])],
    )
    .unwrap();
    let ticket = find(&answer, AttributeType::MOBILITY_TICKET);
    let mut policy = world.policy.clone();
    policy.realms = vec![Arc::new(Realm::new("elsewhere"))];
    world.server.replace_policy(Arc::new(policy));
    ask_raw(
        &mut world,
        &new,
        Method::REFRESH,
        &[(AttributeType::MOBILITY_TICKET, &ticket)],
    )
    .unwrap();
    let peer: SocketAddr = PEER.parse().unwrap();
    let (octets, length) = attribute::xor_address(peer, &[Method::CONNECT.0 as u8; 12]);
    ask_raw(
        &mut world,
        &new,
        Method::CONNECT,
        &[(AttributeType::XOR_PEER_ADDRESS, &octets[..length])],
    )
    .unwrap();
    let connection = world.connects.pop().expect("a connect");
    world.server.connected(world.now, connection, true);
    world.settle();
    world.sent.clear();
    let number = connection.0.to_be_bytes();
    // A nonce is valid for one address. The first request on the new connection gets 438, with the
    // realm that it named.
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Class::Request, Method::CONNECTION_BIND, &[1; 12]);
    writer
        .attribute(AttributeType::CONNECTION_ID, &number)
        .attribute(AttributeType::USERNAME, b"user");
    writer
        .attribute(AttributeType::REALM, b"hairpin")
        .attribute(AttributeType::NONCE, b"another's");
    writer.integrity(&Key::long_term(PasswordAlgorithm::MD5, "user", "hairpin", "pass").unwrap());
    writer.finish();
    world.give(&over_tcp(5002), &out);
    let (_, octets) = world.sent.pop().expect("an answer");
    let answer = Message::parse(&octets).unwrap();
    let code = answer
        .attribute(AttributeType::ERROR_CODE)
        .and_then(attribute::read_error_code);
    assert_eq!(
        (code, answer.text(AttributeType::REALM)),
        (Some(ErrorCode::STALE_NONCE), Some("hairpin"))
    );
    let bind = [(AttributeType::CONNECTION_ID, &number[..])];
    ask_raw(&mut world, &over_tcp(5002), Method::CONNECTION_BIND, &bind).unwrap();
    assert_eq!(world.spliced.len(), 1);
}

fn over_tcp(port: u16) -> Client {
    let mut client = at(port);
    client.five_tuple.transport = Transport::Tcp;
    client
}

#[test]
fn a_data_connection_is_bound_once_and_ends_with_its_allocation() {
    let mut world = World::new();
    let (control, data) = (over_tcp(5000), over_tcp(5001));
    let peer: SocketAddr = PEER.parse().unwrap();
    assert_eq!(
        ask_raw(&mut world, &at(5000), Method::ALLOCATE, &[TCP]),
        Err(ErrorCode::BAD_REQUEST),
        "over UDP"
    );
    ask_raw(&mut world, &control, Method::ALLOCATE, &[TCP]).unwrap();
    let (octets, length) = attribute::xor_address(peer, &[Method::CONNECT.0 as u8; 12]);
    let to_peer = [(AttributeType::XOR_PEER_ADDRESS, &octets[..length])];
    ask_raw(&mut world, &control, Method::CONNECT, &to_peer).unwrap();
    let connection = world.connects.pop().expect("a connect");
    world.server.connected(world.now, connection, true);
    world.settle();
    let (_, octets) = world.sent.pop().expect("an answer");
    let answer = Message::parse(&octets).unwrap();
    assert_eq!(
        answer.attribute(AttributeType::CONNECTION_ID),
        Some(&connection.0.to_be_bytes()[..])
    );
    let id = connection.0.to_be_bytes();
    let bind = |world: &mut World| {
        ask_raw(
            world,
            &data,
            Method::CONNECTION_BIND,
            &[(AttributeType::CONNECTION_ID, &id)],
        )
    };
    assert!(bind(&mut world).is_ok());
    assert_eq!(world.spliced, [connection]);
    assert_eq!(bind(&mut world), Err(ErrorCode::BAD_REQUEST), "only once");
    world.pass(31);
    assert!(world.hung_up.is_empty(), "it is bound");
    world
        .ask(&control, &mut user(), Request::Refresh { lifetime: 0 })
        .unwrap();
    assert_eq!(world.hung_up, [connection], "it ends with its allocation");
}

#[test]
fn an_unbound_data_connection_is_closed_after_30_seconds() {
    let mut world = World::new();
    let control = over_tcp(5000);
    let peer: SocketAddr = PEER.parse().unwrap();
    ask_raw(&mut world, &control, Method::ALLOCATE, &[TCP]).unwrap();
    let socket = world.sockets[0].0;
    assert_eq!(
        world.server.accepted(world.now, socket, peer),
        None,
        "it is not permitted"
    );
    world
        .ask(
            &control,
            &mut user(),
            Request::CreatePermission { peers: vec![peer] },
        )
        .unwrap();
    let connection = world
        .server
        .accepted(world.now, socket, peer)
        .expect("a connection");
    world.settle();
    let attempt = world.sent.pop().expect("an indication").1;
    assert_eq!(
        Message::parse(&attempt).unwrap().method(),
        Method::CONNECTION_ATTEMPT
    );
    world.pass(29);
    assert!(world.hung_up.is_empty());
    world.pass(1);
    assert_eq!(world.hung_up, [connection]);
}

#[test]
fn a_hairpin_route_to_another_shard_obeys_its_permissions() {
    let shared = Arc::new(Shared::new(
        Ports::new(World::addresses(), 50_000..=50_099),
        [7; 32],
        0,
    ));
    let (mut a, mut b) = (
        World::of_shard(0, shared.clone()),
        World::of_shard(1, shared),
    );
    let (here, there, mut alice, mut bob) = (at(5000), at(6000), user(), user());
    let allocate = || Request::Allocate {
        family: None,
        lifetime: None,
    };
    let from = a
        .ask(&here, &mut alice, allocate())
        .unwrap()
        .relayed
        .unwrap();
    let to = b
        .ask(&there, &mut bob, allocate())
        .unwrap()
        .relayed
        .unwrap();
    a.ask(
        &here,
        &mut alice,
        Request::ChannelBind {
            number: 0x4000,
            peer: to,
        },
    )
    .unwrap();
    let data = [0x40, 0, 0, 2, 1, 2];
    let socket = a.socket(from);
    let through_the_kernel = Forward::ToPeer {
        relayed: socket,
        to,
        start: 4,
        end: 6,
        dont_fragment: false,
    };
    assert_eq!(
        a.give(&here, &data),
        through_the_kernel,
        "without a route the other shard decides"
    );
    b.ask(
        &there,
        &mut bob,
        Request::CreatePermission { peers: vec![from] },
    )
    .unwrap();
    let arrives = |framing| Forward::ToClient {
        client: there,
        start: 4,
        end: 6,
        framing,
    };
    assert_eq!(a.give(&here, &data), arrives(Framing::Data(from)));
    b.ask(
        &there,
        &mut bob,
        Request::ChannelBind {
            number: 0x4001,
            peer: from,
        },
    )
    .unwrap();
    assert_eq!(a.give(&here, &data), arrives(Framing::Channel(0x4001)));
    for _ in 0..2 {
        a.pass(150);
        b.pass(150);
        a.ask(
            &here,
            &mut alice,
            Request::ChannelBind {
                number: 0x4000,
                peer: to,
            },
        )
        .unwrap();
    }
    assert_eq!(
        a.give(&here, &data),
        through_the_kernel,
        "its permission expired"
    );
    b.ask(
        &there,
        &mut bob,
        Request::CreatePermission { peers: vec![from] },
    )
    .unwrap();
    assert_eq!(a.give(&here, &data), arrives(Framing::Channel(0x4001)));
    let record = &b.server.list_allocations(b.now, 0, 1)[0];
    assert_eq!(
        record.traffic.to_client.packets, 3,
        "including what was counted in routes that were renewed since"
    );
    b.ask(&there, &mut bob, Request::Refresh { lifetime: 0 })
        .unwrap();
    assert_eq!(
        a.give(&here, &data),
        Forward::Discarded(Discard::PeerRefused)
    );
}

#[test]
fn payload_over_the_bandwidth_and_new_peers_over_the_rate_are_dropped() {
    let mut world = World::new();
    let mut policy = world.policy.clone();
    policy.limits.bandwidth.allocation = Some(10_000);
    policy.limits.new_peers = 5;
    world.server.replace_policy(Arc::new(policy));
    let (here, mut client) = (at(5000), user());
    world
        .ask(
            &here,
            &mut client,
            Request::Allocate {
                family: None,
                lifetime: None,
            },
        )
        .unwrap();
    let peer: SocketAddr = PEER.parse().unwrap();
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
    let message = [&[0x40, 0, 0, 100][..], &[0; 100]].concat();
    let forwarded = |world: &mut World| {
        (0..20)
            .filter(|_| matches!(world.give(&here, &message), Forward::ToPeer { .. }))
            .count()
    };
    assert_eq!(forwarded(&mut world), 10, "a burst of 100 ms");
    assert_eq!(
        world.give(&here, &message),
        Forward::Discarded(Discard::Bandwidth)
    );
    world.pass(1);
    assert_eq!(forwarded(&mut world), 10);
    world.pass(1);
    let mut scan = |port| {
        let mut out = Vec::new();
        client.send(SocketAddr::new(peer.ip(), port), b"x", &mut out);
        world.give(&here, &out)
    };
    let reached = (1..100)
        .filter(|port| matches!(scan(*port), Forward::ToPeer { .. }))
        .count();
    assert_eq!(reached, 5, "new peers per second");
    assert_eq!(scan(99), Forward::Discarded(Discard::PeerRate));
}

/// A reload may remove the user, the realm and SHA-1: existing allocations keep what they were
/// granted.
#[test]
fn an_allocation_outlives_its_realm_under_the_rules_of_that_realm() {
    let mut world = World::new();
    let (here, mut client) = (at(5000), user());
    world
        .ask(
            &here,
            &mut client,
            Request::Allocate {
                family: None,
                lifetime: Some(3600),
            },
        )
        .unwrap();
    let mut policy = world.policy.clone();
    let mut elsewhere = Realm::new("elsewhere");
    elsewhere.peers.allow = vec!["10.0.0.0/8".parse().unwrap()];
    policy.realms = vec![Arc::new(elsewhere)];
    policy.sha1 = false;
    for _ in 0..2 {
        world.server.replace_policy(Arc::new(policy.clone()));
    }
    let foreign = Request::CreatePermission {
        peers: vec!["10.0.0.1:9".parse().unwrap()],
    };
    assert!(
        world.ask(&here, &mut client, foreign).is_err(),
        "the rules of its own realm hold"
    );
    let peer: SocketAddr = PEER.parse().unwrap();
    let more = || {
        [
            Request::ChannelBind {
                number: 0x4000,
                peer,
            },
            Request::Refresh { lifetime: 3600 },
        ]
    };
    for request in more() {
        world.ask(&here, &mut client, request).unwrap();
    }
    // The second time the nonce is stale: the challenge must name the realm for which the client
    // has the key.
    for _ in 0..2 {
        world.pass(3000);
        for request in more() {
            world.ask(&here, &mut client, request).unwrap();
        }
    }
    assert!(
        world
            .ask(
                &at(5001),
                &mut user(),
                Request::Allocate {
                    family: None,
                    lifetime: None
                }
            )
            .is_err()
    );
    world
        .ask(&here, &mut client, Request::Refresh { lifetime: 0 })
        .unwrap();
    assert_eq!(world.server.allocation_count(), 0);
}

#[test]
fn a_rejected_request_does_not_spend_its_ticket() {
    let (mut world, old, new) = (World::new(), at(5000), at(5001));
    let answer = ask_raw(
        &mut world,
        &old,
        Method::ALLOCATE,
        &[UDP, (AttributeType::MOBILITY_TICKET, &[])],
    )
    .unwrap();
    let ticket = find(&answer, AttributeType::MOBILITY_TICKET);
    let v6: (AttributeType, &[u8]) = (AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    let show = (AttributeType::MOBILITY_TICKET, &ticket[..]);
    let refused = ask_raw(&mut world, &new, Method::REFRESH, &[show, v6]);
    assert_eq!(refused, Err(ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH));
    assert!(!world.server.has_allocation(&new.five_tuple));
    assert!(ask_raw(&mut world, &new, Method::REFRESH, &[show]).is_ok());
}

#[test]
fn a_new_connection_from_the_same_address_is_another_client_until_it_shows_the_ticket() {
    let (mut world, here) = (World::new(), over_tcp(5000));
    let peer: SocketAddr = PEER.parse().unwrap();
    let answer = ask_raw(
        &mut world,
        &here,
        Method::ALLOCATE,
        &[UDP, (AttributeType::MOBILITY_TICKET, &[])],
    )
    .unwrap();
    let ticket = find(&answer, AttributeType::MOBILITY_TICKET);
    world
        .ask(
            &here,
            &mut user(),
            Request::ChannelBind {
                number: 0x4000,
                peer,
            },
        )
        .unwrap();
    let socket = world.sockets[0].0;
    world.server.client_disconnected(world.now, &here);
    world.settle();
    let again = Client {
        link: Link(2),
        ..here
    };
    let data = [0x40, 0, 0, 2, 1, 2];
    assert_eq!(
        world.give(&again, &data),
        Forward::Discarded(Discard::NoAllocation)
    );
    let lost = world.server.from_peer(world.now, socket, peer, 3);
    assert_eq!(
        lost,
        Forward::Discarded(Discard::NoPermission),
        "the client is detached"
    );
    ask_raw(
        &mut world,
        &again,
        Method::REFRESH,
        &[(AttributeType::MOBILITY_TICKET, &ticket)],
    )
    .unwrap();
    let to_peer = Forward::ToPeer {
        relayed: socket,
        to: peer,
        start: 4,
        end: 6,
        dont_fragment: false,
    };
    assert_eq!(
        world.give(&again, &data),
        to_peer,
        "with the ticket the allocation is restored"
    );
}

#[test]
fn a_udp_relay_cannot_reach_the_port_of_a_tcp_relay() {
    let (mut world, control) = (World::new(), over_tcp(7000));
    ask_raw(&mut world, &control, Method::ALLOCATE, &[TCP]).unwrap();
    let listening = world.sockets[0].1;
    let (here, mut client) = (at(5000), user());
    world
        .ask(
            &here,
            &mut client,
            Request::Allocate {
                family: None,
                lifetime: None,
            },
        )
        .unwrap();
    let bound = world.ask(
        &here,
        &mut client,
        Request::ChannelBind {
            number: 0x4000,
            peer: listening,
        },
    );
    assert_eq!(
        bound,
        Err(ErrorCode::FORBIDDEN),
        "no UDP relay has this port"
    );
}

#[test]
fn pages_list_every_living_allocation_once_in_order_of_id() {
    let mut world = World::new();
    let allocate = || Request::Allocate {
        family: None,
        lifetime: None,
    };
    let mut clients: Vec<_> = (0..5).map(|n| (at(6000 + n), user())).collect();
    for (here, client) in &mut clients {
        world.ask(here, client, allocate()).unwrap();
    }
    let ids = |page: &[AllocationRecord]| page.iter().map(|r| r.id).collect::<Vec<_>>();
    let first = world.server.list_allocations(world.now, 0, 2);
    assert_eq!(first.len(), 2);
    let [_, cursor] = ids(&first)[..] else {
        panic!()
    };
    // The allocation at the cursor ends, and a new one reuses its index in the table.
    assert!(
        world
            .server
            .end_allocation(world.now, cursor, EndReason::Closed)
    );
    world.settle();
    world.ask(&at(7000), &mut user(), allocate()).unwrap();
    let rest = world.server.list_allocations(world.now, cursor, 100);
    assert_eq!(rest.len(), 4, "the remaining three and the new one");
    assert!(ids(&rest).is_sorted() && ids(&rest)[0] > cursor);
    assert!(
        world
            .server
            .list_allocations(world.now, ids(&rest)[3], 2)
            .is_empty()
    );
}

#[test]
fn an_allocation_is_found_by_its_id_while_it_lives() {
    let (mut world, ..) = allocated();
    let id = world.server.list_allocations(world.now, 0, 1)[0].id;
    assert_eq!(
        world.server.allocation(world.now, id).unwrap().record.id,
        id
    );
    assert!(world.server.allocation(world.now, id + 1).is_none());
    assert!(
        !world
            .server
            .end_allocation(world.now, id + 1, EndReason::Closed)
    );
    assert!(
        world
            .server
            .end_allocation(world.now, id, EndReason::Closed)
    );
    assert!(world.server.allocation(world.now, id).is_none());
    assert!(
        !world
            .server
            .end_allocation(world.now, id, EndReason::Closed)
    );
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

/// A reload may change the position of a realm, so a connection is bound to the name.
#[test]
fn a_connection_keeps_its_realm_when_a_reload_inserts_another_in_front() {
    let realm = |name: &str| {
        let mut realm = Realm::new(name);
        realm.server_names = vec![format!("{name}.example")];
        Arc::new(realm)
    };
    let mut world = World::new();
    let mut policy = world.policy.clone();
    policy.realms = vec![realm("first"), realm("second")];
    world.server.replace_policy(Arc::new(policy.clone()));
    let mut client = over_tcp(5000);
    client.realm = world.server.realm_of_server_name("second.example");
    policy.realms.insert(0, realm("inserted"));
    world.server.replace_policy(Arc::new(policy));
    let mut out = Vec::new();
    Writer::new(&mut out, Class::Request, Method::ALLOCATE, &[1; 12]).finish();
    world.give(&client, &out);
    let (_, challenge) = world.sent.pop().expect("a challenge");
    let challenge = Message::parse(&challenge).unwrap();
    assert_eq!(challenge.text(AttributeType::REALM), Some("second"));
}
