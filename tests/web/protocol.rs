//! The messages of the signaling.

use hairpin::service::signaling::Limits;
use hairpin::service::web::WebSettings;
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::client::{Server, servers};

#[tokio::test]
async fn messages_are_forwarded_until_a_peer_closes() {
    let server = Server::start(WebSettings {
        ice: servers(),
        ..WebSettings::default()
    })
    .await;
    let mut ann = server.join("room=blue").await;
    assert_eq!(ann.welcome["peers"], json!([]));
    assert_eq!(ann.welcome["resumed"], false);
    let mut bob = server.join("room=blue").await;
    assert_eq!(bob.welcome["peers"], json!([ann.id]));
    assert_ne!(ann.id, bob.id);
    assert_eq!(ann.next().await, json!({"type": "joined", "id": bob.id}));

    bob.send(json!({"type": "offer", "sdp": "v=0\r\n", "to": ann.id}))
        .await;
    assert_eq!(
        ann.next().await,
        json!({"type": "offer", "sdp": "v=0\r\n", "to": ann.id, "from": bob.id})
    );
    ann.send(json!({"type": "answer", "sdp": "whatever it says"}))
        .await;
    assert_eq!(
        bob.next().await,
        json!({"type": "answer", "sdp": "whatever it says", "from": ann.id})
    );
    bob.send(
        json!({"type": "candidate", "candidate": {"candidate": "candidate:1", "sdpMid": "0"}}),
    )
    .await;
    assert_eq!(ann.next().await["candidate"]["sdpMid"], "0");
    bob.send(json!({"type": "candidate", "candidate": null}))
        .await;
    assert_eq!(
        ann.next().await,
        json!({"type": "candidate", "candidate": null, "from": bob.id})
    );
    ann.send(json!({"type": "message", "text": "Grüße 👋", "to": null}))
        .await;
    assert_eq!(bob.next().await["text"], "Grüße 👋");
    ann.send(json!({"type": "bye"})).await;
    assert_eq!(bob.next().await, json!({"type": "bye", "from": ann.id}));

    // RFC 6455 section 5.5.1: a close is answered with a close.
    ann.socket
        .close(Some(CloseFrame {
            code: 1000.into(),
            reason: "done".into(),
        }))
        .await
        .unwrap();
    assert_eq!(ann.close_code().await, 1000);
    assert_eq!(bob.next().await, json!({"type": "left", "id": ann.id}));
    bob.assert_no_other_message().await;
}

/// RFC 6455 section 7.1.7: a protocol error fails the connection at once. The other peers get
/// `left`.
#[tokio::test]
async fn an_invalid_frame_closes_with_1002() {
    let server = Server::start(WebSettings::default()).await;
    let mut ann = server.join("room=blue").await;
    // An unmasked frame, a reserved bit, a reserved opcode, invalid UTF-8, and (below) an oversized
    // ping.
    let long_ping = [&b"\x89\xfe\0\x80\0\0\0\0"[..], &[0; 128]].concat();
    let short = [
        &b"\x81\x02{}"[..],
        b"\xc1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x81\x81\0\0\0\0\xff",
    ];
    for frame in short.into_iter().chain([&long_ping[..]]) {
        let mut bob = server.join("room=blue").await;
        assert_eq!(ann.next().await["type"], "joined");
        let MaybeTlsStream::Plain(stream) = bob.socket.get_mut() else {
            unreachable!("the server speaks no TLS")
        };
        stream.write_all(frame).await.unwrap();
        assert_eq!(bob.close_code().await, 1002, "{frame:x?}");
        assert_eq!(ann.next().await, json!({"type": "left", "id": bob.id}));
    }
}

#[tokio::test]
async fn the_welcome_contains_credentials_minted_for_the_peer() {
    let server = Server::start(WebSettings {
        ice: servers(),
        ..WebSettings::default()
    })
    .await;
    let ann = server.join("room=blue").await;
    let address = server.address.ip();
    assert_eq!(
        ann.welcome["iceServers"][0],
        json!({"urls": [format!("stun:{address}:3478")]})
    );
    let turn = &ann.welcome["iceServers"][1];
    assert_eq!(
        turn["urls"][1],
        format!("turn:{address}:3478?transport=tcp")
    );
    let (expiry, name) = turn["username"].as_str().unwrap().split_once(':').unwrap();
    assert_eq!(name, format!("blue/{}", ann.id));
    let expiry = expiry.parse().unwrap();
    let (_, password) = hairpin::service::ice_servers::mint("north", name, expiry);
    assert_eq!(turn["credential"], password);
    assert_eq!(ann.welcome["ttl"], 86_400);
    let in_a_day = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 86_400;
    assert!(
        (in_a_day - 60..=in_a_day).contains(&expiry),
        "{expiry} is not a day from now"
    );
}

