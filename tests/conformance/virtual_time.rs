//! Lifetimes of allocations, permissions, channels, reservations, nonces and pending connections,
//! in virtual time, to the nanosecond.

use crate::auth::rest_password;
use crate::support::codec::*;
use crate::world::{
    CLIENT, Destination, OTHER_CLIENT, OTHER_PEER, PEER, SECRET_TEXT, UNIX, VirtualClient, World,
};
use hairpin::turn::{Discard, EndReason, Instant, Limits, Transport};
use std::net::SocketAddr;
use std::time::Duration;

/// RFC 8656 §6 and §7.2.
#[test]
fn an_allocation_expires_exactly_at_its_lifetime() {
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

/// RFC 8656 §8.2: "the allocation's time-to-expiry is set to the "desired lifetime"", counted from
/// the Refresh on.
#[test]
fn a_lifetime_counts_from_the_refresh() {
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

/// RFC 8656 §8.2: to no less than the default lifetime.
#[test]
fn a_refresh_may_shorten_the_lifetime() {
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
        Destination::Data(PEER.parse().unwrap())
    );
    assert_eq!(world.send(&caller, PEER), Destination::to_peer(relayed));
    world.pass(NANOSECOND);
    assert_eq!(
        world.datagram(PEER, relayed),
        Destination::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.send(&caller, PEER),
        Destination::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §9: CreatePermission and ChannelBind both reset the time-to-expiry, and "may be freely
/// intermixed on a permission".
#[test]
fn create_permission_and_channel_bind_refresh_a_permission() {
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
        assert_eq!(world.send(&caller, PEER), Destination::to_peer(relayed));
    }
    world.pass_seconds(1.0);
    assert_eq!(
        world.send(&caller, PEER),
        Destination::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §11.2: "Note that a Send indication never causes the server to refresh the permission";
/// §12.6: ChannelData "MUST NOT refresh either the channel binding or the permission towards the
/// peer"; packets of the peer refresh neither.
#[test]
fn data_refreshes_neither_permissions_nor_channels() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.bind(&mut caller, 0x4000, PEER);
    for _ in 0..299 {
        world.pass_seconds(1.0);
        assert_eq!(
            world.channel_data(&caller, 0x4000),
            Destination::to_peer(relayed)
        );
        assert_eq!(world.send(&caller, PEER), Destination::to_peer(relayed));
        assert_eq!(world.datagram(PEER, relayed), Destination::Channel(0x4000));
    }
    world.pass_seconds(1.0);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Destination::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.send(&caller, PEER),
        Destination::Dropped(Discard::NoPermission)
    );
    assert_eq!(
        world.datagram(PEER, relayed),
        Destination::Dropped(Discard::NoPermission)
    );
}

/// RFC 8656 §12: "A channel binding lasts for 10 minutes unless refreshed", with its permission
/// kept alive apart.
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
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Destination::to_peer(relayed)
    );
    assert_eq!(world.datagram(PEER, relayed), Destination::Channel(0x4000));
    world.pass(NANOSECOND);
    assert!(matches!(
        world.channel_data(&caller, 0x4000),
        Destination::Dropped(_)
    ));
    assert_eq!(
        world.datagram(PEER, relayed),
        Destination::Data(PEER.parse().unwrap()),
        "permitted still, and no longer a channel"
    );
}

/// A channel outlives its permission.
#[test]
fn a_channel_relays_again_once_its_permission_is_back() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.bind(&mut caller, 0x4000, PEER);
    world.pass_seconds(301.0);
    assert!(matches!(
        world.channel_data(&caller, 0x4000),
        Destination::Dropped(_)
    ));
    world.permit(&mut caller, PEER);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Destination::to_peer(relayed)
    );
    assert_eq!(world.datagram(PEER, relayed), Destination::Channel(0x4000));
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
        assert_eq!(
            world.channel_data(&caller, 0x4000),
            Destination::to_peer(relayed)
        );
    }
}

/// RFC 8656 §12: 5 minutes have to pass after an expiry "before attempting to bind the channel
/// number to a different transport address or the transport address to a different channel number";
/// the same pair may be bound at once.
#[test]
fn an_expired_channel_blocks_its_number_and_peer_for_five_minutes() {
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
    assert_eq!(world.datagram(PEER, relayed), Destination::Channel(0x4001));
    assert_eq!(
        world.datagram(OTHER_PEER, relayed),
        Destination::Channel(0x4000)
    );
}

/// RFC 8656 §9 and §12.
#[test]
fn permissions_and_channels_end_with_their_allocation() {
    let mut world = World::new();
    let (mut caller, relayed) = world.allocated(CLIENT);
    world.pass_seconds(500.0);
    world.bind(&mut caller, 0x4000, PEER);
    world.pass_seconds(99.9);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Destination::to_peer(relayed)
    );
    world.now = world.now + Duration::from_millis(100);
    assert!(
        matches!(world.channel_data(&caller, 0x4000), Destination::Dropped(_)),
        "even before a timer ran"
    );
    world.pass(Duration::ZERO);
    assert_eq!(
        world.channel_data(&caller, 0x4000),
        Destination::Dropped(Discard::NoAllocation)
    );
    assert_eq!(world.datagram(PEER, relayed), Destination::Nothing);
}

