//! Listeners that a reload adds and removes, while allocations live on.

use crate::support::client::{Client, PASSWORD, Peer, USER};
use crate::support::codec::{Attribute, BINDING, Outgoing, REFRESH};
use crate::support::directory::Directory;
use crate::support::operator::{ask, json, on_file, until};
use crate::support::process::{Server, free_port};
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// A server whose file the test rewrites.
struct World {
    directory: Directory,
    server: Server,
    first: SocketAddr,
    second: SocketAddr,
}

impl World {
    fn start(name: &str) -> World {
        let directory = Directory::new(name);
        let (port, other) = (free_port(), free_port());
        let (first, second) = ([127, 0, 0, 1], [127, 0, 0, 1]);
        let (first, second) = (
            SocketAddr::from((first, port)),
            SocketAddr::from((second, other)),
        );
        let file = directory.write("hairpin.toml", &text(&[first]));
        let server = on_file(&file).without_listeners().start_at(port);
        World {
            directory,
            server,
            first,
            second,
        }
    }

    /// Makes the server listen at these addresses and on IPv6 loopback.
    fn listen(&self, at: &[SocketAddr]) -> serde_json::Value {
        self.directory.write("hairpin.toml", &text(at));
        json(&self.server, "POST", "/reload")
    }
}

fn text(at: &[SocketAddr]) -> String {
    let mut listed = format!("\"[::1]:{}\"", at[0].port());
    at.iter()
        .for_each(|address| listed += &format!(", \"{address}\""));
    format!("listen = [{listed}]\nuser = [\"{USER}:{PASSWORD}\"]\n")
}

/// Sends a packet each way through an allocation's channel.
pub fn talk(client: &mut Client, relayed: SocketAddr, peer: &Peer) {
    client.send_channel(0x4000, b"there");
    assert_eq!(peer.receive(), (relayed, b"there".to_vec()));
    peer.send(relayed, b"and back");
    assert_eq!(client.channel_data(), (0x4000, b"and back".to_vec()));
}

/// A UDP client with an allocation and a peer.
pub struct Calling {
    client: Client,
    relayed: SocketAddr,
    peer: Peer,
}

impl Calling {
    pub fn at(server: SocketAddr) -> Calling {
        let mut client = Client::udp(server);
        let (relayed, peer) = (client.allocate(), Peer::v4());
        client.bind(0x4000, peer.address);
        Calling {
            client,
            relayed,
            peer,
        }
    }

    /// Sends a packet each way, and a Refresh.
    pub fn goes_on(&mut self) {
        talk(&mut self.client, self.relayed, &self.peer);
        assert!(self.client.refresh(600).is_success());
    }

    pub fn ends(&mut self) {
        assert!(self.client.refresh(0).is_success());
    }
}

fn is_silent(at: SocketAddr) -> bool {
    let mut client = Client::udp(at);
    client.send(&Outgoing::request(BINDING));
    let socket = client.socket();
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    socket.recv_from(&mut [0; 100]).is_err()
}

#[test]
fn an_added_listener_serves_udp_and_tcp() {
    let world = World::start("listeners-added");
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, world.first.port()));
    let report = world.listen(&[world.first, world.second]);
    let listeners = json!({ "added": [world.second], "removed": [] });
    assert_eq!(
        report,
        json!({ "changed": ["listen"], "restart": [], "warnings": [], "listeners": listeners })
    );
    for client in [
        Client::udp(world.second),
        Client::tcp(world.second),
        Client::udp(world.first),
        Client::tcp(v6),
    ] {
        let mut client = client;
        let relayed = client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        talk(&mut client, relayed, &peer);
    }
    let relay = Outgoing::request(crate::support::codec::CREATE_PERMISSION)
        .with(Attribute::peer(world.second));
    let mut client = Client::udp(world.first);
    client.allocate();
    assert_eq!(
        client.ask(relay.clone()).error(),
        Some(403),
        "no relay reaches it"
    );
}

