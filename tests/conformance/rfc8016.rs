//! RFC 8016: an allocation moves with its client to another five-tuple.

use crate::support::TIMEOUT;
use crate::support::client::{Client, PASSWORD, Packet, Peer, USER};
use crate::support::codec::*;
use crate::support::process::{OTHER_PASSWORD, OTHER_USER, Server};
use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::policy::realm::Realm;
use hairpin::turn::{Policy, RelayAddress};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// RFC 8016 §3.1.2: the success response to an Allocate with an empty MOBILITY-TICKET "includes a
/// STUN MOBILITY-TICKET attribute".
#[test]
fn a_mobility_ticket_is_returned_on_request() {
    for mut client in Server::shared().each() {
        client.login(USER, PASSWORD);
        let answer = client.ask(Outgoing::allocate().with(ticket(b"")));
        assert!(answer.is_success());
        assert!(
            answer
                .get(MOBILITY_TICKET)
                .is_some_and(|t| t.len() >= 16 && t.len() < 400),
            "{answer:?}"
        );
    }
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    assert!(!client.ask(Outgoing::allocate()).has(MOBILITY_TICKET));
}

#[test]
fn a_retransmitted_allocate_gets_a_valid_ticket() {
    let server = Server::shared();
    let mut client = server.udp();
    client.login(USER, PASSWORD);
    let octets = Outgoing::allocate()
        .with(ticket(b""))
        .encode(client.credentials.as_ref());
    client.ask_raw(&octets);
    let again = client.ask_raw(&octets);
    let mut moved = server.udp();
    moved.login(USER, PASSWORD);
    assert!(
        moved
            .ask(refresh(again.get(MOBILITY_TICKET).unwrap()))
            .is_success()
    );
}

/// RFC 8016 §3.1.2: "If the MOBILITY-TICKET attribute is included and has a non-zero length, then
/// the server will generate an error response with an error code of 400 (Bad Request)."
#[test]
fn allocate_with_a_ticket_gets_400() {
    let mut client = Server::shared().udp();
    client.login(USER, PASSWORD);
    assert_eq!(
        client
            .ask(Outgoing::allocate().with(ticket(b"something")))
            .error(),
        Some(400)
    );
}

/// RFC 8016 §3.2.2: data goes to the old five-tuple "until it receives a Send Indication or
/// ChannelData message from the client on the new 5-tuple", then to the new one, over the same
/// channels, for all transports and families.
#[test]
fn an_allocation_moves_with_its_channels() {
    let server = Server::shared();
    for from in 0..4 {
        for to in 0..4 {
            let mut old = one_of(server, from);
            let (relayed, first_ticket) = mobile(&mut old);
            let peer = Peer::v4();
            old.bind(0x4000, peer.address);
            let mut new = one_of(server, to);
            let answer = take_over(&mut new, &first_ticket);
            let second_ticket = answer.get(MOBILITY_TICKET).expect("a new ticket");
            assert_ne!(second_ticket, first_ticket);
            assert!(answer.number(LIFETIME).is_some());
            peer.send(relayed, b"still to the old");
            assert_eq!(old.channel_data(), (0x4000, b"still to the old".to_vec()));
            old.send_channel(0x4000, b"from the old");
            assert_eq!(peer.receive(), (relayed, b"from the old".to_vec()));
            new.send_channel(0x4000, b"from the new");
            assert_eq!(peer.receive(), (relayed, b"from the new".to_vec()));
            peer.send(relayed, b"to the new");
            assert_eq!(new.channel_data(), (0x4000, b"to the new".to_vec()));
            assert!(new.refresh(700).is_success());
            new.permit(Peer::v4().address);
        }
    }
}

/// RFC 8016 §3.2.2: a Send indication on the new five-tuple completes the move too.
#[test]
fn the_old_five_tuple_is_free_after_the_move() {
    let server = Server::shared();
    let mut old = server.udp();
    let (relayed, first_ticket) = mobile(&mut old);
    let peer = Peer::v4();
    old.permit(peer.address);
    let mut new = server.udp();
    take_over(&mut new, &first_ticket);
    new.send_to(peer.address, b"here I am");
    assert_eq!(peer.receive(), (relayed, b"here I am".to_vec()));
    old.send_to(peer.address, b"no allocation");
    assert_eq!(old.refresh(600).error(), Some(437));
    peer.send(relayed, b"for the new");
    assert_eq!(new.data(), (peer.address, b"for the new".to_vec()));
    assert!(old.allocate() != relayed);
}

