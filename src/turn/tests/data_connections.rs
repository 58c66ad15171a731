//! Data connections of TCP relays. RFC 6062.

use super::*;

pub(super) fn over_tcp(port: u16) -> Client {
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
