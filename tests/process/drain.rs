//! Issue 8: "Drain (SIGTERM, or `POST /drain` with a deadline): no new allocations (300 Try Alternate to a configured sibling, or
//! 508), running ones live until they end or the deadline, `/readyz` answers 503 at once; [...] a second SIGTERM ends at once."

use crate::client::{PASSWORD, Peer, USER};
use crate::codec::Outgoing;
use crate::fixture::Setup;
use crate::operating::{is_gone, json, signal, until};

#[test]
fn sigterm_lets_calls_end_and_takes_no_new_ones() {
    let server = Setup::new().flag("--drain-timeout", "10m").flag("--web", "off").start();
    assert!(server.get("/readyz").0.contains("200"));
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(508));
    client.send_channel(0x4000, b"still");
    assert_eq!(peer.receive().1, b"still");
    assert_eq!(server.metric("hairpin_draining", &[]), 1.0);
    client.ask(Outgoing::request(crate::codec::REFRESH).with(crate::codec::Attribute::lifetime(0)));
    until("the end", || is_gone(&server));
}

#[test]
fn a_sibling_gets_the_new_clients() {
    let setup = Setup::new().flag("--drain-timeout", "10m").flag("--alternate-server", "127.0.0.1:9");
    let server = setup.flag("--web", "off").start();
    let mut client = server.udp();
    client.allocate();
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(Outgoing::allocate()).error(), Some(300));
}

#[test]
fn a_second_sigterm_and_a_deadline_end_it() {
    let server = Setup::new().flag("--drain-timeout", "10m").flag("--web", "off").start();
    server.udp().allocate();
    signal(&server, "TERM");
    until("503", || server.get("/readyz").0.contains("503"));
    signal(&server, "TERM");
    until("the end", || is_gone(&server));

    let server = Setup::new().flag("--web", "off").start();
    server.udp().allocate();
    let answer = json(&server, "POST", "/drain?deadline=100ms");
    assert_eq!((answer["draining"].as_bool(), answer["allocations"].as_u64()), (Some(true), Some(1)));
    until("the end", || is_gone(&server));
}

#[test]
fn an_empty_server_ends_at_once() {
    let server = Setup::new().flag("--drain-timeout", "10m").flag("--web", "off").start();
    signal(&server, "TERM");
    until("the end", || is_gone(&server));
}