/// In both directions, also when the new five-tuple belongs to another shard.
#[test]
fn no_datagram_is_lost_over_many_moves() {
    let server = Server::shared();
    let mut current = server.udp();
    let (relayed, mut held) = mobile(&mut current);
    let peer = Peer::v4();
    current.bind(0x4000, peer.address);
    for round in 0..20_u32 {
        let mut next = if round % 3 == 2 {
            server.tcp()
        } else {
            server.udp()
        };
        current.send_channel(0x4000, &round.to_be_bytes());
        peer.send(relayed, &round.to_be_bytes());
        held = take_over(&mut next, &held)
            .get(MOBILITY_TICKET)
            .unwrap()
            .to_vec();
        assert_eq!(peer.receive().1, round.to_be_bytes());
        assert_eq!(current.channel_data().1, round.to_be_bytes());
        next.send_channel(0x4000, b"moved");
        assert_eq!(peer.receive(), (relayed, b"moved".to_vec()));
        current = next;
    }
    peer.send(relayed, b"at last");
    assert_eq!(current.channel_data().1, b"at last");
}

/// RFC 8016 §3.2.2: "If the ticket is invalid, then the server MUST reject the request with a 400
/// (Bad Request) error."
#[test]
fn an_invalid_ticket_gets_400() {
    let server = Server::shared();
    let mut owner = server.udp();
    let (_, genuine) = mobile(&mut owner);
    let mut thief = server.udp();
    thief.login(USER, PASSWORD);
    let mut changed = genuine.clone();
    for at in [0, genuine.len() / 2, genuine.len() - 1] {
        changed[at] ^= 1;
        assert_eq!(
            thief.ask(refresh(&changed)).error(),
            Some(400),
            "octet {at}"
        );
        changed[at] ^= 1;
    }
    for ticket in [
        &b"x"[..],
        &[0; 64],
        &genuine[..genuine.len() - 1],
        &[7; 300],
    ] {
        assert_eq!(thief.ask(refresh(ticket)).error(), Some(400));
    }
    assert!(thief.ask(refresh(&genuine)).is_success());
}

/// RFC 8016 §3.2.2: the stored five-tuple gets 400, another user 441, and the allocation stays.
#[test]
fn a_ticket_is_valid_for_its_owner_on_another_five_tuple_only() {
    let server = Server::shared();
    let mut owner = server.udp();
    let (_, genuine) = mobile(&mut owner);
    assert_eq!(owner.ask(refresh(&genuine)).error(), Some(400));
    let mut other = server.udp();
    other.login(OTHER_USER, OTHER_PASSWORD);
    assert_eq!(other.ask(refresh(&genuine)).error(), Some(441));
    let mut anonymous = server.udp();
    assert_eq!(anonymous.exchange(&refresh(&genuine)).error(), Some(401));
    assert!(owner.refresh(600).is_success());
}

#[test]
fn a_ticket_of_a_deleted_allocation_gets_437() {
    let server = Server::shared();
    let mut owner = server.udp();
    let (_, genuine) = mobile(&mut owner);
    owner.refresh(0);
    let mut late = server.udp();
    late.login(USER, PASSWORD);
    assert_eq!(late.ask(refresh(&genuine)).error(), Some(437));
}

/// RFC 8016 §3.2.2: "The old ticket can only be used for the purposes of retransmission."
#[test]
fn an_old_ticket_is_valid_for_retransmissions_only() {
    let server = Server::shared();
    let mut owner = server.udp();
    let (_, first_ticket) = mobile(&mut owner);
    let mut new = server.udp();
    new.login(USER, PASSWORD);
    let octets = refresh(&first_ticket).encode(new.credentials.as_ref());
    assert!(new.ask_raw(&octets).is_success());
    assert!(
        new.ask_raw(&octets).is_success(),
        "a lost answer is asked for again"
    );
    let mut thief = server.udp();
    thief.login(USER, PASSWORD);
    assert_eq!(thief.ask(refresh(&first_ticket)).error(), Some(400));
}

#[test]
fn a_five_tuple_with_an_allocation_cannot_take_over_another() {
    let server = Server::shared();
    // Often enough for both to be on one shard and on different shards.
    for _ in 0..16 {
        let mut owner = server.udp();
        let (_, genuine) = mobile(&mut owner);
        let mut busy = server.udp();
        busy.allocate();
        assert_eq!(busy.ask(refresh(&genuine)).error(), Some(437));
        assert!(owner.refresh(0).is_success() && busy.refresh(0).is_success());
    }
}