#[tokio::test]
async fn a_message_goes_to_the_named_peer_or_to_all_others() {
    let server = Server::start(WebSettings::default()).await;
    let mut ann = server.join("room=blue&peers=3").await;
    assert_eq!(ann.welcome["limit"], 3);
    let mut bob = server.join("room=blue").await;
    let mut eve = server.join("room=blue").await;
    assert_eq!(eve.welcome["peers"], json!([ann.id, bob.id]));
    ann.next().await;
    ann.next().await;
    bob.next().await;
    ann.send(json!({"type": "message", "n": 1, "to": eve.id}))
        .await;
    ann.send(json!({"type": "message", "n": 2})).await;
    assert_eq!(
        (eve.next().await["n"].clone(), eve.next().await["n"].clone()),
        (json!(1), json!(2))
    );
    assert_eq!(bob.next().await["n"], 2);
    ann.assert_no_other_message().await;
    bob.assert_no_other_message().await;
}

#[tokio::test]
async fn a_sender_cannot_be_forged_nor_reach_another_room() {
    let server = Server::start(WebSettings::default()).await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    let mut eve = server.join("room=green").await;
    ann.next().await;
    bob.send_text(r#"{"type":"message","from":"one","from":"else"}"#)
        .await;
    assert_eq!(ann.next().await["from"], json!(bob.id));
    eve.send(json!({"type": "message", "to": ann.id})).await;
    assert_eq!(eve.error().await, "no-such-peer");
    eve.send(json!({"type": "bye"})).await;
    eve.assert_no_other_message().await;
    ann.assert_no_other_message().await;
}

#[tokio::test]
async fn an_invalid_message_is_reported_and_the_connection_stays_open() {
    use futures_util::SinkExt;
    use tokio_tungstenite::tungstenite::Message;

    let server = Server::start(WebSettings::default()).await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    for (text, code) in [
        ("{", "bad-json"),
        ("", "bad-json"),
        ("[[[[", "bad-json"),
        ("7", "bad-message"),
        ("{}", "bad-message"),
        (r#"{"type":"offer","to":{}}"#, "bad-message"),
        (r#"{"type":"joined","id":"x"}"#, "unknown-type"),
        (r#"{"type":"offer","to":"nobody"}"#, "no-such-peer"),
    ] {
        bob.send_text(text).await;
        assert_eq!(bob.error().await, code, "{text}");
    }
    bob.send(json!({"type": "offer", "to": bob.id})).await;
    assert_eq!(bob.error().await, "no-such-peer", "the sender itself");
    bob.socket
        .send(Message::binary(vec![0, 159, 146, 150]))
        .await
        .unwrap();
    assert_eq!(bob.error().await, "binary");
    bob.send(json!({"type": "message", "after": "all that"}))
        .await;
    assert_eq!(ann.next().await["after"], "all that");
}

#[tokio::test]
async fn the_order_of_messages_is_preserved() {
    let server = Server::start(WebSettings::default()).await;
    let (mut ann, mut bob) = (
        server.join("room=blue").await,
        server.join("room=blue").await,
    );
    ann.next().await;
    for n in 0..150 {
        bob.send(json!({"type": "candidate", "n": n})).await;
    }
    for n in 0..150 {
        assert_eq!(ann.next().await["n"], n);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_thousand_rooms_work_at_once() {
    // The clients answer no ping until all of them have joined.
    let limits = Limits {
        silence_timeout: Duration::from_secs(60),
        ..Limits::default()
    };
    let settings = WebSettings {
        limits,
        ..WebSettings::default()
    };
    let server = Server::start(settings).await;
    let mut pairs = Vec::new();
    for n in 0..1_000 {
        let query = format!("room=room-{n}");
        pairs.push((server.join(&query).await, server.join(&query).await));
    }
    let counts = server.web.counts();
    assert_eq!((counts.rooms, counts.peers), (1_000, 2_000));
    for (n, (_, newcomer)) in pairs.iter_mut().enumerate() {
        newcomer.send(json!({"type": "offer", "n": n})).await;
    }
    for (n, (first, newcomer)) in pairs.iter_mut().enumerate() {
        assert_eq!(
            first.next().await,
            json!({"type": "joined", "id": newcomer.id})
        );
        assert_eq!(
            first.next().await,
            json!({"type": "offer", "n": n, "from": newcomer.id})
        );
        first.send(json!({"type": "answer", "n": n})).await;
    }
    for (n, (first, newcomer)) in pairs.iter_mut().enumerate() {
        assert_eq!(
            newcomer.next().await,
            json!({"type": "answer", "n": n, "from": first.id})
        );
    }
}
