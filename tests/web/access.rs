//! Access control: origins, room access tokens, the authentication hook.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use hairpin::service::ice_servers::{IceAccess, IceServers};
use hairpin::service::signaling::{RoomHook, RoomTokens};
use hairpin::service::web::{ConnectionInfo, Origins, WebSettings};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite;

use crate::client::{Server, servers, within};

async fn upgrade_status(server: &Server, origin: &str) -> u16 {
    match server.socket("room=blue", &[("origin", origin)]).await {
        Ok(_) => 101,
        Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused() {
    let server = Server::start(WebSettings::default()).await;
    assert_eq!(
        upgrade_status(&server, &format!("http://{}", server.address)).await,
        101
    );
    for origin in [
        "http://evil.example",
        "null",
        "https://127.0.0.1",
        "",
        "http://127.0.0.1.evil.example:8080",
    ] {
        assert_eq!(upgrade_status(&server, origin).await, 403, "{origin:?}");
    }
}

#[tokio::test]
async fn listed_origins_are_allowed_and_any_allows_all() {
    let origins = Origins::Listed(vec!["https://app.example".into()]);
    let server = Server::start(WebSettings {
        origins,
        ..WebSettings::default()
    })
    .await;
    assert_eq!(upgrade_status(&server, "https://app.example").await, 101);
    assert_eq!(
        upgrade_status(&server, &format!("http://{}", server.address)).await,
        101
    );
    assert_eq!(upgrade_status(&server, "http://app.example").await, 403);
    let server = Server::start(WebSettings {
        origins: Origins::Any,
        ..WebSettings::default()
    })
    .await;
    assert_eq!(
        upgrade_status(&server, "https://wherever.example").await,
        101
    );
}

#[tokio::test]
async fn a_room_opens_only_with_its_own_unexpired_token() {
    let tokens = RoomTokens::new(b"secret");
    let server = Server::start(WebSettings {
        tokens: Some(tokens.clone()),
        ..WebSettings::default()
    })
    .await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (good, old, other) = (
        tokens.create("blue", now + 60),
        tokens.create("blue", now - 1),
        tokens.create("green", now + 60),
    );
    let forged = RoomTokens::new(b"guess").create("blue", now + 60);
    for (query, refusal) in [
        ("room=blue".to_owned(), "token-required"),
        (format!("room=blue&token={old}"), "token-expired"),
        (format!("room=blue&token={other}"), "token-invalid"),
        (format!("room=blue&token={forged}"), "token-invalid"),
    ] {
        let expected = (refusal.to_owned(), 4401);
        assert_eq!(server.refusal(&query).await, expected, "{query}");
    }
    let ann = server.join(&format!("room=blue&token={good}")).await;
    let again = server
        .join(&format!("room=blue&resume={}", ann.resume()))
        .await;
    assert_eq!(again.id, ann.id, "resuming requires no token");
}

#[tokio::test]
async fn replaced_settings_apply_to_new_connections_only() {
    let server = Server::start(WebSettings::default()).await;
    let mut ann = server.join("room=blue").await;
    server.web.replace_settings(WebSettings {
        tokens: Some(RoomTokens::new(b"secret")),
        ..WebSettings::default()
    });
    assert_eq!(server.refusal("room=blue").await.0, "token-required");
    ann.assert_no_other_message().await;
}

/// A hook whose status is the `token` of the request, and the requests that it received.
async fn hook() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/admit?x=1", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut octets = vec![0; 4096];
            let mut text = String::new();
            while !text.ends_with('}') {
                let read = stream.read(&mut octets).await.unwrap();
                text += std::str::from_utf8(&octets[..read]).unwrap();
            }
            assert!(text.starts_with("POST /admit?x=1 HTTP/1.1\r\n"), "{text}");
            let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            let status = body["token"].as_str().unwrap_or("403").to_owned();
            log.lock().unwrap().push(body);
            if status == "never" {
                tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
                continue;
            }
            stream
                .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())
                .await
                .unwrap();
        }
    });
    (url, asked)
}

