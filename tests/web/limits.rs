//! Every bound of the signaling, and the error that tells of it.

use std::time::Duration;

use futures_util::SinkExt;
use hairpin::service::signaling::Limits;
use hairpin::service::web::{ConnectionInfo, WebSettings};
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::{Server, within};

async fn start(limits: Limits) -> Server {
    Server::start(WebSettings {
        limits,
        ..WebSettings::default()
    })
    .await
}

#[tokio::test]
async fn room_names() {
    let server = start(Limits::default()).await;
    let long = "x".repeat(65);
    for query in [
        "",
        "room=",
        "room=a%20b",
        "room=a/b",
        "room=%00",
        "room=gr%C3%BCn",
        "rom=blue",
        &format!("room={long}"),
    ] {
        assert_eq!(
            server.refused(query).await,
            ("bad-room".into(), 4400),
            "{query}"
        );
    }
    server.join(&format!("room={}", "x".repeat(64))).await;
    server.join("room=A-z_0.9~").await;
}

#[tokio::test]
async fn peers_of_a_room() {
    let server = start(Limits::default()).await;
    let ann = server.join("room=blue").await;
    let mut bob = server.join("room=blue").await;
    assert_eq!(
        server.refused("room=blue").await,
        ("room-full".into(), 4409)
    );
    assert_eq!(
        server.refused("room=blue&peers=9").await,
        ("room-full".into(), 4409),
        "the first peer decides"
    );
    bob.nothing_else().await;
    drop(ann);
    for peers in ["0", "1", "17", "-1", "many", ""] {
        assert_eq!(
            server.refused(&format!("room=red&peers={peers}")).await,
            ("bad-peers".into(), 4400),
            "{peers}"
        );
    }
    let mut sixteen = vec![server.join("room=green&peers=16").await];
    for _ in 1..16 {
        sixteen.push(server.join("room=green").await);
    }
    assert_eq!(server.refused("room=green").await.0, "room-full");
}

