//! Limits and options of the policy, in virtual time: quotas, response rates, redirects, draining,
//! algorithms.

use crate::auth::rest_password;
use crate::support::codec::*;
use crate::world::{CLIENT, Destination, OTHER_CLIENT, PEER, PORTS, SECRET_TEXT, UNIX, World};
use hairpin::turn::policy::Alternate;
use hairpin::turn::{Limits, Policy, Transport};
use std::net::SocketAddr;

/// RFC 8656 §7.2: 486 (Allocation Quota Reached), by "the username used to authenticate the
/// request and not [...] the client's transport address". A deleted allocation no longer counts.
#[test]
fn an_allocation_beyond_the_users_quota_gets_486() {
    let mut world = World::with(
        |policy| {
            policy.limits = Limits {
                allocations_per_user: 2,
                ..Limits::default()
            }
        },
        PORTS,
        0,
    );
    let (mut first, _) = world.allocated("192.0.2.10:1");
    world.allocated("192.0.2.11:1");
    let mut third = world.alice("192.0.2.12:1");
    assert_eq!(
        world.ask(&mut third, Outgoing::allocate()).error(),
        Some(486)
    );
    let mut bob = world.caller("192.0.2.10:2");
    world.login(&mut bob, "bob", "builder");
    assert!(
        world.ask(&mut bob, Outgoing::allocate()).is_success(),
        "another user's quota"
    );
    world.refresh(&mut first, 0);
    assert!(world.ask(&mut third, Outgoing::allocate()).is_success());
    world.pass_seconds(600.0);
    for address in ["192.0.2.20:1", "192.0.2.21:1"] {
        world.allocated(address);
    }
}

/// A new expiry does not make a new user.
#[test]
fn time_limited_usernames_of_one_user_share_a_quota() {
    let mut world = World::with(
        |policy| {
            policy.limits = Limits {
                allocations_per_user: 1,
                ..Limits::default()
            }
        },
        PORTS,
        0,
    );
    let mut outcome = |address: &str, expiry: u64| {
        let name = format!("{expiry}:carol");
        let mut caller = world.caller(address);
        world.login(&mut caller, &name, &rest_password(SECRET_TEXT, &name));
        world.ask(&mut caller, Outgoing::allocate()).error()
    };
    assert_eq!(outcome("192.0.2.10:1", UNIX + 1000), None);
    assert_eq!(outcome("192.0.2.11:1", UNIX + 2000), Some(486));
}

/// RFC 8656 §7.2: 508 (Insufficient Capacity) when the server as a whole is full.
#[test]
fn a_full_server_gets_508() {
    let mut world = World::with(
        |policy| {
            policy.limits = Limits {
                allocations: 1,
                ..Limits::default()
            }
        },
        PORTS,
        0,
    );
    world.allocated(CLIENT);
    let mut second = world.alice(OTHER_CLIENT);
    assert_eq!(
        world.ask(&mut second, Outgoing::allocate()).error(),
        Some(508)
    );
    world.pass_seconds(600.0);
    assert!(world.ask(&mut second, Outgoing::allocate()).is_success());
}

/// RFC 8656 §10.2 and §12.2: expired ones do not count.
#[test]
fn permissions_and_channels_beyond_the_limit_get_508() {
    let limits = Limits {
        permissions: 3,
        channels: 2,
        ..Limits::default()
    };
    let mut world = World::with(|policy| policy.limits = limits, PORTS, 0);
    let (mut caller, _) = world.allocated(CLIENT);
    world.refresh(&mut caller, 3600);
    for number in 1..=3 {
        assert!(
            world
                .permit(&mut caller, &format!("8.8.8.{number}:1"))
                .is_success()
        );
    }
    assert_eq!(world.permit(&mut caller, "8.8.8.4:1").error(), Some(508));
    assert!(
        world.permit(&mut caller, "8.8.8.3:9").is_success(),
        "one that is there is refreshed"
    );
    assert!(world.bind(&mut caller, 0x4000, "8.8.8.1:1").is_success());
    assert!(world.bind(&mut caller, 0x4001, "8.8.8.1:2").is_success());
    assert_eq!(
        world.bind(&mut caller, 0x4002, "8.8.8.1:3").error(),
        Some(508)
    );
    world.pass_seconds(301.0);
    assert!(world.permit(&mut caller, "8.8.8.5:1").is_success());
}

