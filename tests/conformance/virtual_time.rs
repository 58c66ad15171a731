//! Every lifetime, permission and channel expiry, in virtual time: to the nanosecond before and after.

use crate::auth::rest_password;
use crate::support::codec::*;
use crate::world::{Arrival, Caller, SECRET_TEXT, UNIX, World};
use hairpin::turn::policy::Alternate;
use hairpin::turn::{Discard, EndReason, Icmp, Instant, Limits, Policy, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// RFC 8656 §6 and §7.2: an allocation lives for its lifetime and not a nanosecond longer.
#[test]
fn an_allocation_ends_when_its_lifetime_does() {
    for (asked, granted) in [(None, 600), (Some(1800), 1800), (Some(10_000), 3600)] {
        let mut world = World::new();
        let mut caller = world.alice(CLIENT);
        let mut request = Outgoing::allocate();
        request.attributes.extend(asked.map(Attribute::lifetime));
        let start = world.now;
        assert_eq!(
            world.ask(&mut caller, request).number(LIFETIME),
            Some(granted)
        );
        assert_eq!(
            world.server.next_timeout(),
            Some(start + Duration::from_secs(granted.into()))
        );
        world.pass(Duration::from_secs(granted.into()) - NANOSECOND);
        assert_eq!((world.sockets.len(), world.ended.len()), (1, 0));
        world.pass(NANOSECOND);
        assert_eq!(
            (world.sockets.len(), &world.ended[..]),
            (0, &[EndReason::Expired][..])
        );
        assert_eq!(world.server.next_timeout(), None);
        world.login(&mut caller, "alice", "wonderland");
        assert_eq!(world.refresh(&mut caller, 600).error(), Some(437));
    }
}

/// RFC 8656 §8.2: "the allocation's time-to-expiry is set to the "desired lifetime"", counted from the Refresh on.
#[test]
fn refresh_counts_from_now() {
    let mut world = World::new();
    let (mut caller, _) = world.allocated(CLIENT);
    for lifetime in [600, 1600, 700] {
        world.pass_seconds(599.0);
        assert_eq!(
            world.refresh(&mut caller, lifetime).number(LIFETIME),
            Some(lifetime)
        );
        if lifetime == 1600 {
            world.pass_seconds(1599.0);
            assert!(world.ended.is_empty());
            world.refresh(&mut caller, 600);
        }
    }
    world.pass_seconds(699.9);
    assert!(world.ended.is_empty());
    world.pass_seconds(0.2);
    assert_eq!(world.ended, [EndReason::Expired]);
}

/// RFC 8656 §8.2: a Refresh may also shorten what is left, to no less than the default lifetime.
#[test]
fn refresh_may_shorten() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    world.ask(
        &mut caller,
        Outgoing::allocate().with(Attribute::lifetime(3600)),
    );
    world.refresh(&mut caller, 1);
    world.pass_seconds(599.9);
    assert!(world.ended.is_empty());
    world.pass_seconds(0.2);
    assert_eq!(world.ended, [EndReason::Expired]);
}

