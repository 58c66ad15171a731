//! RFC 8656 §13 and §21.4: rules that depend on the address families of both ends.

use crate::support::codec::*;
use crate::world::{PEER, PEER_V6, VirtualClient, World};
use hairpin::turn::{Forward, Transport};

/// RFC 8656 §13.1 to §13.3: "For both preferred and alternate behavior, the DONT-FRAGMENT attribute
/// MUST be ignored by the server", which is "only applicable for UDP-to-UDP relay and not for
/// TCP-to-UDP relay" (§13); §14: from IPv4 to IPv4 it counts.
#[test]
fn dont_fragment_applies_within_ipv4_and_from_streams() {
    for (client, transport, peer, heeded) in [
        (V4, Transport::Udp, PEER, true),
        (V4, Transport::Udp, PEER_V6, false),
        (V6, Transport::Udp, PEER, false),
        (V6, Transport::Udp, PEER_V6, false),
        (V4, Transport::Dtls, PEER, true),
        (V6, Transport::Dtls, PEER, false),
        (V4, Transport::Tcp, PEER, true),
        (V4, Transport::Tcp, PEER_V6, true),
        (V6, Transport::Tcp, PEER, true),
        (V6, Transport::Tls, PEER_V6, true),
    ] {
        let mut world = World::new();
        let mut caller = dual(&mut world, client, transport);
        assert!(world.permit(&mut caller, peer).is_success());
        for (asked, expected) in [(false, false), (true, heeded)] {
            let mut message =
                Outgoing::indication(SEND).with(Attribute::peer(peer.parse().unwrap()));
            message
                .attributes
                .extend(asked.then(|| Attribute::plain(DONT_FRAGMENT, b"")));
            let octets = message.with(Attribute::data(b"data")).encode(None);
            let forward = world.server.from_client(world.now, &caller.client, &octets);
            let Forward::ToPeer { dont_fragment, .. } = forward else {
                panic!("{forward:?}")
            };
            assert_eq!(
                dont_fragment, expected,
                "{client} over {transport:?} to {peer}, asked: {asked}"
            );
        }
        assert!(world.bind(&mut caller, 0x4000, peer).is_success());
        let octets = channel_data(0x4000, b"data", false);
        let forward = world.server.from_client(world.now, &caller.client, &octets);
        assert!(
            matches!(
                forward,
                Forward::ToPeer {
                    dont_fragment: false,
                    ..
                }
            ),
            "ChannelData asks for nothing"
        );
    }
}

/// RFC 8656 §21.4: "It is RECOMMENDED that TURN servers not accept allocation or channel-binding
/// requests from addresses known to be tunneled [...] In particular, a TURN server MUST NOT accept
/// Teredo or 6to4 addresses in these requests."
#[test]
fn tunneled_client_addresses_get_no_allocation() {
    for (client, outcome) in [
        ("[2001:0:4136:e378:8000:63bf:3fff:fdd2]:5000", Some(403)),
        ("[2001::1]:5000", Some(403)),
        ("[2002:c633:6401::1]:5000", Some(403)),
        ("[2002::]:5000", Some(403)),
        ("[2001:1::1]:5000", None),
        ("[2003::1]:5000", None),
        (V6, None),
    ] {
        let mut world = World::new();
        let mut caller = world.alice(client);
        assert_eq!(
            world.ask(&mut caller, Outgoing::allocate()).error(),
            outcome,
            "{client}"
        );
        assert_eq!(world.sockets.len(), usize::from(outcome.is_none()));
    }
}

/// A client with a relayed address of each family.
fn dual(world: &mut World, client: &str, transport: Transport) -> VirtualClient {
    let mut caller = world.caller_over(client, transport);
    world.login(&mut caller, "alice", "wonderland");
    let answer = world.ask(
        &mut caller,
        Outgoing::allocate().with(Attribute::additional_family(2)),
    );
    assert_eq!(answer.addresses(XOR_RELAYED_ADDRESS).len(), 2);
    caller
}

const V4: &str = "192.0.2.10:5000";
const V6: &str = "[2a00::10]:5000";
