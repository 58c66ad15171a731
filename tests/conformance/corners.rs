//! Corner cases that other tests do not cover; each of these tests fails if its rule is inverted.

use crate::support::codec::*;
use crate::world::{CLIENT, Destination, OTHER_CLIENT, PEER, PEER_V6, UNIX, World};
use hairpin::turn::policy::discovery::Discovery;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Discard, Effect, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// RFC 8656 §7.2 (note): it is a second Allocate, not a retransmission.
#[test]
fn the_same_transaction_of_another_user_gets_437() {
    let mut world = World::new();
    let caller = world.alice(CLIENT);
    let request = Outgoing::allocate();
    assert!(
        world
            .try_ask(&caller, request.clone())
            .unwrap()
            .is_success()
    );
    assert!(
        world
            .try_ask(&caller, request.clone())
            .unwrap()
            .is_success()
    );
    let mut bob = world.caller(CLIENT);
    let challenge = world.ask(&mut bob, Outgoing::request(REFRESH));
    let (realm, nonce) = (challenge.get(REALM).unwrap(), challenge.get(NONCE).unwrap());
    bob.credentials = Some(Credentials::legacy("bob", "builder", realm, nonce));
    assert_eq!(world.try_ask(&bob, request).unwrap().error(), Some(437));
}

/// RFC 8656 §7.2: the response has "the current value of the time-to-expiry timer", here of the
/// address that expires first.
#[test]
fn a_retransmitted_dual_allocate_gets_the_shorter_remaining_lifetime() {
    let mut world = World::new();
    let caller = world.alice(CLIENT);
    let octets = Outgoing::allocate()
        .with(Attribute::additional_family(2))
        .encode(caller.credentials.as_ref());
    assert!(world.try_ask_raw(&caller, &octets).unwrap().is_success());
    let longer = Outgoing::request(REFRESH)
        .with(Attribute::family(2))
        .with(Attribute::lifetime(1200));
    assert!(world.try_ask(&caller, longer).unwrap().is_success());
    assert_eq!(
        world
            .try_ask_raw(&caller, &octets)
            .unwrap()
            .number(LIFETIME),
        Some(600)
    );
}

/// RFC 8656 §7.2: if the port of the allocation itself cannot be bound (508), the port reserved by
/// EVEN-PORT is free again.
#[test]
fn a_failed_allocate_reserves_no_port() {
    let mut world = World::with(|_| {}, 50_000..=50_001, 0);
    world.taken = vec![50_000, 50_001];
    let mut first = world.alice(CLIENT);
    assert_eq!(
        world
            .ask(
                &mut first,
                Outgoing::allocate().with(Attribute::even_port(true))
            )
            .error(),
        Some(508)
    );
    world.taken.clear();
    for client in [CLIENT, OTHER_CLIENT] {
        let mut caller = world.alice(client);
        assert!(world.ask(&mut caller, Outgoing::allocate()).is_success());
    }
}

/// RFC 8656 §8.2 and §12: the channel is bound while the allocation has less time left than the
/// channel.
#[test]
fn a_channel_outlives_the_lifetime_that_it_was_bound_in_after_a_refresh() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.pass_seconds(400.0);
    assert!(world.bind(&mut caller, 0x4000, PEER).is_success());
    world.pass_seconds(150.0);
    assert!(world.refresh(&mut caller, 600).is_success());
    world.pass_seconds(100.0);
    let to_peer = Destination::Peer {
        from: relayed,
        to: PEER.parse().unwrap(),
    };
    assert_eq!(world.channel_data(&caller, 0x4000), to_peer);
    assert_eq!(world.datagram(PEER, relayed), Destination::Channel(0x4000));
}

/// RFC 8656 §11.2: the peer address is invalid, even with a permission for the address.
#[test]
fn a_send_indication_to_port_0_is_discarded() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    assert!(world.permit(&mut caller, PEER).is_success());
    assert_eq!(
        world.send(&caller, "8.8.8.8:0"),
        Destination::Dropped(Discard::BadIndication)
    );
}

/// RFC 6062: if the policy disables TCP allocations.
#[test]
fn without_tcp_allocations_connect_and_connection_bind_are_unknown_methods() {
    let mut world = World::with(|policy| policy.tcp_relays = false, 49_152..=65_535, 0);
    let mut caller = world.caller_over(CLIENT, Transport::Tcp);
    world.login(&mut caller, "alice", "wonderland");
    for request in [
        Outgoing::connect(PEER.parse().unwrap()),
        Outgoing::connection_bind(&[0, 0, 0, 1]),
    ] {
        assert!(world.try_ask(&caller, request).is_none());
    }
    let relay = Outgoing::allocate_tcp();
    assert_eq!(world.ask(&mut caller, relay).error(), Some(442));
}

#[test]
fn a_blocked_user_gets_403_until_the_block_ends() {
    let mut world = World::new();
    let until = Duration::from_secs(UNIX + 100);
    world.change_policy(|policy| policy.blocked = vec![("alice".into(), until)]);
    let mut caller = world.alice(CLIENT);
    assert_eq!(
        world.ask(&mut caller, Outgoing::allocate()).error(),
        Some(403)
    );
    world.pass_seconds(100.0);
    assert!(world.ask(&mut caller, Outgoing::allocate()).is_success());
}

