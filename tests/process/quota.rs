//! Quotas: allocations, bandwidth, bytes per period, new peers per second.

use crate::support::TIMEOUT;
use crate::support::client::{PASSWORD, Peer, USER};
use crate::support::codec::{Attribute, CONNECTION_ID, CREATE_PERMISSION, Outgoing};
use crate::support::operator::{json, until};
use crate::support::process::{OTHER_PASSWORD, OTHER_USER, Setup};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

#[test]
fn allocation_limits_answer_486_and_508() {
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
        assert_eq!(
            second.ask(Outgoing::allocate()).error(),
            Some(code),
            "{flag}"
        );
        first.ask(Outgoing::request(crate::support::codec::REFRESH).with(Attribute::lifetime(0)));
        assert!(
            second.ask(Outgoing::allocate()).is_success(),
            "{flag}: the limit has room again"
        );
    }
}

/// Idle connections must not use up the file descriptors of relay sockets.
#[test]
fn connections_leave_descriptors_for_relays() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--drain-timeout", "0s")
        .start();
    let few = libc::rlimit {
        rlim_cur: 240,
        rlim_max: 240,
    };
    // SAFETY: the kernel reads one rlimit; the process is the server that was just started.
    let limited = unsafe {
        libc::prlimit(
            server.pid as i32,
            libc::RLIMIT_NOFILE,
            &few,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(limited, 0, "{}", std::io::Error::last_os_error());
    let held: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(server.v4).unwrap())
        .collect();
    until("connections that are refused", || {
        server.metric(
            "hairpin_shard_client_connections_rejected_total",
            &["limit"],
        ) > 50.0
    });
    let mut clients: Vec<_> = (0..10).map(|_| server.udp()).collect();
    for client in &mut clients {
        client.allocate();
    }
    drop(held);
    until("room for more", || {
        server.metric("hairpin_shard_client_connections", &[]) == 0.0
    });
    server.tcp().allocate();
}

#[test]
fn permissions_are_limited() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--permissions", "2")
        .start();
    let mut client = server.udp();
    client.allocate();
    let permit = |last: u8| {
        let peer = format!("127.0.0.{last}:9").parse().unwrap();
        Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer))
    };
    assert!(client.ask(permit(1)).is_success() && client.ask(permit(2)).is_success());
    assert_eq!(client.ask(permit(3)).error(), Some(508));
    assert!(
        client.ask(permit(2)).is_success(),
        "one that is there is refreshed"
    );
}

#[test]
fn channels_are_limited() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--channels", "2")
        .start();
    let mut client = server.udp();
    client.allocate();
    let peers = [Peer::v4(), Peer::v4(), Peer::v4()];
    client.bind(0x4000, peers[0].address);
    client.bind(0x4001, peers[1].address);
    assert_eq!(client.try_bind(0x4002, peers[2].address).error(), Some(508));
    client.bind(0x4001, peers[1].address);
}

/// A limit of 1 MB/s lets 100 packets of 1,000 bytes through at once, and then no more.
#[test]
fn a_burst_of_100_ms_passes() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--allocation-bandwidth", "1M")
        .start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    for number in 0..95_u8 {
        client.send_channel(0x4000, &[number; 1000]);
    }
    for number in 0..95_u8 {
        assert_eq!(peer.receive().1, [number; 1000]);
    }
    assert_eq!(server.metric("hairpin_discards_total", &["bandwidth"]), 0.0);
}

/// All allocations of a user share the user's bandwidth, all of a realm the realm's. Other users
/// are not affected.
#[test]
fn users_and_realms_share_their_bandwidth() {
    for (flag, others) in [
        ("--user-bandwidth", 10.0),
        ("--realm-bandwidth", 0.0),
        ("--max-bandwidth", 0.0),
    ] {
        let server = Setup::new().flag("--web", "off").flag(flag, "100k").start();
        let mut clients = [server.udp(), server.udp(), server.udp()];
        let peer = Peer::v4();
        for (at, client) in clients.iter_mut().enumerate() {
            let (user, password) = if at < 2 {
                (USER, PASSWORD)
            } else {
                (OTHER_USER, OTHER_PASSWORD)
            };
            client.login(user, password);
            assert!(client.ask(Outgoing::allocate()).is_success());
            client.bind(0x4000, peer.address);
        }
        let carried = |client: &str| {
            let listed = json(&server, "GET", &format!("/allocations?user={client}"));
            listed["allocations"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["to_peers_packets"].as_f64().unwrap())
                .sum::<f64>()
        };
        for client in &mut clients[..2] {
            for _ in 0..50 {
                client.send_channel(0x4000, &[1; 1000]);
            }
            client.fence();
        }
        let of_both = carried(USER);
        // Ten at once, and a few more for every 10 ms that a busy machine takes.
        assert!((10.0..60.0).contains(&of_both), "{flag}: {of_both}");
        for _ in 0..10 {
            clients[2].send_channel(0x4000, &[1; 1000]);
        }
        clients[2].fence();
        let of_other = carried(OTHER_USER);
        assert!(of_other >= others, "{flag}: {of_other}");
    }
}