/// RFC 8656 §9: "The Permission Lifetime MUST be 300 seconds", in both directions.
#[test]
fn a_permission_lasts_300_seconds() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.permit(&mut caller, PEER);
    world.pass(Duration::from_secs(300) - NANOSECOND);
    assert_eq!(
        world.datagram(PEER, relayed),
        Arrival::Data(PEER.parse().unwrap())
    );
    assert_eq!(world.send(&caller, PEER), to_peer(relayed));
    world.pass(NANOSECOND);
    assert_eq!(
        world.datagram(PEER, relayed),
        Arrival::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.send(&caller, PEER),
        Arrival::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §9: CreatePermission and ChannelBind both reset the time-to-expiry, and "may be freely intermixed on a permission".
#[test]
fn permissions_are_refreshed_by_both_requests() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.refresh(&mut caller, 3600);
    for round in 0..4 {
        let answer = match round % 2 {
            0 => world.permit(&mut caller, PEER),
            _ => world.bind(&mut caller, 0x4000, PEER),
        };
        assert!(answer.is_success());
        world.pass_seconds(299.0);
        assert_eq!(world.send(&caller, PEER), to_peer(relayed));
    }
    world.pass_seconds(1.0);
    assert_eq!(
        world.send(&caller, PEER),
        Arrival::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §11.2: "Note that a Send indication never causes the server to refresh the permission"; §12.6: ChannelData "MUST NOT refresh
/// either the channel binding or the permission towards the peer"; neither does what the peer sends.
#[test]
fn data_refreshes_nothing() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.bind(&mut caller, 0x4000, PEER);
    for _ in 0..299 {
        world.pass_seconds(1.0);
        assert_eq!(world.channel_data(&caller, 0x4000), to_peer(relayed));
        assert_eq!(world.send(&caller, PEER), to_peer(relayed));
        assert_eq!(world.datagram(PEER, relayed), Arrival::Channel(0x4000));
    }
    world.pass_seconds(1.0);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Arrival::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.send(&caller, PEER),
        Arrival::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.datagram(PEER, relayed),
        Arrival::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §12: "A channel binding lasts for 10 minutes unless refreshed", with its permission kept alive apart.
#[test]
fn a_channel_lasts_600_seconds() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.refresh(&mut caller, 3600);
    world.bind(&mut caller, 0x4000, PEER);
    for span in [
        Duration::from_secs(250),
        Duration::from_secs(250),
        Duration::from_secs(100) - NANOSECOND,
    ] {
        world.pass(span);
        world.permit(&mut caller, PEER);
    }
    assert_eq!(world.channel_data(&caller, 0x4000), to_peer(relayed));
    assert_eq!(world.datagram(PEER, relayed), Arrival::Channel(0x4000));
    world.pass(NANOSECOND);
    assert!(matches!(
        world.channel_data(&caller, 0x4000),
        Arrival::Dropped(_)
    ));
    assert_eq!(
        world.datagram(PEER, relayed),
        Arrival::Data(PEER.parse().unwrap()),
        "permitted still, and no longer a channel"
    );
}

/// A channel outlives its permission and works again when that comes back.
#[test]
fn a_channel_sleeps_without_its_permission() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.bind(&mut caller, 0x4000, PEER);
    world.pass_seconds(301.0);
    assert!(matches!(
        world.channel_data(&caller, 0x4000),
        Arrival::Dropped(_)
    ));
    world.permit(&mut caller, PEER);
    assert_eq!(world.channel_data(&caller, 0x4000), to_peer(relayed));
    assert_eq!(world.datagram(PEER, relayed), Arrival::Channel(0x4000));
}

/// RFC 8656 §12.2: rebinding "to the same transport address" refreshes the binding.
#[test]
fn rebinding_refreshes_a_channel() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.refresh(&mut caller, 3600);
    for _ in 0..5 {
        assert!(world.bind(&mut caller, 0x4000, PEER).is_success());
        world.pass_seconds(299.0);
        assert_eq!(world.channel_data(&caller, 0x4000), to_peer(relayed));
    }
}

/// RFC 8656 §12: 5 minutes have to pass after an expiry "before attempting to bind the channel number to a different transport address or
/// the transport address to a different channel number"; the same pair may be bound at once.
#[test]
fn channels_cool_off_for_five_minutes() {
    for elapsed in [
        Duration::from_secs(601),
        Duration::from_secs(900) - NANOSECOND,
    ] {
        let mut world = World::new();
        let (mut caller, _) = world.allocated(CLIENT);
        world.refresh(&mut caller, 3600);
        world.bind(&mut caller, 0x4000, PEER);
        world.pass(elapsed);
        assert_eq!(
            world.bind(&mut caller, 0x4000, OTHER_PEER).error(),
            Some(400)
        );
        assert_eq!(world.bind(&mut caller, 0x4001, PEER).error(), Some(400));
        assert!(world.bind(&mut caller, 0x4000, PEER).is_success());
    }
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.refresh(&mut caller, 3600);
    world.bind(&mut caller, 0x4000, PEER);
    world.pass_seconds(900.0);
    assert!(world.bind(&mut caller, 0x4000, OTHER_PEER).is_success());
    assert!(world.bind(&mut caller, 0x4001, PEER).is_success());
    assert_eq!(world.datagram(PEER, relayed), Arrival::Channel(0x4001));
    assert_eq!(
        world.datagram(OTHER_PEER, relayed),
        Arrival::Channel(0x4000)
    );
}