/// By IPv4 /24 or IPv6 /48.
#[test]
fn unauthenticated_responses_are_rate_limited_by_prefix() {
    for (flood, same, other) in [
        ("192.0.2.10:1", "192.0.2.250:9", "192.0.3.10:1"),
        (
            "[2001:db8:1::1]:1",
            "[2001:db8:1:ffff::2]:9",
            "[2001:db8:2::1]:1",
        ),
    ] {
        let mut world = World::with(|_| {}, PORTS, 100);
        world.pass_seconds(60.0);
        let answers = |world: &mut World, from: &str, requests: usize| {
            let caller = world.caller(from);
            (0..requests)
                .filter(|_| world.try_ask(&caller, Outgoing::request(BINDING)).is_some())
                .count()
        };
        let at_once = answers(&mut world, flood, 1000);
        assert!((1..=100).contains(&at_once), "{at_once} at once");
        assert_eq!(
            answers(&mut world, same, 50),
            0,
            "the prefix is what counts"
        );
        assert!(
            answers(&mut world, other, 10) > 0,
            "another prefix is not concerned"
        );
        let mut in_ten_seconds = 0;
        for _ in 0..1000 {
            world.pass_seconds(0.01);
            in_ten_seconds += answers(&mut world, flood, 5);
        }
        assert!(
            (900..=1100).contains(&in_ten_seconds),
            "{in_ten_seconds} in ten seconds"
        );
        let challenged = world.caller(same);
        let answered = (0..100)
            .filter(|_| world.try_ask(&challenged, Outgoing::allocate()).is_some())
            .count();
        assert!(answered <= 2, "401s come out of the same purse");
    }
}

/// Responses to authenticated requests, over streams, and to loopback. A rate of 0 disables the
/// limit.
#[test]
fn responses_that_cannot_be_reflected_are_not_rate_limited() {
    let mut world = World::with(|_| {}, PORTS, 1);
    world.pass_seconds(60.0);
    let tcp = world.caller_over("192.0.2.10:1", Transport::Tcp);
    assert!((0..100).all(|_| world.try_ask(&tcp, Outgoing::request(BINDING)).is_some()));
    for loopback in ["127.0.0.1:5", "[::1]:5"] {
        let caller = world.caller(loopback);
        assert!((0..100).all(|_| world.try_ask(&caller, Outgoing::allocate()).is_some()));
    }
    let (mut caller, _) = world.allocated("127.0.0.1:6");
    caller.client.five_tuple.client = "127.0.0.1:6".parse().unwrap();
    assert!((0..100).all(|_| world.refresh(&mut caller, 600).is_success()));
    let mut unlimited = World::new();
    let caller = unlimited.caller("192.0.2.10:1");
    assert!((0..5000).all(|_| {
        unlimited
            .try_ask(&caller, Outgoing::request(BINDING))
            .is_some()
    }));
}

/// RFC 8489 §10: the 300 response has an ALTERNATE-SERVER "of the same address family as the source
/// IP address of the request message", then one of the other family, and where it is configured an
/// ALTERNATE-DOMAIN; §14.8: it is protected by the request's integrity.
#[test]
fn a_redirect_names_a_server_of_the_same_family_first() {
    let servers: Vec<SocketAddr> = vec![
        "198.51.100.1:3478".parse().unwrap(),
        "[2001:db8::9]:3478".parse().unwrap(),
    ];
    for (client, order) in [(CLIENT, [0, 1]), ("[2001:db8::77]:5000", [1, 0])] {
        let alternate = Alternate {
            servers: servers.clone(),
            domain: Some("turn2.example.org".into()),
        };
        let mut world = World::with(
            |policy| (policy.alternate, policy.redirect) = (Some(alternate), true),
            PORTS,
            0,
        );
        let mut caller = world.alice(client);
        let answer = world.ask(&mut caller, Outgoing::allocate());
        assert_eq!(answer.error(), Some(300));
        assert_eq!(
            answer.plain_addresses(ALTERNATE_SERVER),
            order.map(|i| servers[i])
        );
        assert_eq!(
            answer.get(ALTERNATE_DOMAIN),
            Some(&b"turn2.example.org"[..])
        );
        assert!(answer.verify_sha1(&caller.credentials.as_ref().unwrap().key()));
        assert!(world.sockets.is_empty());
    }
}

#[test]
fn a_client_is_not_redirected_to_another_family() {
    let alternate = Alternate {
        servers: vec!["[2001:db8::9]:3478".parse().unwrap()],
        domain: None,
    };
    let mut world = World::with(
        |policy| (policy.alternate, policy.draining) = (Some(alternate), true),
        PORTS,
        0,
    );
    let mut caller = world.alice(CLIENT);
    assert_eq!(
        world.ask(&mut caller, Outgoing::allocate()).error(),
        Some(508)
    );
}

/// RFC 8489 §14.8: 300 "MUST only be sent if the request included either a USERNAME or USERHASH
/// attribute and a valid MESSAGE-INTEGRITY".
#[test]
fn a_client_is_not_redirected_before_authentication() {
    let alternate = Alternate {
        servers: vec!["198.51.100.1:3478".parse().unwrap()],
        domain: None,
    };
    let mut world = World::with(
        |policy| (policy.alternate, policy.redirect) = (Some(alternate), true),
        PORTS,
        0,
    );
    let mut caller = world.caller(CLIENT);
    let challenge = world.ask(&mut caller, Outgoing::allocate());
    assert!(challenge.error() == Some(401) && !challenge.has(ALTERNATE_SERVER));
    world.login(&mut caller, "alice", "wrong");
    let refused = world.ask(&mut caller, Outgoing::allocate());
    assert!(refused.error() == Some(401) && !refused.has(ALTERNATE_SERVER));
}

