//! Corners of the rules that no other test looks into: each fails when its rule is turned around.

use crate::support::codec::*;
use crate::world::{Arrival, UNIX, World};
use hairpin::turn::policy::Discovery;
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Discard, Effect, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// RFC 8656 §7.2 (note): a retransmission is of the same client: the same transaction of another user is a second Allocate (437).
#[test]
fn a_retransmission_is_of_the_same_user() {
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

/// RFC 8656 §7.2: the answer to a retransmission has "the current value of the time-to-expiry timer": of two halves the one that ends first.
#[test]
fn a_retransmission_tells_what_is_left_of_the_shorter_half() {
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

/// RFC 8656 §7.2: what an Allocate with EVEN-PORT reserved is free again at once when its own port could not be had (508).
#[test]
fn a_failed_allocate_reserves_nothing() {
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

/// RFC 8656 §8.2 and §12: a channel that was bound when the allocation had less left than it carries on after a Refresh.
#[test]
fn channels_follow_a_refresh() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.pass_seconds(400.0);
    assert!(world.bind(&mut caller, 0x4000, PEER).is_success());
    world.pass_seconds(150.0);
    assert!(world.refresh(&mut caller, 600).is_success());
    world.pass_seconds(100.0);
    let to_peer = Arrival::Peer {
        from: relayed,
        to: PEER.parse().unwrap(),
    };
    assert_eq!(world.channel_data(&caller, 0x4000), to_peer);
    assert_eq!(world.datagram(PEER, relayed), Arrival::Channel(0x4000));
}

/// RFC 8656 §11.2: a Send indication whose peer has port 0 is invalid, whatever is permitted.
#[test]
fn nothing_is_sent_to_port_0() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    assert!(world.permit(&mut caller, PEER).is_success());
    assert_eq!(
        world.send(&caller, "8.8.8.8:0"),
        Arrival::Dropped(Discard::BadIndication)
    );
}

/// RFC 6062: where the operator has no TCP relays, Connect and ConnectionBind are methods that nobody knows.
#[test]
fn without_tcp_relays_their_methods_are_unknown() {
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

/// A user whom the operator keeps out gets 403, and is served again when that ends.
#[test]
fn a_blocked_user_gets_403_for_a_while() {
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

/// RFC 8489 §9.2.4: REALM counts by itself: with another's name and the right key the user is unknown (401).
#[test]
fn a_realm_that_is_not_ours_gets_401_with_any_key() {
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

/// RFC 8489 §9.2.4: the key of an allocation is its owner's alone: another name with it is a wrong password (401).
#[test]
fn the_key_of_an_allocation_is_its_owners() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    let credentials = caller.credentials.as_mut().unwrap();
    credentials.key = Some(credentials.key());
    credentials.username = b"bob".to_vec();
    assert_eq!(world.refresh(&mut caller, 600).error(), Some(401));
}

/// RFC 8656 §5: whoever has an owner's name in another realm of the server is another user (441).
#[test]
fn an_owner_is_of_one_realm() {
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

/// RFC 8656 §8.1: what a half permitted ends with it when it is deleted alone, and makes room for others.
#[test]
fn permissions_end_with_the_half_of_their_family() {
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
    let serial = world.server.records(world.now).next().unwrap().id;
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

/// RFC 8489 §9.2.4: once algorithms were agreed, "Any response generated by the server MUST include the MESSAGE-INTEGRITY-SHA256
/// attribute", also to a request that is sealed with MESSAGE-INTEGRITY.
#[test]
fn agreed_algorithms_are_answered_with_sha256() {
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

/// RFC 5780 §7.5: RESPONSE-PORT chooses where a datagram goes; what came over a connection is answered to its own client.
#[test]
fn response_port_is_for_datagrams() {
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

/// RFC 8489 §14.13: an attribute that is not understood is listed, once however often it came.
#[test]
fn unknown_attributes_are_listed_once() {
    let mut world = World::new();
    let mut caller = world.caller(CLIENT);
    let unknown = || Attribute::plain(0x7ff1, b"");
    let request = Outgoing::request(BINDING)
        .with(unknown())
        .with(Attribute::plain(0x7ff2, b""))
        .with(unknown());
    assert_eq!(world.ask(&mut caller, request).unknown(), [0x7ff1, 0x7ff2]);
}

const CLIENT: &str = "192.0.2.10:5000";
const OTHER_CLIENT: &str = "192.0.2.11:5000";
const PEER: &str = "8.8.8.8:7000";
const PEER_V6: &str = "[2606:4700::1]:7000";
const OTHER_PEER_V6: &str = "[2606:4700::2]:7000";
