//! What a policy allows, and what a reload changes.

use super::*;
use crate::turn::tests::data_connections::over_tcp;

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
