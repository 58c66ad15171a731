//! Metrics, health and the allocation log.

use crate::support::TIMEOUT;
use crate::support::client::Peer;
use crate::support::codec::{BINDING, Outgoing};
use crate::support::process::Setup;
use std::time::Instant;

#[test]
fn healthz_is_ok() {
    let server = Setup::new().start();
    let (status, _) = server.get("/healthz");
    assert!(status.contains("200"), "{status}");
    assert!(server.get("/no-such-page").0.contains("404"));
}

#[test]
fn metrics_count_allocations_traffic_requests_and_discards() {
    let server = Setup::new().start();
    assert!(server.get("/metrics").1.contains("hairpin_build_info"));
    let mut client = server.udp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    for _ in 0..10 {
        client.send_channel(0x4000, &[1; 100]);
        peer.receive();
        peer.send(relayed, &[2; 50]);
        client.channel_data();
    }
    client.send_channel(0x4001, b"unbound");
    client.exchange(&Outgoing::request(BINDING));
    let (_, text) = server.get("/metrics");
    for family in ["allocations", "bytes", "packets", "requests", "discards"] {
        assert!(
            text.lines()
                .any(|l| l.starts_with("hairpin_") && l.contains(family)),
            "{family}:\n{text}"
        );
    }
    assert!(
        server.metric("hairpin_discards_total", &[]) >= 1.0,
        "{text}"
    );
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty())
    {
        assert!(!line.contains("alice"), "a user is no label: {line}");
        assert!(
            line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[test]
fn histograms_have_lifetimes_and_request_durations() {
    let server = Setup::new().start();
    let mut client = server.udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.fence();
    let bindings = server.metric("hairpin_request_duration_seconds_count", &["\"Binding\""]);
    let relayed =
        |direction: &str| server.metric("hairpin_relayed_packets_total", &[direction, "udp"]);
    for _ in 0..50 {
        client.send_channel(0x4000, b"x");
        peer.receive();
    }
    assert_eq!(relayed("to_peer"), 50.0);
    let timed = server.metric("hairpin_request_duration_seconds_count", &[]);
    assert_eq!(
        server.metric("hairpin_request_duration_seconds_count", &["\"Binding\""]),
        bindings,
        "what is relayed is not timed"
    );
    // A challenge and the allocation; one binding of a channel.
    assert_eq!(
        server.metric("hairpin_request_duration_seconds_count", &["\"Allocate\""]),
        2.0
    );
    assert_eq!(
        server.metric(
            "hairpin_request_duration_seconds_count",
            &["\"ChannelBind\""]
        ),
        1.0
    );
    assert_eq!(
        server.metric("hairpin_request_duration_seconds_bucket", &["+Inf"]),
        timed
    );
    let sum = server.metric("hairpin_request_duration_seconds_sum", &[]);
    assert!(sum > 0.0 && sum < 10.0, "{sum}");
    client.refresh(0);
    server.wait_for_line("allocation ended");
    assert_eq!(
        server.metric("hairpin_allocation_duration_seconds_count", &[]),
        1.0
    );
    assert_eq!(
        server.metric("hairpin_allocation_duration_seconds_bucket", &["+Inf"]),
        1.0
    );
}

#[test]
fn an_allocation_is_logged_at_its_start_and_end() {
    let server = Setup::new().start();
    let mut client = server.udp();
    let relayed = client.allocate().to_string();
    let started = server.wait_for_line(&relayed);
    assert!(
        started.contains("alice") && started.to_lowercase().contains("udp"),
        "{started}"
    );
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    client.send_channel(0x4000, &[1; 123]);
    peer.receive();
    client.refresh(0);
    let end = Instant::now() + TIMEOUT;
    let ended = loop {
        let lines: Vec<String> = server
            .printed()
            .lines()
            .filter(|l| l.contains(&relayed))
            .map(str::to_owned)
            .collect();
        if lines.len() > 1 {
            break lines[1].clone();
        }
        assert!(
            Instant::now() < end,
            "no line for the end:\n{}",
            server.printed()
        );
        std::thread::yield_now();
    };
    assert!(ended.contains("alice") && ended.contains("123"), "{ended}");
}

#[test]
fn malformed_packets_are_not_logged_above_debug() {
    let server = Setup::new().start();
    let mut client = server.udp();
    client.fence();
    let before = server.printed();
    for octets in [&b"garbage"[..], &[0; 20], &[0x40, 0, 0, 0], &[0x16; 100]] {
        client.send_raw(octets);
    }
    client.login("mallory", "guess");
    for _ in 0..20 {
        client.ask(Outgoing::allocate());
    }
    let mut tcp = server.tcp();
    tcp.send_raw(&[0xff; 100]);
    assert!(tcp.is_closed_within(TIMEOUT));
    client.fence();
    assert_eq!(server.printed(), before);
}
