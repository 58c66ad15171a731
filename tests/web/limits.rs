//! Every limit of the signaling, and the error that reports it.

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
async fn a_room_name_has_at_most_64_unreserved_characters() {
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
            server.refusal(query).await,
            ("bad-room".into(), 4400),
            "{query}"
        );
    }
    server.join(&format!("room={}", "x".repeat(64))).await;
    server.join("room=A-z_0.9~").await;
}

#[tokio::test]
async fn the_first_peer_sets_the_size_of_a_room() {
    let server = start(Limits::default()).await;
    let ann = server.join("room=blue").await;
    let mut bob = server.join("room=blue").await;
    assert_eq!(
        server.refusal("room=blue").await,
        ("room-full".into(), 4409)
    );
    assert_eq!(
        server.refusal("room=blue&peers=9").await,
        ("room-full".into(), 4409),
        "the room exists"
    );
    bob.assert_no_other_message().await;
    drop(ann);
    for peers in ["0", "1", "17", "-1", "many", ""] {
        assert_eq!(
            server.refusal(&format!("room=red&peers={peers}")).await,
            ("bad-peers".into(), 4400),
            "{peers}"
        );
    }
    let mut sixteen = vec![server.join("room=green&peers=16").await];
    for _ in 1..16 {
        sixteen.push(server.join("room=green").await);
    }
    assert_eq!(server.refusal("room=green").await.0, "room-full");
}

#[tokio::test]
async fn rooms_and_connections_are_limited() {
    let server = start(Limits {
        rooms: 2,
        connections: 4,
        ..Limits::default()
    })
    .await;
    let one = server.join("room=one").await;
    let _two = (server.join("room=two").await, server.join("room=two").await);
    assert_eq!(
        server.refusal("room=three").await,
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

/// Over streams accepted elsewhere, because every client of the test's listener is on loopback.
#[tokio::test]
async fn connections_from_one_address_are_limited() {
    let server = start(Limits {
        connections_per_address: 1,
        ..Limits::default()
    })
    .await;
    let connect = async |peer: &str| {
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
    let first = connect("192.0.2.9:1").await.unwrap();
    let Err(tungstenite::Error::Http(answer)) = connect("192.0.2.9:2").await else {
        panic!("a second connection")
    };
    assert_eq!(answer.status(), 503);
    assert!(connect("192.0.2.10:1").await.is_ok());
    let _ours = (server.join("room=red").await, server.join("room=red").await);
    drop(first);
}

#[tokio::test]
async fn an_oversized_message_is_refused_and_four_times_the_size_disconnects() {
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
    bob.send_text(&sized(100)).await;
    assert_eq!(ann.next().await["type"], "message");
    bob.send_text(&sized(101)).await;
    assert_eq!(bob.error().await, "too-large");
    bob.send_text(&sized(400)).await;
    assert_eq!(bob.error().await, "too-large");
    bob.send_text(&sized(99)).await;
    assert_eq!(ann.next().await["type"], "message");
    bob.send_text(&sized(401)).await;
    assert_eq!(bob.error().await, "too-large");
    assert_eq!(bob.close_code().await, 1009);
    assert_eq!(ann.next().await, json!({"type": "left", "id": bob.id}));
}

/// The fragments of a message are buffered; pongs must not keep them in memory.
#[tokio::test]
async fn an_unfinished_message_disconnects_its_sender() {
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
    // The client answers every ping while it waits.
    assert_eq!(ann.error().await, "unfinished");
    assert_eq!(ann.close_code().await, 4412);
}

#[tokio::test]
async fn messages_over_the_rate_are_dropped_and_then_disconnect() {
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
        bob.send(json!({"type": "message", "n": n})).await;
    }
    assert_eq!(bob.error().await, "too-fast");
    for n in 0..5 {
        assert_eq!(ann.next().await["n"], n);
    }
    // Pings count as well.
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
async fn a_peer_without_messages_is_disconnected_despite_pongs() {
    let server = start(Limits {
        idle_timeout: Duration::from_millis(300),
        ..Limits::default()
    })
    .await;
    let mut ann = server.join("room=blue").await;
    assert_eq!(ann.error().await, "idle");
    assert_eq!(ann.close_code().await, 4408);
    let ping = Limits {
        idle_timeout: Duration::from_millis(300),
        ping_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let server = start(ping).await;
    let mut ann = server.join("room=blue").await;
    assert_eq!(ann.error().await, "idle", "pongs are not messages");
}

#[tokio::test]
async fn a_slow_reader_is_disconnected() {
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
    // The kernel buffers some megabytes, so the queue fills long before the loop ends.
    let mut sent = 0;
    while server.web.counts().dropped == 0 {
        fast.send_text(&text).await;
        sent += 1;
        assert!(
            sent < 2_000,
            "the server accepted 120 MB for a peer that reads nothing"
        );
    }
    assert_eq!(fast.next().await, json!({"type": "left", "id": slow.id}));
    assert_eq!(server.web.counts().peers, 1);
    fast.assert_no_other_message().await;
}

#[tokio::test]
async fn unread_errors_count_against_the_queue() {
    let limits = Limits {
        message_rate: 10_000_000,
        message_burst: 10_000_000,
        queue_messages: 16,
        ..Limits::default()
    };
    let server = start(limits).await;
    let (mut slow, mut ann) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    let nonsense = "x".repeat(50);
    within(async {
        // Until errors fill the kernel's buffers and the queue behind them.
        while slow.socket.feed(Message::text(&nonsense)).await.is_ok()
            && server.web.counts().peers == 2
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ann.next().await, json!({"type": "left", "id": slow.id}));
}
