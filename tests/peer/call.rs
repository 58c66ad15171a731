//! Calls between two peers in one process.

use std::time::Duration;

use hairpin::peer::call::agent::{Policy, Settings, call};
use hairpin::peer::verdict::{Expected, Kind, Path, Verdict};
use hairpin::turn::Transport;
use serde_json::json;

use crate::coturn::Coturn;
use crate::rendezvous;

fn settings(signal: &str) -> Settings {
    Settings {
        signal: signal.into(),
        room: "a room".into(),
        token: None,
        policy: Policy::All,
        expected: Expected::Any,
        transports: Vec::new(),
        media: false,
        duration: Duration::from_secs(1),
        patience: Duration::from_secs(20),
        wait: Duration::from_secs(20),
        ca: None,
    }
}

async fn both(one: &Settings, other: &Settings) -> [Verdict; 2] {
    let (one, other) = tokio::join!(call(one, |_| {}), call(other, |_| {}));
    [one, other]
}

#[tokio::test]
async fn two_peers_connect_directly_and_exchange_messages_and_media() {
    let signal = rendezvous::start(json!([])).await;
    let settings = Settings {
        media: true,
        expected: Expected::Direct,
        ..settings(&signal)
    };
    for verdict in both(&settings, &settings).await {
        assert!(verdict.connected && verdict.as_expected, "{verdict}");
        assert_eq!(
            (verdict.path, verdict.theirs.unwrap().local),
            (Some(Path::Direct), Kind::Host),
            "{verdict}"
        );
        let messages = verdict.messages;
        assert!(
            messages.answered > 5 && messages.received > 5 && messages.rtt_ms.is_some(),
            "{verdict}"
        );
        let media = verdict.media.unwrap();
        assert!(
            media.audio.received > 10 && media.video.received > 2,
            "{verdict}"
        );
    }
}

#[tokio::test]
async fn a_peer_that_may_only_relay_and_has_no_relay_does_not_connect() {
    let signal = rendezvous::start(json!([])).await;
    let all = Settings {
        patience: Duration::from_secs(2),
        ..settings(&signal)
    };
    let relay = Settings {
        policy: Policy::Relay,
        ..all.clone()
    };
    let [relayed, other] = both(&relay, &all).await;
    for (verdict, code) in [(relayed, "servers"), (other, "left")] {
        assert!(
            !verdict.connected && !verdict.as_expected && verdict.path.is_none(),
            "{verdict}"
        );
        assert_eq!(verdict.failure.as_ref().unwrap().code, code, "{verdict}");
    }
}

#[tokio::test]
async fn a_transport_that_no_server_is_reached_over_is_named() {
    let servers = json!([{"urls": ["turn:127.0.0.1:9?transport=udp"], "username": "user", "credential": "pass"}]);
    let signal = rendezvous::start(servers).await;
    let tls = Settings {
        policy: Policy::Relay,
        transports: vec![Transport::Tls],
        ..settings(&signal)
    };
    let failure = call(&tls, |_| {}).await.failure.unwrap();
    assert!(
        failure
            .message
            .contains("over tls: turn:127.0.0.1:9?transport=udp"),
        "{failure:?}"
    );
}

/// The next who comes must not meet a peer that has given up.
#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_leaves_the_room() {
    let (signal, mut left) = rendezvous::watched(json!([])).await;
    let alone = Settings {
        wait: Duration::from_millis(1),
        ..settings(&signal)
    };
    // As a program does: nothing goes on once the call has returned.
    let program = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(call(&alone, |_| {}))
    };
    let verdict = std::thread::scope(|scope| scope.spawn(program).join().unwrap());
    assert_eq!(verdict.failure.unwrap().code, "nobody");
    assert_eq!(left.recv().await, Some(true), "closed, not broken");
}

#[tokio::test]
async fn nobody_in_the_room_and_no_endpoint_are_told_apart() {
    let signal = rendezvous::start(json!([])).await;
    let alone = Settings {
        wait: Duration::from_millis(300),
        ..settings(&signal)
    };
    assert_eq!(call(&alone, |_| {}).await.failure.unwrap().code, "nobody");
    let nowhere = settings("ws://127.0.0.1:9/signal");
    assert_eq!(
        call(&nowhere, |_| {}).await.failure.unwrap().code,
        "signaling"
    );
}

#[tokio::test]
async fn forced_relay_goes_over_the_wanted_transport() {
    let Some(coturn) = Coturn::start(&STATIC_USER) else {
        return;
    };
    let url = |query: &str| format!("turn:127.0.0.1:{}?transport={query}", coturn.port);
    let servers =
        json!([{"urls": [url("udp"), url("tcp")], "username": "user", "credential": "pass"}]);
    let signal = rendezvous::start(servers).await;
    for (transport, name) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
        let all = settings(&signal);
        let relay = Settings {
            policy: Policy::Relay,
            expected: Expected::Relay,
            transports: vec![transport],
            ..all.clone()
        };
        let [one, other] = both(&relay, &relay).await;
        for verdict in [one, other] {
            assert!(verdict.connected && verdict.as_expected, "{verdict}");
            let local = &verdict.pair.as_ref().unwrap().local;
            assert_eq!(
                (local.kind, local.transport),
                (Kind::Relay, Some(name)),
                "{verdict}"
            );
            assert!(verdict.messages.answered > 5, "{verdict}");
        }
    }
}

const STATIC_USER: [&str; 6] = [
    "--lt-cred-mech",
    "-u",
    "user:pass",
    "--allow-loopback-peers",
    "--no-tls",
    "--no-dtls",
];