#[tokio::test]
async fn rooms_and_connections() {
    let server = start(Limits {
        rooms: 2,
        connections: 4,
        ..Limits::default()
    })
    .await;
    let one = server.join("room=one").await;
    let _two = (server.join("room=two").await, server.join("room=two").await);
    assert_eq!(
        server.refused("room=three").await,
        ("too-many-rooms".into(), 4503)
    );
    within(async {
        while server.web.counts().connections > 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _four = server.join("room=one").await;
    let Err(tungstenite::Error::Http(answer)) = server.socket("room=one", &[]).await else {
        panic!("a fifth connection")
    };
    assert_eq!(answer.status(), 503);
    let body: serde_json::Value = serde_json::from_slice(answer.body().as_ref().unwrap()).unwrap();
    assert_eq!(body["code"], "too-many-connections");
    drop(one);
}

/// Over streams that were accepted elsewhere, since all that comes to the test's listener comes from loopback.
#[tokio::test]
async fn connections_of_an_address() {
    let server = start(Limits {
        connections_per_address: 1,
        ..Limits::default()
    })
    .await;
    let come = async |peer: &str| {
        let (near, far) = tokio::io::duplex(1 << 16);
        let arrival = ConnectionInfo {
            client: peer.parse().unwrap(),
            local: "192.0.2.1:443".parse().unwrap(),
            secure: true,
        };
        server.web.serve_stream(far, arrival).await;
        within(tokio_tungstenite::client_async(
            "ws://call.example/signal?room=blue",
            near,
        ))
        .await
    };
    let first = come("192.0.2.9:1").await.unwrap();
    let Err(tungstenite::Error::Http(answer)) = come("192.0.2.9:2").await else {
        panic!("a second connection")
    };
    assert_eq!(answer.status(), 503);
    assert!(come("192.0.2.10:1").await.is_ok());
    let _ours = (server.join("room=red").await, server.join("room=red").await);
    drop(first);
}

#[tokio::test]
async fn message_size() {
    let server = start(Limits {
        message_size: 100,
        ..Limits::default()
    })
    .await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    let sized = |octets: usize| {
        let empty = json!({"type": "message", "x": ""}).to_string().len();
        json!({"type": "message", "x": "x".repeat(octets - empty)}).to_string()
    };
    bob.say_text(&sized(100)).await;
    assert_eq!(ann.next().await["type"], "message");
    bob.say_text(&sized(101)).await;
    assert_eq!(bob.error().await, "too-large");
    bob.say_text(&sized(400)).await;
    assert_eq!(bob.error().await, "too-large");
    bob.say_text(&sized(99)).await;
    assert_eq!(ann.next().await["type"], "message");
    bob.say_text(&sized(401)).await;
    assert_eq!(bob.error().await, "too-large");
    assert_eq!(bob.closed().await, 1009);
    assert_eq!(ann.next().await, json!({"type": "left", "id": bob.id}));
}

/// What has come of a message waits in memory, and pongs must not keep it there.
#[tokio::test]
async fn message_time() {
    let fragment = |text: &str, opcode, last| {
        Message::Frame(Frame::message(text.to_owned(), OpCode::Data(opcode), last))
    };
    let server = start(Limits::default()).await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    bob.socket
        .send(fragment("{\"type\":", Data::Text, false))
        .await
        .unwrap();
    bob.socket.send(Message::Pong("".into())).await.unwrap();
    bob.socket
        .send(fragment("\"message\"}", Data::Continue, true))
        .await
        .unwrap();
    assert_eq!(ann.next().await["type"], "message");

    let limits = Limits {
        message_time: Duration::ZERO,
        ping_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = start(limits).await;
    let mut ann = server.join("room=blue").await;
    ann.socket
        .send(fragment("{", Data::Text, false))
        .await
        .unwrap();
    // Each ping is answered while this waits.
    assert_eq!(ann.error().await, "unfinished");
    assert_eq!(ann.closed().await, 4412);
}

#[tokio::test]
async fn rate() {
    let server = start(Limits {
        message_rate: 1,
        message_burst: 5,
        ..Limits::default()
    })
    .await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    for n in 0..7 {
        bob.say(json!({"type": "message", "n": n})).await;
    }
    assert_eq!(bob.error().await, "too-fast");
    for n in 0..5 {
        assert_eq!(ann.next().await["n"], n);
    }
    // Pings count too, and patience ends.
    for _ in 0..40 {
        let _ = bob.socket.send(Message::Ping("x".into())).await;
    }
    while bob.error().await == "too-fast" {
        if bob.socket.send(Message::text("{}")).await.is_err() {
            break;
        }
        if let Some(4429) = closing(&mut bob).await {
            break;
        }
    }
    assert_eq!(ann.next().await, json!({"type": "left", "id": bob.id}));
}

async fn closing(peer: &mut crate::client::Peer) -> Option<u16> {
    use futures_util::StreamExt;
    while let Some(Ok(message)) = within(peer.socket.next()).await {
        if let Message::Close(Some(frame)) = message {
            return Some(frame.code.into());
        }
    }
    None
}

#[tokio::test]
async fn idle_time() {
    let server = start(Limits {
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut ann = server.join("room=blue").await;
    assert_eq!(ann.error().await, "idle");
    assert_eq!(ann.closed().await, 4408);
    let ping = Limits {
        idle_timeout: Duration::from_millis(300),
        ping_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = start(ping).await;
    let mut ann = server.join("room=blue").await;
    assert_eq!(ann.error().await, "idle", "pongs are no messages");
}

#[tokio::test]
async fn a_slow_reader_is_dropped_and_its_queue_with_it() {
    let limits = Limits {
        message_rate: 1_000_000,
        message_burst: 1_000_000,
        queue_messages: 64,
        queue_octets: 256 << 10,
        silence_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = start(limits).await;
    let slow = server.join("room=blue").await;
    let mut fast = server.join("room=blue").await;
    let text = json!({"type": "message", "x": "x".repeat(60_000)}).to_string();
    // The kernel's buffers hold some megabytes; nothing reads them, so the queue must fill well before this ends.
    let mut sent = 0;
    while server.web.counts().dropped == 0 {
        fast.say_text(&text).await;
        sent += 1;
        assert!(
            sent < 2_000,
            "120 MB were taken for a peer that reads nothing"
        );
    }
    assert_eq!(fast.next().await, json!({"type": "left", "id": slow.id}));
    assert_eq!(server.web.counts().peers, 1);
    fast.nothing_else().await;
}

#[tokio::test]
async fn errors_fill_the_queue_of_who_does_not_read_them() {
    let limits = Limits {
        message_rate: 10_000_000,
        message_burst: 10_000_000,
        queue_messages: 16,
        ..Limits::default()
    };
    let server = start(limits).await;
    let (mut deaf, mut ann) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    let nonsense = "x".repeat(50);
    within(async {
        // Until the kernel's buffers are full of errors, and the queue behind them.
        while deaf.socket.feed(Message::text(&nonsense)).await.is_ok()
            && server.web.counts().peers == 2
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ann.next().await, json!({"type": "left", "id": deaf.id}));
}