/// RFC 8656 §9 and §12: permissions and channels end with their allocation, whatever they had left.
#[test]
fn nothing_outlives_the_allocation() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.pass_seconds(500.0);
    world.bind(&mut caller, 0x4000, PEER);
    world.pass_seconds(99.9);
    assert_eq!(world.channel_data(&caller, 0x4000), to_peer(relayed));
    world.now = world.now + Duration::from_millis(100);
    assert!(
        matches!(world.channel_data(&caller, 0x4000), Arrival::Dropped(_)),
        "even before anybody looked"
    );
    world.pass(Duration::ZERO);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Arrival::Dropped(Discard::NoAllocation)
    );
    assert_eq!(world.datagram(PEER, relayed), Arrival::Nothing);
}

/// RFC 8656 §8: each half of a dual allocation has a time-to-expiry of its own.
#[test]
fn halves_expire_apart() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    world.ask(
        &mut caller,
        Outgoing::allocate().with(Attribute::additional_family(2)),
    );
    assert_eq!(world.sockets.len(), 2);
    let longer = Outgoing::request(REFRESH)
        .with(Attribute::family(2))
        .with(Attribute::lifetime(1200));
    assert_eq!(world.ask(&mut caller, longer).number(LIFETIME), Some(1200));
    world.pass_seconds(600.0);
    assert_eq!(world.sockets.len(), 1);
    assert!(world.sockets.values().all(SocketAddr::is_ipv6));
    assert_eq!(world.permit(&mut caller, PEER).error(), Some(443));
    world.pass_seconds(599.9);
    assert!(world.ended.is_empty());
    world.pass_seconds(0.1);
    assert_eq!(
        (world.sockets.len(), &world.ended[..]),
        (0, &[EndReason::Expired][..])
    );
}

/// RFC 8656 §7.2: "The server MUST hold this reservation for at least 30 seconds"; issue 3: "30 s, used once". Then the port is free.
#[test]
fn a_reservation_lasts_30_seconds() {
    for (elapsed, outcome) in [(29.9, None), (30.1, Some(508))] {
        let mut world = World::with(|_| {}, 50_000..=50_001, 0);
        let mut first = world.alice(CLIENT);
        let answer = world.ask(
            &mut first,
            Outgoing::allocate().with(Attribute::even_port(true)),
        );
        let token = answer.get(RESERVATION_TOKEN).unwrap().to_vec();
        let mut second = world.alice(OTHER_CLIENT);
        assert_eq!(
            world.ask(&mut second, Outgoing::allocate()).error(),
            Some(508),
            "held for the token"
        );
        world.pass_seconds(elapsed);
        let claim = Outgoing::allocate().with(Attribute::plain(RESERVATION_TOKEN, &token));
        let answer = world.ask(&mut second, claim);
        assert_eq!(answer.error(), outcome, "after {elapsed} s");
        if outcome.is_some() {
            let answer = world.ask(&mut second, Outgoing::allocate());
            assert_eq!(
                answer.address(XOR_RELAYED_ADDRESS).map(|a| a.port()),
                Some(50_001)
            );
        }
    }
}

/// RFC 8656 §5: the server "SHOULD expire the nonce at least once every hour".
#[test]
fn a_nonce_expires_within_the_hour() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    assert!(
        world
            .ask(
                &mut caller,
                Outgoing::allocate().with(Attribute::lifetime(3600))
            )
            .is_success()
    );
    world.pass_seconds(3590.0);
    world.refresh(&mut caller, 3600);
    world.pass_seconds(12.0);
    let stale = world.refresh(&mut caller, 3600);
    assert_eq!(stale.error(), Some(438));
    caller.credentials.as_mut().unwrap().nonce = stale.get(NONCE).unwrap().to_vec();
    assert!(world.refresh(&mut caller, 3600).is_success());
}

/// RFC 8656 §7.2: a retransmitted Allocate tells what is left of the lifetime, and makes no second allocation.
#[test]
fn a_retransmission_tells_what_is_left() {
    let mut world = World::new();
    let caller = world.alice(CLIENT);
    let octets = Outgoing::allocate().encode(caller.credentials.as_ref());
    let first = world.try_ask_raw(&caller, &octets).unwrap();
    world.pass_seconds(20.0);
    let again = world.try_ask_raw(&caller, &octets).unwrap();
    assert_eq!(
        again.address(XOR_RELAYED_ADDRESS),
        first.address(XOR_RELAYED_ADDRESS)
    );
    assert_eq!(
        (first.number(LIFETIME), again.number(LIFETIME)),
        (Some(600), Some(580))
    );
    assert_eq!(world.sockets.len(), 1);
}

