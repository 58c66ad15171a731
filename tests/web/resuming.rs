//! Lost connections, and peers that resume.

use std::time::Duration;

use futures_util::StreamExt;
use hairpin::service::signaling::Limits;
use hairpin::service::web::WebSettings;
use serde_json::json;
use tokio_tungstenite::MaybeTlsStream;

use crate::client::{Peer, Server, within};

/// Resets a peer's connection, as a crash does.
fn reset(peer: Peer) {
    let MaybeTlsStream::Plain(stream) = peer.socket.get_ref() else {
        panic!("plain")
    };
    stream.set_zero_linger().unwrap();
}

#[tokio::test]
async fn a_broken_connection_is_announced_within_seconds() {
    let server = Server::start(WebSettings::default()).await;
    let (mut ann, bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    let gone = json!({"type": "left", "id": bob.id});
    let start = std::time::Instant::now();
    reset(bob);
    assert_eq!(ann.next().await, gone);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(server.web.counts().peers, 1);
}

#[tokio::test]
async fn a_silent_connection_is_announced_within_seconds() {
    let server = Server::start(WebSettings::default()).await;
    let (mut ann, bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    // Bob's connection is open but nothing reads it, so pings stay unanswered. Ann's client answers
    // while it waits.
    let start = std::time::Instant::now();
    assert_eq!(ann.next().await, json!({"type": "left", "id": bob.id}));
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn resuming_in_time_loses_no_message_and_is_not_announced() {
    let limits = Limits {
        resume_grace: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = Server::start(WebSettings {
        limits,
        ..WebSettings::default()
    })
    .await;
    let (mut ann, bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    let (id, token) = (bob.id.clone(), bob.resume());
    reset(bob);
    ann.send(json!({"type": "candidate", "n": 1})).await;
    ann.assert_no_other_message().await;
    let mut bob = server.join(&format!("room=blue&resume={token}")).await;
    assert_eq!(
        (bob.id.as_str(), &bob.welcome["resumed"]),
        (id.as_str(), &json!(true))
    );
    assert_eq!(bob.welcome["peers"], json!([ann.id]));
    assert_eq!(bob.next().await["n"], 1);
    bob.send(json!({"type": "message", "back": true})).await;
    assert_eq!(
        ann.next().await,
        json!({"type": "message", "back": true, "from": id})
    );
}

#[tokio::test]
async fn resuming_late_keeps_the_id_and_is_announced() {
    let limits = Limits {
        resume_grace: Duration::ZERO,
        ..Limits::default()
    };
    let server = Server::start(WebSettings {
        limits,
        ..WebSettings::default()
    })
    .await;
    let (mut ann, bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    let (id, token) = (bob.id.clone(), bob.resume());
    reset(bob);
    assert_eq!(ann.next().await, json!({"type": "left", "id": id}));
    let bob = server.join(&format!("room=blue&resume={token}")).await;
    assert_eq!(
        (bob.id.as_str(), &bob.welcome["resumed"]),
        (id.as_str(), &json!(false))
    );
    assert_eq!(ann.next().await, json!({"type": "joined", "id": id}));
}

#[tokio::test]
async fn resuming_replaces_the_older_connection() {
    let server = Server::start(WebSettings::default()).await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    let mut again = server
        .join(&format!("room=blue&resume={}", bob.resume()))
        .await;
    assert_eq!(again.id, bob.id);
    assert_eq!(bob.error().await, "replaced");
    assert_eq!(bob.close_code().await, 4410);
    drop(bob);
    again.send(json!({"type": "message"})).await;
    assert_eq!(ann.next().await["from"], json!(again.id));
    ann.send(json!({"type": "message", "n": 2})).await;
    assert_eq!(again.next().await["n"], 2);
}

#[tokio::test]
async fn an_id_is_resumed_only_with_its_own_token() {
    let server = Server::start(WebSettings::default()).await;
    let ann = server.join("room=blue").await;
    for token in [
        format!("{}.AAAA", ann.id),
        ann.id.clone(),
        String::new(),
        "a.b.c".into(),
    ] {
        let eve = server.join(&format!("room=blue&resume={token}")).await;
        assert_ne!(eve.id, ann.id);
        let mut socket = eve.socket;
        socket.close(None).await.unwrap();
        while within(socket.next()).await.is_some() {}
    }
    let other = server
        .join(&format!("room=green&resume={}", ann.resume()))
        .await;
    assert_ne!(other.id, ann.id, "the token is for another room");
}

#[tokio::test]
async fn all_peers_get_a_notice_when_the_server_stops() {
    let server = Server::start(WebSettings::default()).await;
    let mut ann = server.join("room=blue").await;
    let stop = server.web.stop();
    let client = async {
        assert_eq!(ann.error().await, "stopping");
        assert_eq!(ann.close_code().await, 1001);
    };
    tokio::join!(stop, client);
    assert_eq!(server.web.counts().connections, 0);
}