/// For Allocate and for tickets, on whichever shard the allocation was.
#[test]
fn a_five_tuple_whose_allocation_was_deleted_is_free() {
    let server = Server::shared();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = || Client::from_udp(socket.try_clone().unwrap(), server.v4);
    // Often enough for every order of the two shards.
    for _ in 0..16 {
        let (relayed, held) = mobile(&mut server.udp());
        let mut new = client();
        take_over(&mut new, &held);
        let peer = Peer::v4();
        new.permit(peer.address);
        new.send_to(peer.address, b"here");
        assert_eq!(peer.receive(), (relayed, b"here".to_vec()));
        assert!(new.refresh(0).is_success());
    }
    let mut last = client();
    last.allocate();
    assert!(last.refresh(0).is_success());
}

/// RFC 6062 §5.3 with RFC 8016 §3.2.2: only requests arrive on the control connection of a TCP
/// allocation, so the Refresh alone completes the move. The connection may be idle afterwards,
/// also on another shard than the allocation. In this test an idle connection without an
/// allocation is closed after one second.
#[test]
fn a_tcp_allocation_moves_by_refresh_and_its_connection_may_stay_idle() {
    let mut realm = Realm::new("test.org");
    realm.credentials.add_user("test.org", USER, PASSWORD);
    realm.peers.allow = vec!["127.0.0.0/8".parse().unwrap()];
    let local = Ipv4Addr::LOCALHOST.into();
    let relay = RelayAddress {
        local,
        external: local,
    };
    let mut policy = Policy::new(realm, vec![relay]);
    policy.tcp_relays = true;
    let mut plan = Plan::new(["127.0.0.1:0".parse().unwrap()], policy);
    (plan.shards, plan.connection_limits.idle_timeout) = (4, Duration::from_secs(1));
    let supervisor = Supervisor::start(plan).unwrap();
    let connect = || Client::tcp(supervisor.listener_addresses()[0]);
    let moved: Vec<_> = (0..8)
        .map(|_| {
            let mut old = connect();
            old.login(USER, PASSWORD);
            let answer = old.ask(Outgoing::allocate_tcp().with(ticket(b"")));
            let relayed = answer.address(XOR_RELAYED_ADDRESS).unwrap();
            let mut new = connect();
            take_over(&mut new, answer.get(MOBILITY_TICKET).unwrap());
            new.permit("127.0.0.1:9".parse().unwrap());
            (old, new, relayed)
        })
        .collect();
    let mut silent = connect();
    assert!(
        silent.is_closed_within(TIMEOUT),
        "as long as silence may last"
    );
    let mut another = connect();
    assert!(another.is_closed_within(TIMEOUT), "and once more");
    for (_old, mut new, relayed) in moved {
        let peer = TcpStream::connect(relayed).unwrap();
        let Packet::Stun(attempt) = new.receive() else {
            panic!("no ConnectionAttempt")
        };
        let attempted = (attempt.method, attempt.address(XOR_PEER_ADDRESS));
        assert_eq!(
            attempted,
            (CONNECTION_ATTEMPT, Some(peer.local_addr().unwrap()))
        );
    }
    supervisor.stop();
}

fn ticket(value: &[u8]) -> Attribute {
    Attribute::plain(MOBILITY_TICKET, value)
}

fn refresh(held: &[u8]) -> Outgoing {
    Outgoing::request(REFRESH).with(ticket(held))
}

/// Allocates with a ticket.
fn mobile(client: &mut Client) -> (SocketAddr, Vec<u8>) {
    client.login(USER, PASSWORD);
    let answer = client.ask(Outgoing::allocate().with(ticket(b"")));
    assert!(answer.is_success(), "{answer:?}");
    (
        answer.address(XOR_RELAYED_ADDRESS).unwrap(),
        answer.get(MOBILITY_TICKET).unwrap().to_vec(),
    )
}

fn take_over(new: &mut Client, held: &[u8]) -> Incoming {
    new.login(USER, PASSWORD);
    let answer = new.ask(refresh(held));
    assert!(answer.is_success(), "{answer:?}");
    answer
}

fn one_of(server: &Server, index: usize) -> Client {
    server.each().into_iter().nth(index).unwrap()
}