/// RFC 8489 §12: Binding "SHOULD NOT utilize the ALTERNATE-SERVER mechanism".
#[test]
fn binding_is_never_redirected() {
    let alternate = Alternate {
        servers: vec!["198.51.100.1:3478".parse().unwrap()],
        domain: None,
    };
    let change = |policy: &mut Policy| {
        (policy.alternate, policy.redirect, policy.draining) = (Some(alternate), true, true)
    };
    let mut world = World::with(change, PORTS, 0);
    let mut caller = world.caller(CLIENT);
    assert!(
        world
            .ask(&mut caller, Outgoing::request(BINDING))
            .is_success()
    );
}

#[test]
fn a_draining_server_refuses_new_allocations_and_keeps_old_ones() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    let octets = Outgoing::allocate().encode(caller.credentials.as_ref());
    world.change_policy(|policy| policy.draining = true);
    assert!(world.permit(&mut caller, PEER).is_success());
    assert_eq!(world.send(&caller, PEER), Destination::to_peer(relayed));
    assert!(world.refresh(&mut caller, 600).is_success());
    assert_eq!(
        world.try_ask_raw(&caller, &octets).unwrap().error(),
        Some(437)
    );
    let mut late = world.alice(OTHER_CLIENT);
    assert_eq!(
        world.ask(&mut late, Outgoing::allocate()).error(),
        Some(508)
    );
}

/// RFC 8489 §6.3.1.1 and RFC 8656 §5 have SOFTWARE in responses; it is off by default.
#[test]
fn software_is_sent_only_if_configured() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    assert!(!world.refresh(&mut caller, 600).has(SOFTWARE));
    world.change_policy(|policy| policy.software = Some("Hairpin".into()));
    for message in [
        Outgoing::request(BINDING),
        Outgoing::request(REFRESH),
        Outgoing::allocate(),
    ] {
        assert_eq!(
            world.ask(&mut caller, message).get(SOFTWARE),
            Some(&b"Hairpin"[..])
        );
    }
}

/// Requests without SHA-256 then get 401.
#[test]
fn a_policy_may_refuse_sha1_and_md5() {
    let mut world = World::with(|policy| policy.sha1 = false, PORTS, 0);
    let mut old = world.alice(CLIENT);
    assert_eq!(world.ask(&mut old, Outgoing::allocate()).error(), Some(401));
    let modern = old.credentials.as_mut().unwrap();
    (modern.sha1, modern.sha256, modern.algorithm) = (false, Some(32), Some(SHA256));
    modern.algorithms = Some(vec![0, 2, 0, 0, 0, 1, 0, 0]);
    assert!(world.ask(&mut old, Outgoing::allocate()).is_success());
    let mut half = world.alice(OTHER_CLIENT);
    half.credentials.as_mut().unwrap().sha256 = Some(32);
    assert_eq!(
        world.ask(&mut half, Outgoing::allocate()).error(),
        Some(401),
        "an MD5 key is not modern"
    );
}

/// RFC 8489 §9.2: "If no security features are used, then a byte array with all 24 bits set to zero
/// MUST be encoded instead."
#[test]
fn a_nonce_without_security_features_encodes_24_zero_bits() {
    let mut world = World::with(|policy| policy.password_algorithms = false, PORTS, 0);
    let mut caller = world.caller(CLIENT);
    let challenge = world.ask(&mut caller, Outgoing::allocate());
    assert!(
        challenge.get(NONCE).unwrap().starts_with(b"obMatJos2AAAA")
            && !challenge.has(PASSWORD_ALGORITHMS)
    );
    world.login(&mut caller, "alice", "wonderland");
    assert!(world.ask(&mut caller, Outgoing::allocate()).is_success());
}

#[test]
fn another_port_is_tried_if_binding_fails_and_508_is_the_last_resort() {
    let mut world = World::with(|_| {}, 50_000..=50_003, 0);
    world.taken = vec![50_000, 50_001, 50_003];
    let (_, relayed) = world.allocated(CLIENT);
    assert_eq!(relayed.port(), 50_002);
    let mut second = world.alice(OTHER_CLIENT);
    assert_eq!(
        world.ask(&mut second, Outgoing::allocate()).error(),
        Some(508)
    );
    world.taken.clear();
    assert!(
        world.ask(&mut second, Outgoing::allocate()).is_success(),
        "the ports of failed attempts are free again"
    );
}