#[test]
fn a_removed_listener_keeps_its_clients_and_takes_no_new_ones() {
    let world = World::start("listeners-removed");
    world.listen(&[world.first, world.second]);
    let (mut udp, mut tcp) = (Client::udp(world.second), Client::tcp(world.second));
    let relayed = [udp.allocate(), tcp.allocate()];
    let peers = [Peer::v4(), Peer::v4()];
    udp.bind(0x4000, peers[0].address);
    tcp.bind(0x4000, peers[1].address);
    let report = world.listen(&[world.first]);
    assert_eq!(
        report["listeners"],
        json!({ "added": [], "removed": [world.second] })
    );
    assert!(is_silent(world.second), "strangers are not answered");
    until("a closed TCP listener", || {
        TcpStream::connect(world.second).is_err()
    });
    talk(&mut udp, relayed[0], &peers[0]);
    talk(&mut tcp, relayed[1], &peers[1]);
    assert!(
        udp.ask(Outgoing::request(REFRESH)).is_success()
            && tcp.ask(Outgoing::request(REFRESH)).is_success()
    );
    assert!(
        world
            .server
            .metric("hairpin_shard_packets_dropped_total", &["retired_listener"])
            >= 1.0
    );
    udp.ask(Outgoing::request(REFRESH).with(Attribute::lifetime(0)));
    world.server.wait_for_line("has lost its last allocation");
    until("a port that is free", || {
        UdpSocket::bind(world.second).is_ok()
    });
    talk(&mut tcp, relayed[1], &peers[1]);
}

#[test]
fn a_listener_that_is_added_again_serves_again() {
    let world = World::start("listeners-back");
    world.listen(&[world.first, world.second]);
    let mut old = Client::udp(world.second);
    let (relayed, peer) = (old.allocate(), Peer::v4());
    old.bind(0x4000, peer.address);
    for _ in 0..5 {
        world.listen(&[world.first]);
        world.listen(&[world.first, world.second]);
    }
    talk(&mut old, relayed, &peer);
    Client::udp(world.second).allocate();
    Client::tcp(world.second).allocate();
}

/// The kernel then delivers the packets of existing clients to other shards.
#[test]
fn an_address_can_become_a_wildcard_and_back() {
    let world = World::start("listeners-wildcard");
    let wildcard = SocketAddr::from(([0, 0, 0, 0], world.first.port()));
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], world.first.port()));
    let mut clients: Vec<Calling> = vec![];
    let mut enter = |at: SocketAddr| {
        clients.extend((0..8).map(|_| Calling::at(at)));
        clients.iter_mut().for_each(Calling::goes_on);
    };
    enter(world.first);
    world.listen(&[wildcard]);
    enter(world.first);
    enter(elsewhere);
    world.listen(&[world.first]);
    enter(world.first);
    world.listen(&[wildcard]);
    // The sockets of the address close with the last allocation of their clients.
    let all = clients.len();
    let mut wild: Vec<Calling> = clients.drain(8..all - 8).collect();
    for mut client in clients {
        client.ends();
    }
    world.server.wait_for_line("has lost its last allocation");
    wild.iter_mut().for_each(Calling::goes_on);
    world.listen(&[world.first]);
    assert!(is_silent(elsewhere));
    Client::tcp(world.first).allocate();
}

#[test]
fn a_listener_that_cannot_be_opened_changes_nothing() {
    let world = World::start("listeners-taken");
    let holder = TcpListener::bind(world.second).unwrap();
    let wrong = text(&[world.first, world.second]).replace(USER, "bob");
    world.directory.write("hairpin.toml", &wrong);
    let (status, body) = ask(world.server.admin, "POST", "/reload", "", "");
    assert_eq!(status, 400);
    assert!(
        body.contains("hairpin.toml:1:") && body.contains(&world.second.to_string()),
        "{body}"
    );
    Client::udp(world.first).allocate();
    drop(holder);
    assert_eq!(
        json(&world.server, "POST", "/reload")["changed"],
        json!(["listen", "user"])
    );
}
