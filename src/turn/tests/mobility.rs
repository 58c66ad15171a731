//! Allocations that follow their client to another five-tuple. RFC 8016.

use super::*;
use crate::turn::tests::data_connections::over_tcp;

#[test]
fn the_first_data_from_a_new_five_tuple_completes_a_move() {
    let (mut world, old, new) = (World::new(), at(5000), at(5001));
    let peer: SocketAddr = PEER.parse().unwrap();
    let ticket = allocate_mobile(&mut world, &old, UDP);
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

#[test]
fn a_rejected_request_does_not_spend_its_ticket() {
    let (mut world, old, new) = (World::new(), at(5000), at(5001));
    let ticket = allocate_mobile(&mut world, &old, UDP);
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

/// Makes an allocation that may move. Returns its ticket.
fn allocate_mobile(
    world: &mut World,
    client: &Client,
    transport: (AttributeType, &[u8]),
) -> Vec<u8> {
    let attributes = [transport, (AttributeType::MOBILITY_TICKET, &[][..])];
    let answer = ask_raw(world, client, Method::ALLOCATE, &attributes).unwrap();
    find(&answer, AttributeType::MOBILITY_TICKET)
}
