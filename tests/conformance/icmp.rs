//! RFC 8656 §11.5: ICMP errors, in virtual time.

use crate::support::codec::*;
use crate::world::{CLIENT, PEER, World};
use hairpin::turn::Icmp;

/// RFC 8656 §11.5: only types 3 and 11 are passed on, and only for a permitted destination;
/// §18.13: Error Data is the MTU for "fragmentation needed" and zero otherwise.
#[test]
fn icmp_errors_are_filtered_by_type_and_permission() {
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

/// RFC 8656 §11.5: only types 1, 2 and 3 are passed on; §18.13: Error Data is the MTU for "packet
/// too big" and zero otherwise.
#[test]
fn icmpv6_errors_are_filtered_by_type() {
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