#[tokio::test]
async fn the_status_of_the_hook_decides() {
    let (url, asked) = hook().await;
    let hook = RoomHook::new(&url).with_timeout(Duration::from_millis(500));
    let server = Server::start(WebSettings {
        hook: Some(hook),
        ..WebSettings::default()
    })
    .await;
    server.join("room=blue&token=204").await;
    assert_eq!(
        asked.lock().unwrap()[0],
        json!({"room": "blue", "token": "204", "client": "127.0.0.1", "origin": null})
    );
    for (query, refusal, close_code) in [
        ("room=blue", "refused", 4403),
        ("room=blue&token=401", "refused", 4403),
        ("room=blue&token=500", "unchecked", 4503),
        ("room=blue&token=302", "unchecked", 4503),
        ("room=blue&token=never", "unchecked", 4503),
    ] {
        let expected = (refusal.to_owned(), close_code);
        assert_eq!(server.refusal(query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn an_unreachable_hook_refuses_everyone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let server = Server::start(WebSettings {
        hook: Some(RoomHook::new(&url)),
        ..WebSettings::default()
    })
    .await;
    assert_eq!(
        server.refusal("room=blue").await,
        ("unchecked".into(), 4503)
    );
}

#[tokio::test]
async fn a_page_needs_a_room_token_for_ice_servers_too() {
    let tokens = RoomTokens::new(b"secret");
    let settings = WebSettings {
        ice: servers(),
        tokens: Some(tokens.clone()),
        ..WebSettings::default()
    };
    let server = Server::start(settings).await;
    // A proxy on loopback forwards for a page elsewhere, which loopback's exemption must not cover.
    let page = ["X-Forwarded-For: 192.0.2.1", "Sec-Fetch-Site: same-origin"];
    let answer = within(server.request("GET /ice-servers?room=blue", &page, "")).await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (401, json!("token-required"))
    );
    let token = tokens.create("blue", u64::MAX);
    let answer = server
        .request(
            &format!("GET /ice-servers?room=blue&token={token}"),
            &page,
            "",
        )
        .await;
    assert_eq!(answer.status, 200);
}

/// Number of ICE servers in a welcome, and whether any has credentials.
async fn welcome(server: &Server, query: &str, headers: &[(&'static str, &str)]) -> (usize, bool) {
    let mut socket = server
        .socket(query, headers)
        .await
        .expect("the upgrade succeeds");
    let Some(Ok(tungstenite::Message::Text(text))) = within(socket.next()).await else {
        panic!("a welcome")
    };
    let welcome: Value = serde_json::from_str(&text).unwrap();
    let servers = welcome["iceServers"]
        .as_array()
        .unwrap_or_else(|| panic!("{welcome}"));
    (servers.len(), text.contains("credential"))
}

#[tokio::test]
async fn ice_open_decides_whose_welcome_has_credentials() {
    let (stun_alone, all) = ((1, false), (2, true));
    let start = async |access: IceAccess, change: fn(&mut WebSettings)| {
        let mut settings = WebSettings {
            ice: IceServers {
                access,
                ..servers()
            },
            ..WebSettings::default()
        };
        change(&mut settings);
        Server::start(settings).await
    };
    let tokens = RoomTokens::new(b"secret");
    let stranger = ("x-forwarded-for", "192.0.2.1");
    let page = ("origin", "https://call.example");
    let host = ("host", "call.example");
    for (open, here, from_page, from_elsewhere) in [
        (IceAccess::Public, all, all, all),
        (IceAccess::Loopback, all, stun_alone, stun_alone),
        (IceAccess::Nobody, stun_alone, stun_alone, stun_alone),
    ] {
        let server = start(open, |_| ()).await;
        assert_eq!(
            welcome(&server, "room=a", &[]).await,
            here,
            "{open:?}, this host"
        );
        assert_eq!(
            welcome(&server, "room=b", &[stranger, host, page]).await,
            from_page,
            "{open:?}, own page"
        );
        assert_eq!(
            welcome(&server, "room=c", &[stranger]).await,
            from_elsewhere,
            "{open:?}, a stranger"
        );
    }
    let query = format!("room=a&token={}", tokens.create("a", u64::MAX));
    for open in [IceAccess::Loopback, IceAccess::Nobody] {
        let server = start(open, |settings| {
            settings.tokens = Some(RoomTokens::new(b"secret"))
        })
        .await;
        assert_eq!(
            welcome(&server, &query, &[stranger]).await,
            all,
            "{open:?}: a token"
        );
    }
    let server = start(IceAccess::Loopback, |settings| {
        settings.origins = Origins::Any
    })
    .await;
    let app = ("origin", "https://app.example");
    assert_eq!(
        welcome(&server, "room=a", &[app]).await,
        stun_alone,
        "a page of any origin, in a browser on this host"
    );
}

/// What a client at `client` receives over a connection that the relay's TLS listener or another
/// host's network passes on.
async fn exchange(server: &Server, client: &str, secure: bool, request: &str) -> String {
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let info = ConnectionInfo {
        client: client.parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
        secure,
    };
    server.web.serve_stream(far, info).await;
    near.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    // A WebSocket stays open; its first message is a JSON object.
    while !received.ends_with(b"}") && within(near.read_buf(&mut received)).await.unwrap() > 0 {}
    String::from_utf8_lossy(&received).into_owned()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n")
}

fn upgrade(path: &str, headers: &str) -> String {
    let key = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{key}\r\n{headers}\r\n"
    )
}

/// The headers are those that a program can write itself to look like the page, or like a program
/// on this host.
#[tokio::test]
async fn a_stranger_receives_no_credentials_whatever_headers_it_sends() {
    let server = Server::start(WebSettings {
        ice: servers(),
        ..WebSettings::default()
    })
    .await;
    for (client, secure) in [("198.18.0.9:1234", false), ("127.0.0.1:1234", true)] {
        for headers in [
            "",
            "Sec-Fetch-Site: same-origin\r\n",
            "Origin: http://127.0.0.1\r\nReferer: http://127.0.0.1/?room=a\r\n",
            "X-Forwarded-For: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\n",
        ] {
            let answer = exchange(
                &server,
                client,
                secure,
                &get("/ice-servers?room=a", headers),
            )
            .await;
            assert!(
                answer.starts_with("HTTP/1.1 403") && answer.contains("not-open"),
                "{client} {headers}: {answer}"
            );
            let welcome = exchange(
                &server,
                client,
                secure,
                &upgrade("/signal?room=a&peers=9", headers),
            )
            .await;
            assert!(
                welcome.contains("\"welcome\"") && welcome.contains("stun:"),
                "{client} {headers}: {welcome}"
            );
            assert!(
                !welcome.contains("credential") && !welcome.contains("turn:"),
                "{client} {headers}: {welcome}"
            );
        }
    }
}

#[tokio::test]
async fn a_stranger_with_a_room_token_or_admitted_by_the_hook_receives_credentials() {
    let tokens = RoomTokens::new(b"secret");
    let token = tokens.create("a", u64::MAX);
    let guarded_by_tokens = Server::start(WebSettings {
        ice: servers(),
        tokens: Some(tokens),
        ..WebSettings::default()
    })
    .await;
    let (url, _) = hook().await;
    let guarded_by_hook = Server::start(WebSettings {
        ice: servers(),
        hook: Some(RoomHook::new(&url)),
        ..WebSettings::default()
    })
    .await;
    for (server, right, wrong) in [
        (&guarded_by_tokens, token.as_str(), "guess"),
        (&guarded_by_hook, "204", "403"),
    ] {
        for (token, receives) in [(right, true), (wrong, false)] {
            let query = format!("room=a&token={token}");
            let servers = get(&format!("/ice-servers?{query}"), "");
            let answer = exchange(server, "198.18.0.9:1", true, &servers).await;
            assert_eq!(answer.contains("credential"), receives, "{answer}");
            if receives {
                let signal = upgrade(&format!("/signal?{query}"), "");
                let welcome = exchange(server, "198.18.0.9:1", true, &signal).await;
                assert!(welcome.contains("credential"), "{welcome}");
            }
        }
        let no_room = exchange(server, "198.18.0.9:1", true, &get("/ice-servers", "")).await;
        assert!(no_room.starts_with("HTTP/1.1 403"), "{no_room}");
    }
}

/// A stranger's DNS name points the browsers of this host to a listener that only they can reach.
#[tokio::test]
async fn a_page_under_a_rebound_dns_name_is_refused() {
    let server = Server::start(WebSettings {
        ice: servers(),
        ..WebSettings::default()
    })
    .await;
    let port = server.address.port();
    let (host, origin) = (
        format!("evil.example:{port}"),
        format!("http://evil.example:{port}"),
    );
    let Err(tungstenite::Error::Http(answer)) = server
        .socket("room=a", &[("host", &host), ("origin", &origin)])
        .await
    else {
        panic!("the upgrade succeeded")
    };
    assert_eq!(answer.status(), 403);
    let lines = [
        format!("Host: {host}"),
        format!("Referer: {origin}/"),
        "X-Forwarded-For: 192.0.2.1".into(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        server
            .request("GET /ice-servers?room=a", &lines, "")
            .await
            .status,
        403
    );
    let proxied = [("host", "call.example"), ("origin", "https://call.example")];
    assert!(
        server.socket("room=a", &proxied).await.is_ok(),
        "a reverse proxy in front"
    );
}
