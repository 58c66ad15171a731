//! Data between two allocations of one server.

use super::*;

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
