//! Calls between two peers in one process.

use std::time::Duration;

use hairpin::peer::call::agent::{CallSettings, CandidatePolicy, call};
use hairpin::peer::verdict::{CallPath, CandidateKind, ExpectedPath, FailureCode, Verdict};
use hairpin::turn::Transport;
use serde_json::json;

use crate::coturn::Coturn;
use crate::rendezvous;

fn settings(signal: &str) -> CallSettings {
    CallSettings {
        signal: signal.into(),
        room: "a room".into(),
        token: None,
        policy: CandidatePolicy::All,
        expected: ExpectedPath::Any,
        transports: Vec::new(),
        media: false,
        duration: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(20),
        join_timeout: Duration::from_secs(20),
        ca_file: None,
    }
}

async fn both(one: &CallSettings, other: &CallSettings) -> [Verdict; 2] {
    let (one, other) = tokio::join!(call(one, |_| {}), call(other, |_| {}));
    [one, other]
}

#[tokio::test]
async fn two_peers_connect_directly_and_exchange_messages_and_media() {
    let signal = rendezvous::start(json!([])).await;
    let settings = CallSettings {
        media: true,
        expected: ExpectedPath::Direct,
        ..settings(&signal)
    };
    for verdict in both(&settings, &settings).await {
        assert!(verdict.connected && verdict.as_expected, "{verdict}");
        assert_eq!(
            (verdict.path, verdict.theirs.unwrap().local),
            (Some(CallPath::Direct), CandidateKind::Host),
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
async fn relay_only_without_a_relay_does_not_connect() {
    let signal = rendezvous::start(json!([])).await;
    let all = CallSettings {
        connect_timeout: Duration::from_secs(2),
        ..settings(&signal)
    };
    let relay = CallSettings {
        policy: CandidatePolicy::Relay,
        ..all.clone()
    };
    let [relayed, other] = both(&relay, &all).await;
    for (verdict, code) in [(relayed, FailureCode::Servers), (other, FailureCode::Left)] {
        assert!(
            !verdict.connected && !verdict.as_expected && verdict.path.is_none(),
            "{verdict}"
        );
        assert_eq!(verdict.failure.as_ref().unwrap().code, code, "{verdict}");
    }
}

#[tokio::test]
async fn a_transport_without_a_server_is_named_in_the_failure() {
    let servers = json!([{"urls": ["turn:127.0.0.1:9?transport=udp"], "username": "user", "credential": "pass"}]);
    let signal = rendezvous::start(servers).await;
    let tls = CallSettings {
        policy: CandidatePolicy::Relay,
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

/// Otherwise the next peer would wait for a peer that no longer exists.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_gives_up_leaves_the_room() {
    let (signal, mut left) = rendezvous::watched(json!([])).await;
    let alone = CallSettings {
        join_timeout: Duration::from_millis(1),
        ..settings(&signal)
    };
    // With its own runtime, as the program has: no task survives the call.
    let program = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(call(&alone, |_| {}))
    };
    let verdict = std::thread::scope(|scope| scope.spawn(program).join().unwrap());
    assert_eq!(verdict.failure.unwrap().code, FailureCode::Nobody);
    assert_eq!(left.recv().await, Some(true), "closed, not broken");
}

#[tokio::test]
async fn an_empty_room_and_a_missing_endpoint_are_distinguished() {
    let signal = rendezvous::start(json!([])).await;
    let alone = CallSettings {
        join_timeout: Duration::from_millis(300),
        ..settings(&signal)
    };
    assert_eq!(
        call(&alone, |_| {}).await.failure.unwrap().code,
        FailureCode::Nobody
    );
    let nowhere = settings("ws://127.0.0.1:9/signal");
    assert_eq!(
        call(&nowhere, |_| {}).await.failure.unwrap().code,
        FailureCode::Signaling
    );
}

#[tokio::test]
async fn a_relayed_call_uses_the_requested_transport() {
    let Some(coturn) = Coturn::start(&STATIC_USER) else {
        return;
    };
    let url = |query: &str| format!("turn:127.0.0.1:{}?transport={query}", coturn.port);
    let servers =
        json!([{"urls": [url("udp"), url("tcp")], "username": "user", "credential": "pass"}]);
    let signal = rendezvous::start(servers).await;
    for (transport, name) in [(Transport::Udp, "udp"), (Transport::Tcp, "tcp")] {
        let all = settings(&signal);
        let relay = CallSettings {
            policy: CandidatePolicy::Relay,
            expected: ExpectedPath::Relay,
            transports: vec![transport],
            ..all.clone()
        };
        let [one, other] = both(&relay, &relay).await;
        for verdict in [one, other] {
            assert!(verdict.connected && verdict.as_expected, "{verdict}");
            let local = &verdict.pair.as_ref().unwrap().local;
            assert_eq!(
                (local.kind, local.transport),
                (CandidateKind::Relay, Some(name)),
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