/// RFC 8656 §7.2: 486 (Allocation Quota Reached), by "the username used to authenticate the request and not [...] the client's transport
/// address"; an end gives the place back.
#[test]
fn the_quota_of_a_user_gets_486() {
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

/// The quota of a time-limited name is its user's: a new expiry is no new user.
#[test]
fn a_new_expiry_is_no_new_quota() {
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

/// RFC 8656 §10.2 and §12.2: more permissions or channels than the limits get 508, and the expired do not count.
#[test]
fn permissions_and_channels_are_bounded() {
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

/// Issue 2: "unauthenticated answers are rate-limited per source prefix [...] per IPv4 /24 or IPv6 /48".
#[test]
fn unauthenticated_answers_are_rate_limited() {
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

/// The same: what is authenticated, and what came over a stream, cannot be reflected and is not limited; "0 = none; loopback sources are
/// exempt".
#[test]
fn only_what_can_be_reflected_is_rate_limited() {
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

/// Issue 2: a time-limited name works until its second and "expired means 401".
#[test]
fn a_time_limited_name_ends_at_its_second() {
    let mut world = World::new();
    let expiry = UNIX + 100;
    let name = format!("{expiry}:carol");
    let outcome = |world: &mut World, address: &str| {
        let mut caller = world.caller(address);
        world.login(&mut caller, &name, &rest_password(SECRET_TEXT, &name));
        (world.ask(&mut caller, Outgoing::allocate()).error(), caller)
    };
    world.now = Instant(99_000_000_000);
    let (granted, mut early) = outcome(&mut world, CLIENT);
    assert_eq!(granted, None);
    world.pass_seconds(3.0);
    assert_eq!(outcome(&mut world, OTHER_CLIENT).0, Some(401));
    assert!(
        world.refresh(&mut early, 600).is_success(),
        "a call is not cut when its name expires under it"
    );
}

/// RFC 6062 §5.4: nor are new connections of a call's TCP relay, each of which is bound on a connection of its own.
#[test]
fn a_name_that_has_expired_still_binds_connections() {
    let mut world = World::new();
    let name = format!("{}:carol", UNIX + 100);
    let log_in = |world: &mut World, address: &str| {
        let mut caller = world.caller_over(address, Transport::Tcp);
        world.login(&mut caller, &name, &rest_password(SECRET_TEXT, &name));
        caller
    };
    let mut control = log_in(&mut world, CLIENT);
    let answer = world.ask(&mut control, Outgoing::allocate_tcp());
    assert!(world.permit(&mut control, PEER).is_success());
    world.pass_seconds(200.0);
    let (connection, _) = world.accepted(answer.address(XOR_RELAYED_ADDRESS).unwrap(), PEER);
    let id = connection.unwrap().0.to_be_bytes();
    let mut data = log_in(&mut world, OTHER_CLIENT);
    assert_eq!(
        world.ask(&mut data, Outgoing::allocate()).error(),
        Some(401)
    );
    let bind = Outgoing::connection_bind(&id);
    assert!(world.ask(&mut data, bind).is_success());
    assert_eq!(world.spliced, [connection.unwrap()]);
}

/// RFC 8489 §10: the 300 response has an ALTERNATE-SERVER "of the same address family as the source IP address of the request message",
/// then one of the other family, and where it is configured an ALTERNATE-DOMAIN; §14.8: it is protected by the request's integrity.
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

/// A client whose family no alternate serves cannot be sent anywhere.
#[test]
fn nobody_is_sent_to_another_family() {
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

/// RFC 8489 §14.8: 300 "MUST only be sent if the request included either a USERNAME or USERHASH attribute and a valid MESSAGE-INTEGRITY".
#[test]
fn nobody_is_redirected_before_authentication() {
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

/// A server that is leaving refuses new allocations and keeps the old.
#[test]
fn a_draining_server_keeps_what_it_has() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    let octets = Outgoing::allocate().encode(caller.credentials.as_ref());
    world.change_policy(|policy| policy.draining = true);
    assert!(world.permit(&mut caller, PEER).is_success());
    assert_eq!(world.send(&caller, PEER), to_peer(relayed));
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

/// Issue 3: "SOFTWARE optional, off by default" (RFC 8489 §6.3.1.1 and RFC 8656 §5 would have it in responses).
#[test]
fn software_is_sent_only_where_the_operator_says_so() {
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

/// Issue 3: old clients "still work, as the operator's policy allows": where it does not, SHA-1 and MD5 get 401.
#[test]
fn the_operator_may_refuse_sha1() {
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

/// RFC 8489 §9.2: "If no security features are used, then a byte array with all 24 bits set to zero MUST be encoded instead."
#[test]
fn without_features_the_cookie_says_so() {
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

/// The design: "on failure another port is tried, at last 508."
#[test]
fn a_taken_port_is_passed_over() {
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

/// RFC 8656 §11.5: only types 3 and 11 (ICMPv4) or 1, 2 and 3 (ICMPv6) are passed on, and only where the destination is permitted;
/// §18.13: Error Data is the MTU for "fragmentation needed" and zero otherwise.
#[test]
fn icmp_errors_are_filtered_and_translated() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    let unreachable = Icmp {
        kind: 3,
        code: 1,
        data: 77,
    };
    assert!(
        world.icmp(PEER, relayed, unreachable).is_none(),
        "no permission"
    );
    world.permit(&mut caller, PEER);
    for (kind, code, data, reported) in [
        (3, 1, 77, Some(0)),
        (3, 4, 1400, Some(1400)),
        (11, 0, 5, Some(0)),
        (0, 0, 0, None),
        (5, 1, 0, None),
        (12, 0, 0, None),
    ] {
        let report = world.icmp(PEER, relayed, Icmp { kind, code, data });
        assert_eq!(report.is_some(), reported.is_some(), "type {kind}");
        let Some(report) = report else { continue };
        assert_eq!(
            report.address(XOR_PEER_ADDRESS),
            Some(PEER.parse().unwrap())
        );
        let value = report.get(ICMP).unwrap();
        assert_eq!(value[..4], [0, 0, kind, code]);
        assert_eq!(
            Some(u32::from_be_bytes(value[4..].try_into().unwrap())),
            reported,
            "type {kind} code {code}"
        );
    }
    world.pass_seconds(300.0);
    assert!(
        world.icmp(PEER, relayed, unreachable).is_none(),
        "the permission has expired"
    );
}

/// The same of ICMPv6: Error Data is the MTU of "packet too big" only.
#[test]
fn icmpv6_errors_are_filtered_and_translated() {
    let mut world = World::new();
    let mut caller = world.alice(CLIENT);
    let answer = world.ask(&mut caller, Outgoing::allocate().with(Attribute::family(2)));
    let relayed = answer.address(XOR_RELAYED_ADDRESS).unwrap();
    let peer = "[2606:4700::1]:7000";
    world.permit(&mut caller, peer);
    for (kind, code, data, reported) in [
        (1, 4, 9, Some(0)),
        (2, 0, 1280, Some(1280)),
        (3, 0, 9, Some(0)),
        (4, 0, 9, None),
        (128, 0, 9, None),
    ] {
        let report = world.icmp(peer, relayed, Icmp { kind, code, data });
        let value = report.as_ref().and_then(|r| r.get(ICMP));
        let expected =
            reported.map(|data: u32| [&[0, 0, kind, code][..], &data.to_be_bytes()].concat());
        assert_eq!(value, expected.as_deref(), "type {kind}");
    }
}

/// RFC 6062 §5.2 and §5.3: "If no ConnectionBind request associated with this peer data connection is received after 30 seconds, the peer
/// data connection MUST be closed."
#[test]
fn a_data_connection_waits_30_seconds_for_its_client() {
    for by_peer in [false, true] {
        for (elapsed, outcome) in [(29.9, None), (30.1, Some(400))] {
            let mut world = World::new();
            let (mut control, relayed) = tcp_relay(&mut world);
            let id = match by_peer {
                false => {
                    let connect = Outgoing::connect(PEER.parse().unwrap());
                    assert!(
                        world.try_ask(&control, connect).is_none(),
                        "the answer waits for the connection"
                    );
                    let answer = world.connected(world.connecting[0], true).unwrap();
                    answer.number(CONNECTION_ID).unwrap()
                }
                true => {
                    world.permit(&mut control, PEER);
                    let (_, attempt) = world.accepted(relayed, PEER);
                    attempt.unwrap().number(CONNECTION_ID).unwrap()
                }
            };
            world.pass_seconds(elapsed);
            let mut data = world.caller_over("192.0.2.10:5001", Transport::Tcp);
            world.login(&mut data, "alice", "wonderland");
            let bind = Outgoing::connection_bind(&id.to_be_bytes());
            assert_eq!(
                world.ask(&mut data, bind).error(),
                outcome,
                "after {elapsed} s"
            );
            assert_eq!(world.hung_up.len(), usize::from(outcome.is_some()));
            assert_eq!(world.spliced.len(), usize::from(outcome.is_none()));
        }
    }
}

/// RFC 6062 §5.2: a failed attempt gets 447, a second one to the same peer meanwhile 446, and a retransmission no second attempt.
#[test]
fn a_connect_under_way_is_the_only_one() {
    let mut world = World::new();
    let (control, _) = tcp_relay(&mut world);
    let connect = || Outgoing::connect(PEER.parse().unwrap());
    let first = connect();
    assert!(world.try_ask(&control, first.clone()).is_none());
    assert!(world.try_ask(&control, first).is_none());
    assert_eq!(
        world.try_ask(&control, connect()).unwrap().error(),
        Some(446)
    );
    assert_eq!(world.connecting.len(), 1);
    assert_eq!(
        world.connected(world.connecting[0], false).unwrap().error(),
        Some(447)
    );
    assert!(
        world.try_ask(&control, connect()).is_none(),
        "the next attempt is a new one"
    );
    assert_eq!(world.connecting.len(), 2);
}

/// RFC 6062 §5.5: "If the allocation associated with a data connection expires, the data connection MUST be closed", bound or not.
#[test]
fn data_connections_end_with_their_allocation() {
    let mut world = World::new();
    let (mut control, relayed) = tcp_relay(&mut world);
    world.pass_seconds(590.0);
    world.permit(&mut control, PEER);
    let (connection, _) = world.accepted(relayed, PEER);
    assert!(connection.is_some());
    world.pass_seconds(10.0);
    assert_eq!(world.hung_up, [connection.unwrap()]);
    assert!(world.sockets.is_empty());
}

/// A client whose connection closes loses its allocation at once.
#[test]
fn a_closed_connection_ends_its_allocation() {
    let mut world = World::new();
    let mut caller = world.caller_over(CLIENT, Transport::Tcp);
    world.login(&mut caller, "alice", "wonderland");
    world.ask(&mut caller, Outgoing::allocate());
    world.server.client_disconnected(world.now, &caller.client);
    world.perform();
    assert_eq!(
        (world.sockets.len(), &world.ended[..]),
        (0, &[EndReason::Disconnected][..])
    );
}

/// Thousands of short lives leave nothing behind: no timer, no socket, no place in a quota.
#[test]
fn nothing_is_left_of_what_has_ended() {
    let mut world = World::with(
        |policy| {
            policy.limits = Limits {
                allocations: 3,
                ..Limits::default()
            }
        },
        50_000..=50_009,
        0,
    );
    for round in 0..2000_u32 {
        let (mut caller, _) =
            world.allocated(&format!("192.0.2.{}:{}", round % 250 + 1, 1000 + round));
        world.bind(&mut caller, 0x4000, PEER);
        match round % 3 {
            0 => drop(world.refresh(&mut caller, 0)),
            1 => world.pass_seconds(600.0),
            _ => {
                world.server.client_disconnected(world.now, &caller.client);
                world.perform();
            }
        }
        assert!(world.sockets.is_empty() && world.server.allocation_count() == 0);
    }
    world.pass_seconds(1000.0);
    assert_eq!(world.server.next_timeout(), None);
}

/// A caller over TCP with a TCP relay.
fn tcp_relay(world: &mut World) -> (Caller, SocketAddr) {
    let mut control = world.caller_over(CLIENT, Transport::Tcp);
    world.login(&mut control, "alice", "wonderland");
    let answer = world.ask(&mut control, Outgoing::allocate_tcp());
    (control, answer.address(XOR_RELAYED_ADDRESS).unwrap())
}

fn to_peer(relayed: SocketAddr) -> Arrival {
    Arrival::Peer {
        from: relayed,
        to: PEER.parse().unwrap(),
    }
}

const NANOSECOND: Duration = Duration::from_nanos(1);
const CLIENT: &str = "192.0.2.10:5000";
const OTHER_CLIENT: &str = "192.0.2.11:5000";
const PEER: &str = "8.8.8.8:7000";
const OTHER_PEER: &str = "8.8.4.4:7000";
const PORTS: std::ops::RangeInclusive<u16> = 49_152..=65_535;