#[test]
fn the_next_period_restores_the_bytes() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--user-bytes", "3000")
        .flag("--user-period", "2s")
        .start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    until("an end of the bytes", || {
        client.send_channel(0x4000, &[1; 1000]);
        client.fence();
        server.metric("hairpin_discards_total", &["bandwidth"]) >= 1.0
    });
    let carried = || server.metric("hairpin_relayed_packets_total", &["to_peer", "udp"]);
    let before = carried();
    until("a new period", || {
        client.send_channel(0x4000, &[1; 1000]);
        client.fence();
        carried() > before
    });
}

#[test]
fn tcp_relays_are_metered_and_counted() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--allocation-bandwidth", "1M")
        .start();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answer = control.ask(Outgoing::connect(listener.local_addr().unwrap()));
    assert!(answer.is_success(), "{answer:?}");
    let (mut peer, _) = listener.accept().unwrap();
    let mut data = server.tcp();
    data.login(USER, PASSWORD);
    let id = answer.get(CONNECTION_ID).unwrap();
    assert!(data.ask(Outgoing::connection_bind(id)).is_success());
    let (mut data, early) = data.into_stream();
    assert!(early.is_empty());
    let began = Instant::now();
    let sender = std::thread::spawn(move || {
        data.write_all(&vec![7; 1_500_000]).unwrap();
        data
    });
    let mut received = vec![0; 1_500_000];
    peer.set_read_timeout(Some(TIMEOUT)).unwrap();
    peer.read_exact(&mut received).unwrap();
    let took = began.elapsed().as_secs_f64();
    assert!((0.8..6.0).contains(&took), "1.5 MB at 1 MB/s took {took} s");
    let mut data = sender.join().unwrap();
    peer.write_all(b"and back").unwrap();
    data.read_exact(&mut [0; 8]).unwrap();
    let carried = || {
        let one = json(&server, "GET", "/allocations")["allocations"][0].clone();
        (
            one["to_peers_bytes"].as_u64(),
            one["to_client_bytes"].as_u64(),
        )
    };
    until("an account", || carried() == (Some(1_500_000), Some(8)));
    assert_eq!(
        server.metric("hairpin_relayed_bytes_total", &["to_peer", "tcp"]),
        1_500_000.0
    );
}

#[test]
fn new_peers_are_limited_over_tcp_too() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--new-peers", "5")
        .start();
    let mut control = server.tcp();
    control.allocate_with(Outgoing::allocate_tcp());
    let outcomes = (1..=30_u16).map(|port| {
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        control.ask(Outgoing::connect(peer)).error()
    });
    let refused = outcomes.filter(|error| *error == Some(508)).count();
    assert!(refused >= 10, "{refused} of 30 were refused");
}

#[test]
fn bandwidth_is_limited_and_drops_are_counted() {
    for flag in [
        "--allocation-bandwidth",
        "--user-bandwidth",
        "--realm-bandwidth",
        "--max-bandwidth",
    ] {
        let server = Setup::new().flag("--web", "off").flag(flag, "10k").start();
        let mut client = server.udp();
        client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        for _ in 0..50 {
            client.send_channel(0x4000, &[1; 1000]);
        }
        client.fence();
        until(flag, || {
            server.metric("hairpin_discards_total", &["bandwidth"]) >= 30.0
        });
    }
}

#[test]
fn bytes_per_period_are_limited() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--user-bytes", "5000")
        .flag("--user-period", "1d")
        .start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    for _ in 0..20 {
        client.send_channel(0x4000, &[1; 1000]);
    }
    client.fence();
    until("drops", || {
        server.metric("hairpin_discards_total", &["bandwidth"]) >= 10.0
    });
    let mut second = server.udp();
    second.login(USER, PASSWORD);
    assert_eq!(second.ask(Outgoing::allocate()).error(), Some(486));
}

#[test]
fn new_peers_are_bounded() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--new-peers", "5")
        .start();
    let mut client = server.udp();
    client.allocate();
    let outcomes = (1..=50).map(|last| {
        let peer = format!("127.0.0.{last}:9").parse().unwrap();
        client
            .ask(Outgoing::request(CREATE_PERMISSION).with(Attribute::peer(peer)))
            .error()
    });
    let refused = outcomes.filter(|error| *error == Some(508)).count();
    assert!(refused >= 30, "{refused} of 50 were refused");
}