/// RFC 8489 §9.2.4: REALM is checked independently of the key.
#[test]
fn a_foreign_realm_gets_401_even_with_the_right_key() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    let credentials = caller.credentials.as_mut().unwrap();
    credentials.key = Some(credentials.key());
    credentials.realm = b"elsewhere".to_vec();
    assert_eq!(
        world.ask(&mut caller, Outgoing::allocate()).error(),
        Some(401)
    );
}

/// RFC 8489 §9.2.4: the key belongs to the username.
#[test]
fn another_username_with_the_key_of_the_allocation_gets_401() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    let credentials = caller.credentials.as_mut().unwrap();
    credentials.key = Some(credentials.key());
    credentials.username = b"bob".to_vec();
    assert_eq!(world.refresh(&mut caller, 600).error(), Some(401));
}

/// RFC 8656 §5: it is another user.
#[test]
fn the_same_username_in_another_realm_gets_441() {
    let mut world = World::new();
    world.change_policy(|policy| {
        let mut realm = Realm::new("test.net");
        realm
            .credentials
            .add_user("test.net", "alice", "looking-glass");
        policy.realms.push(Arc::new(realm));
    });
    let (mut caller, _) = world.allocated(CLIENT);
    let credentials = caller.credentials.as_mut().unwrap();
    let own = std::mem::replace(&mut credentials.realm, b"test.net".to_vec());
    credentials.password = b"looking-glass".to_vec();
    assert_eq!(world.refresh(&mut caller, 600).error(), Some(441));
    let credentials = caller.credentials.as_mut().unwrap();
    (credentials.realm, credentials.password) = (own, b"wonderland".to_vec());
    assert!(world.refresh(&mut caller, 600).is_success());
}

/// RFC 8656 §8.1: and they no longer count for the limit.
#[test]
fn deleting_one_address_removes_the_permissions_of_its_family() {
    let mut world = World::with(|policy| policy.limits.permissions = 2, 49_152..=65_535, 0);
    let mut caller = world.alice(CLIENT);
    assert!(
        world
            .ask(
                &mut caller,
                Outgoing::allocate().with(Attribute::additional_family(2))
            )
            .is_success()
    );
    assert!(world.permit(&mut caller, PEER).is_success());
    assert!(world.permit(&mut caller, PEER_V6).is_success());
    assert_eq!(world.permit(&mut caller, OTHER_PEER_V6).error(), Some(508));
    let only_v4 = Outgoing::request(REFRESH)
        .with(Attribute::family(1))
        .with(Attribute::lifetime(0));
    assert!(world.ask(&mut caller, only_v4).is_success());
    let serial = world.server.list_allocations(world.now, 0, 1)[0].id;
    let permitted = world
        .server
        .allocation(world.now, serial)
        .unwrap()
        .permissions;
    let addresses: Vec<String> = permitted
        .iter()
        .map(|(address, _)| address.to_string())
        .collect();
    assert_eq!(addresses, ["2606:4700::1"]);
    assert!(world.permit(&mut caller, OTHER_PEER_V6).is_success());
}

/// RFC 8489 §9.2.4: "Any response generated by the server MUST include the
/// MESSAGE-INTEGRITY-SHA256 attribute", also to a request with MESSAGE-INTEGRITY.
#[test]
fn with_agreed_algorithms_every_response_has_sha256_integrity() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    let credentials = caller.credentials.as_mut().unwrap();
    (credentials.algorithms, credentials.algorithm) =
        (Some(vec![0, 2, 0, 0, 0, 1, 0, 0]), Some(SHA256));
    let key = credentials.key();
    let answer = world.ask(&mut caller, Outgoing::allocate());
    assert!(
        answer.is_success() && answer.verify_sha256(&key) && !answer.has(MESSAGE_INTEGRITY),
        "{answer:?}"
    );
}

/// RFC 5780 §7.5: the response to a request over a connection goes to the client.
#[test]
fn response_port_is_ignored_over_connections() {
    let server: SocketAddr = "192.0.2.1:3478".parse().unwrap();
    let discovery = Discovery {
        primary: server,
        alternate: "192.0.2.2:3479".parse().unwrap(),
    };
    let mut world = World::with(
        |policy| policy.discovery = vec![discovery],
        49_152..=65_535,
        0,
    );
    let request = Outgoing::request(BINDING)
        .with(Attribute::plain(RESPONSE_PORT, &[0x12, 0x34, 0, 0]))
        .encode(None);
    for (transport, port) in [
        (Transport::Udp, 0x1234),
        (Transport::Tcp, 5000),
        (Transport::Tls, 5000),
        (Transport::Dtls, 5000),
    ] {
        let caller = world.caller_over(CLIENT, transport);
        world
            .server
            .from_client(world.now, &caller.client, &request);
        let mut effects = Vec::new();
        world.server.take_effects(&mut effects);
        let [Effect::Send { to, .. }] = &effects[..] else {
            panic!("{effects:?}")
        };
        assert_eq!(to.five_tuple.client.port(), port, "over {transport:?}");
    }
}

/// RFC 8489 §14.13.
#[test]
fn an_unknown_attribute_is_listed_once_however_often_it_is_sent() {
    let mut world = World::new();
    let mut caller = world.caller(CLIENT);
    let unknown = || Attribute::plain(0x7ff1, b"");
    let request = Outgoing::request(BINDING)
        .with(unknown())
        .with(Attribute::plain(0x7ff2, b""))
        .with(unknown());
    assert_eq!(world.ask(&mut caller, request).unknown(), [0x7ff1, 0x7ff2]);
}

const OTHER_PEER_V6: &str = "[2606:4700::2]:7000";