/// RFC 8656 §8: each has a time-to-expiry of its own.
#[test]
fn the_addresses_of_a_dual_allocation_expire_separately() {
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

/// RFC 8656 §7.2: "The server MUST hold this reservation for at least 30 seconds". Then the port
/// is free.
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

/// A user who allocates and deletes in turn holds no ports.
#[test]
fn a_reservation_ends_with_its_allocation_unless_redeemed() {
    for redeem in [false, true] {
        let mut world = World::with(|_| {}, 50_000..=50_001, 0);
        let mut first = world.alice(CLIENT);
        let pair = Outgoing::allocate().with(Attribute::even_port(true));
        let answer = world.ask(&mut first, pair);
        let token = answer.get(RESERVATION_TOKEN).unwrap().to_vec();
        let claim = || Outgoing::allocate().with(Attribute::plain(RESERVATION_TOKEN, &token));
        let mut second = world.alice(OTHER_CLIENT);
        if redeem {
            assert!(world.ask(&mut second, claim()).is_success());
        }
        assert!(world.refresh(&mut first, 0).is_success());
        let mut third = world.alice("192.0.2.30:5000");
        assert_eq!(world.ask(&mut third, claim()).error(), Some(508));
        assert!(world.ask(&mut third, Outgoing::allocate()).is_success());
        let mut fourth = world.alice("192.0.2.31:5000");
        let outcome = world.ask(&mut fourth, Outgoing::allocate()).error();
        assert_eq!(outcome, redeem.then_some(508), "redeemed: {redeem}");
    }
}

/// Otherwise one user could take every reservation of the server.
#[test]
fn a_user_has_at_most_8_reservations() {
    let mut world = World::new();
    let pair = || Outgoing::allocate().with(Attribute::even_port(true));
    let mut callers: Vec<_> = (0..9)
        .map(|number| world.alice(&format!("192.0.2.{}:5000", 100 + number)))
        .collect();
    let mut last = callers.pop().unwrap();
    for caller in &mut callers {
        assert!(world.ask(caller, pair()).is_success());
    }
    assert_eq!(world.ask(&mut last, pair()).error(), Some(508));
    let mut bob = world.caller("192.0.2.120:5000");
    world.login(&mut bob, "bob", "builder");
    assert!(world.ask(&mut bob, pair()).is_success(), "another user");
    world.refresh(&mut callers[3], 0);
    assert!(world.ask(&mut last, pair()).is_success());
    let mut late = world.alice("192.0.2.121:5000");
    assert_eq!(world.ask(&mut late, pair()).error(), Some(508));
    world.pass_seconds(30.1);
    assert!(
        world.ask(&mut late, pair()).is_success(),
        "all have expired"
    );
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

/// RFC 8656 §7.2: and makes no second allocation.
#[test]
fn a_retransmitted_allocate_gets_the_remaining_lifetime() {
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

#[test]
fn a_time_limited_username_is_accepted_until_its_second() {
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

/// RFC 6062 §5.4: an allocation goes on after its username has expired, and each of its
/// connections is bound on a connection of its own.
#[test]
fn an_expired_username_still_binds_connections_of_its_allocation() {
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

/// RFC 6062 §5.2 and §5.3: "If no ConnectionBind request associated with this peer data connection
/// is received after 30 seconds, the peer data connection MUST be closed."
#[test]
fn an_unbound_data_connection_is_closed_after_30_seconds() {
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
            assert_eq!(world.closed.len(), usize::from(outcome.is_some()));
            assert_eq!(world.spliced.len(), usize::from(outcome.is_none()));
        }
    }
}

/// RFC 6062 §5.2: a failed attempt gets 447, a second one to the same peer meanwhile 446, and a
/// retransmission starts no second attempt.
#[test]
fn a_pending_connect_excludes_a_second_one() {
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

/// RFC 6062 §5.5: "If the allocation associated with a data connection expires, the data connection
/// MUST be closed", bound or not.
#[test]
fn data_connections_end_with_their_allocation() {
    let mut world = World::new();
    let (mut control, relayed) = tcp_relay(&mut world);
    world.pass_seconds(590.0);
    world.permit(&mut control, PEER);
    let (connection, _) = world.accepted(relayed, PEER);
    assert!(connection.is_some());
    world.pass_seconds(10.0);
    assert_eq!(world.closed, [connection.unwrap()]);
    assert!(world.sockets.is_empty());
}

#[test]
fn a_closed_connection_deletes_its_allocation_at_once() {
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

/// After thousands of short allocations.
#[test]
fn deleted_allocations_leave_no_timer_socket_or_quota() {
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

/// A client over TCP with a TCP allocation.
fn tcp_relay(world: &mut World) -> (VirtualClient, SocketAddr) {
    let mut control = world.caller_over(CLIENT, Transport::Tcp);
    world.login(&mut control, "alice", "wonderland");
    let answer = world.ask(&mut control, Outgoing::allocate_tcp());
    (control, answer.address(XOR_RELAYED_ADDRESS).unwrap())
}

const NANOSECOND: Duration = Duration::from_nanos(1);
