//! Handover: a new server process takes over the ports, and calls go on.

use crate::listeners::Calling;
use crate::reload::flow;
use crate::support::client::{Client, Peer};
use crate::support::codec::{Attribute, Outgoing, REFRESH};
use crate::support::directory::Directory;
use crate::support::operator::{signal, until};
use crate::support::process::{Server, Setup};
use std::time::{Duration, Instant};

fn setup(directory: &Directory) -> Setup {
    let socket = directory.join("handover");
    Setup::new()
        .flag("--web", "off")
        .flag("--drain-timeout", "10m")
        .flag("--handover", socket.to_str().unwrap())
}

fn has_ended(server: &Server) -> bool {
    !std::path::Path::new(&format!("/proc/{}", server.pid)).exists()
}

/// Forty calls, half of them over TCP, lose no packet during two handovers.
#[test]
fn calls_lose_no_packet_during_handovers() {
    let directory = Directory::new("handover-flows");
    let setup = setup(&directory);
    let first = setup.start();
    let end = Instant::now() + Duration::from_secs(8);
    let (second, third) = std::thread::scope(|scope| {
        let start = |server: &Server| -> Vec<_> {
            let clients: Vec<Client> = (0..20)
                .map(|at| {
                    if at % 2 == 0 {
                        server.udp()
                    } else {
                        server.tcp()
                    }
                })
                .collect();
            let flows = clients
                .into_iter()
                .map(|client| scope.spawn(move || flow(client, end)))
                .collect();
            until("their allocations", || {
                server.metric("hairpin_allocations", &[]) == 20.0
            });
            flows
        };
        let mut flows = start(&first);
        let second = setup.start_in_place_of(&first);
        flows.extend(start(&second));
        let third = setup.start_in_place_of(&second);
        assert_eq!(third.metric("hairpin_allocations", &[]), 0.0);
        for flow in flows {
            let (sent, lost) = flow.join().unwrap();
            assert!(sent > 50 && lost == 0, "{lost} of {sent} lost");
        }
        (second, third)
    });
    // TCP allocations end with their connection. UDP allocations would live on.
    assert!(!has_ended(&first) && !has_ended(&second));
    let (mut udp, mut tcp) = (third.udp(), third.tcp());
    udp.allocate();
    tcp.allocate();
    assert_eq!(third.metric("hairpin_allocations", &[]), 2.0);
    signal(&third, "INT");
}

#[test]
fn the_old_server_stops_with_its_last_call_and_its_client_reaches_the_new_one() {
    let directory = Directory::new("handover-end");
    let setup = setup(&directory);
    let old = setup.start();
    let mut client = old.udp();
    let (relayed, peer) = (client.allocate(), Peer::v4());
    client.bind(0x4000, peer.address);
    let new = setup.start_in_place_of(&old);
    old.wait_for_line("another server has taken over the ports");
    assert!(new.get("/readyz").0.contains("200"));
    let mut late = new.udp();
    late.allocate();
    peer.send(relayed, b"still by the old one");
    assert_eq!(
        client.channel_data(),
        (0x4000, b"still by the old one".to_vec())
    );
    assert!(client.ask(Outgoing::request(REFRESH)).is_success());
    assert_eq!(new.metric("hairpin_allocations", &[]), 1.0);
    client.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    until("the old server's end", || has_ended(&old));
    client.credentials = None;
    client.allocate();
    assert_eq!(new.metric("hairpin_allocations", &[]), 2.0);
    signal(&new, "INT");
}

/// The kernel distributes datagrams over all sockets of an address, so whenever the old server
/// closes one, another shard may receive the packets of the new server's clients.
#[test]
fn calls_of_the_new_server_survive_the_end_of_the_old_one() {
    let directory = Directory::new("handover-outlive");
    let setup = setup(&directory);
    let old = setup.start();
    let earlier: Vec<Calling> = (0..6).map(|_| Calling::at(old.v4)).collect();
    let new = setup.start_in_place_of(&old);
    old.wait_for_line("another server has taken over the ports");
    let mut later: Vec<Calling> = (0..16).map(|_| Calling::at(new.v4)).collect();
    for mut call in earlier {
        call.goes_on();
        call.ends();
        later.iter_mut().for_each(Calling::goes_on);
    }
    until("the old server's end", || has_ended(&old));
    later.iter_mut().for_each(Calling::goes_on);
    assert_eq!(new.metric("hairpin_allocations", &[]), 16.0);
    later.iter_mut().for_each(Calling::ends);
    signal(&new, "INT");
}

#[test]
fn a_new_server_that_fails_to_start_changes_nothing() {
    let directory = Directory::new("handover-failure");
    let setup = setup(&directory);
    let old = setup.start();
    let mut client = old.udp();
    client.allocate();
    let error = setup
        .clone()
        .flag("--relay-address", "192.0.2.1")
        .fail_in_place_of(&old);
    assert!(error.contains("192.0.2.1"), "{error}");
    old.wait_for_line("did not take over");
    assert!(client.ask(Outgoing::request(REFRESH)).is_success());
    let mut late = [old.udp(), old.tcp()];
    for client in &mut late {
        client.allocate();
    }
    assert_eq!(old.metric("hairpin_allocations", &[]), 3.0);
    let new = setup.start_in_place_of(&old);
    new.udp().allocate();
    signal(&new, "INT");
}
