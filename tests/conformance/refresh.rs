//! RFC 8656 §8: refreshing and deleting allocations.

use crate::allocate::dual;
use crate::support::client::{PASSWORD, Peer, USER};
use crate::support::codec::*;
use crate::support::process::Server;

/// RFC 8656 §8.2: the "desired lifetime" lies between the default and the maximum, or is zero.
#[test]
fn refresh_grants_zero_or_a_lifetime_between_default_and_maximum() {
    for mut client in Server::shared().both() {
        client.allocate();
        for (asked, granted) in [
            (1, 600),
            (600, 600),
            (1800, 1800),
            (3600, 3600),
            (7200, 3600),
            (u32::MAX, 3600),
        ] {
            assert_eq!(
                client.refresh(asked).number(LIFETIME),
                Some(granted),
                "asked for {asked}"
            );
        }
        let unasked = client.ask(Outgoing::request(REFRESH));
        assert_eq!(unasked.number(LIFETIME), Some(600));
    }
}

/// RFC 8656 §8.2: "If the "desired lifetime" is zero, then the request succeeds and the allocation
/// is deleted"; a retransmission gets 437.
#[test]
fn refresh_with_lifetime_zero_deletes_the_allocation() {
    for mut client in Server::shared().each() {
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.permit(peer.address);
        client.bind(0x4000, peer.address);
        let answer = client.refresh(0);
        assert!(answer.is_success());
        assert_eq!(answer.number(LIFETIME), Some(0));
        assert_eq!(client.refresh(0).error(), Some(437));
        assert_eq!(client.refresh(600).error(), Some(437));
        peer.send(relayed, b"too late");
        client.send_channel(0x4000, b"too late");
        assert!(client.fence().is_empty());
    }
}

/// RFC 8656 §9: "If an allocation expires, all its permissions expire with it"; §6: so do its
/// channels.
#[test]
fn a_new_allocation_on_the_five_tuple_has_no_permissions_or_channels() {
    let mut client = Server::shared().udp();
    client.allocate();
    let (old, new) = (Peer::v4(), Peer::v4());
    client.bind(0x4000, old.address);
    client.refresh(0);
    let relayed = client.allocate();
    client.send_channel(0x4000, b"unbound");
    client.send_to(old.address, b"no permission");
    client.bind(0x4000, new.address);
    client.send_channel(0x4000, b"bound anew");
    assert_eq!(new.receive(), (relayed, b"bound anew".to_vec()));
    old.socket.set_nonblocking(true).unwrap();
    assert!(old.socket.recv(&mut [0; 9]).is_err());
}

/// RFC 8656 §8.2: a REQUESTED-ADDRESS-FAMILY that "does not match the address family of the
/// allocation" gets 443.
#[test]
fn refresh_of_another_family_gets_443() {
    let mut client = Server::shared().udp();
    client.allocate();
    let refresh = |family| Outgoing::request(REFRESH).with(Attribute::family(family));
    assert_eq!(client.ask(refresh(2)).error(), Some(443));
    assert!(client.ask(refresh(1)).is_success());
}

/// RFC 8656 §8.1: "Deleting a single allocation destroys any permissions or channels associated
/// with that particular allocation; it MUST NOT affect any permissions or channels associated with
/// allocations for the other address family."
#[test]
fn one_half_of_a_dual_allocation_can_be_deleted() {
    for (gone, left) in [(1_u8, 2_u8), (2, 1)] {
        let mut client = Server::shared().udp();
        let relayed = dual(&mut client);
        let peers = [Peer::v4(), Peer::v6()];
        client.bind(0x4001, peers[0].address);
        client.bind(0x4002, peers[1].address);
        let delete = Outgoing::request(REFRESH)
            .with(Attribute::lifetime(0))
            .with(Attribute::family(gone));
        assert_eq!(client.ask(delete.clone()).number(LIFETIME), Some(0));
        client.send_channel(0x4000 + u16::from(gone), b"gone");
        peers[usize::from(gone) - 1].send(relayed[usize::from(gone) - 1], b"gone");
        let (left_peer, left_relayed) = (
            &peers[usize::from(left) - 1],
            relayed[usize::from(left) - 1],
        );
        client.send_channel(0x4000 + u16::from(left), b"left");
        assert_eq!(left_peer.receive(), (left_relayed, b"left".to_vec()));
        left_peer.send(left_relayed, b"back");
        assert_eq!(
            client.channel_data(),
            (0x4000 + u16::from(left), b"back".to_vec())
        );
        assert_eq!(
            client
                .try_bind(0x4003, peers[usize::from(gone) - 1].address)
                .error(),
            Some(443)
        );
        let again = Outgoing {
            id: fresh_id(),
            ..delete
        };
        assert_eq!(client.ask(again).error(), Some(443), "that family is gone");
        assert!(client.refresh(600).is_success());
    }
}

/// RFC 8656 §8: without REQUESTED-ADDRESS-FAMILY a Refresh concerns the whole dual allocation.
#[test]
fn a_dual_allocation_is_refreshed_and_deleted_as_one() {
    let mut client = Server::shared().udp();
    dual(&mut client);
    assert_eq!(client.refresh(1200).number(LIFETIME), Some(1200));
    for family in [1, 2] {
        let request = Outgoing::request(REFRESH)
            .with(Attribute::family(family))
            .with(Attribute::lifetime(900));
        assert_eq!(client.ask(request).number(LIFETIME), Some(900));
    }
    assert_eq!(client.refresh(0).number(LIFETIME), Some(0));
    assert_eq!(client.refresh(600).error(), Some(437));
}

/// No client can have the five-tuple again (RFC 8656 §7.2).
#[test]
fn closing_the_connection_frees_the_relayed_address() {
    let server = Server::shared();
    let mut client = server.tcp();
    let relayed = client.allocate();
    drop(client);
    let end = std::time::Instant::now() + crate::support::TIMEOUT;
    while std::net::UdpSocket::bind(relayed).is_err() {
        assert!(std::time::Instant::now() < end, "{relayed} is still open");
        std::thread::yield_now();
    }
}

/// RFC 8656 §8.2 and RFC 8489 §9.2.4.
#[test]
fn refresh_requires_authentication() {
    let mut client = Server::shared().udp();
    client.allocate();
    let bare = client.exchange(&Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    assert_eq!(bare.error(), Some(401));
    assert!(client.refresh(600).is_success());
    client.login_without_allocating(USER, PASSWORD);
    assert!(client.refresh(600).is_success(), "a fresh nonce is as good");
}
