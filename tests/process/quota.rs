//! Issue 8: "Quotas: allocations per user, per realm, per client address, in all; [...] bytes per second per allocation [...]
//! (token buckets; drops counted [...]); total bytes per user per period; new peer addresses per second per allocation [...].
//! 486 and 508 as the RFC says."

use crate::client::{PASSWORD, Peer, USER};
use crate::codec::{Attribute, CREATE_PERMISSION, Outgoing};
use crate::fixture::Setup;
use crate::operating::until;

#[test]
fn allocations_are_bounded_with_the_rfcs_codes() {
    for (flag, code) in [
        ("--user-allocations", 486),
        ("--realm-allocations", 486),
        ("--address-allocations", 486),
        ("--max-allocations", 508),
    ] {
        let server = Setup::new().flag("--web", "off").flag(flag, "1").start();
        let mut first = server.udp();
        first.allocate();
        let mut second = server.udp();
        second.login(USER, PASSWORD);
        assert_eq!(second.ask(Outgoing::allocate()).error(), Some(code), "{flag}");
        first.ask(Outgoing::request(crate::codec::REFRESH).with(Attribute::lifetime(0)));
        assert!(second.ask(Outgoing::allocate()).is_success(), "{flag}: the place is free again");
    }
}

#[test]
fn permissions_are_bounded() {
    let server = Setup::new().flag("--web", "off").flag("--permissions", "2").start();
    let mut client = server.udp();
    client.allocate();
    let permit = |last: u8| {
        let peer = format!("127.0.0.{last}:9").parse().unwrap();
        Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer))
    };
    assert!(client.ask(permit(1)).is_success() && client.ask(permit(2)).is_success());
    assert_eq!(client.ask(permit(3)).error(), Some(508));
    assert!(client.ask(permit(2)).is_success(), "one that is there is refreshed");
}

#[test]
fn bandwidth_is_bounded_and_drops_are_counted() {
    for flag in ["--allocation-bandwidth", "--user-bandwidth", "--realm-bandwidth", "--max-bandwidth"] {
        let server = Setup::new().flag("--web", "off").flag(flag, "10k").start();
        let mut client = server.udp();
        client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        for _ in 0..50 {
            client.send_channel(0x4000, &[1; 1000]);
        }
        client.fence();
        until(flag, || server.metric("hairpin_discards_total", &["bandwidth"]) >= 30.0);
    }
}

#[test]
fn bytes_of_a_period_are_bounded() {
    let server = Setup::new().flag("--web", "off").flag("--user-bytes", "5000").flag("--user-period", "1d").start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    for _ in 0..20 {
        client.send_channel(0x4000, &[1; 1000]);
    }
    client.fence();
    until("drops", || server.metric("hairpin_discards_total", &["bandwidth"]) >= 10.0);
    let mut second = server.udp();
    second.login(USER, PASSWORD);
    assert_eq!(second.ask(Outgoing::allocate()).error(), Some(486));
}

#[test]
fn new_peers_are_bounded() {
    let server = Setup::new().flag("--web", "off").flag("--new-peers", "5").start();
    let mut client = server.udp();
    client.allocate();
    let outcomes = (1..=50).map(|last| {
        let peer = format!("127.0.0.{last}:9").parse().unwrap();
        client.ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer))).error()
    });
    let refused = outcomes.filter(|error| *error == Some(508)).count();
    assert!(refused >= 30, "{refused} of 50 were refused");
}
