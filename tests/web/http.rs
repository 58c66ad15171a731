//! The page, the ICE servers and the back-end API over plain HTTP.

use futures_util::FutureExt;
use hairpin::service::ice_servers::{ApiKey, IceAccess, IceServers, mint};
use hairpin::service::web::{ConnectionInfo, Origins, Web, WebSettings};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Server, servers, within};

async fn start(ice: IceServers) -> Server {
    Server::start(WebSettings {
        ice,
        ..WebSettings::default()
    })
    .await
}

#[tokio::test]
async fn the_page_has_a_strict_policy_and_loads_only_its_own_files() {
    let server = start(servers()).await;
    let page = server.request("GET /", &[], "").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head.contains("content-type: text/html"),
        "{}",
        page.head
    );
    let policy = page
        .head
        .lines()
        .find(|line| line.starts_with("content-security-policy:"))
        .unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert!(page.head.contains("x-content-type-options: nosniff"));
    // Every referenced file is served here, and none is elsewhere.
    let is_path = |part: &&str| {
        part.starts_with('/')
            && part.len() > 1
            && part
                .chars()
                .all(|c| "/._".contains(c) || c.is_alphanumeric())
    };
    let mut linked: Vec<String> = page
        .body
        .split('"')
        .filter(is_path)
        .map(String::from)
        .collect();
    assert!(linked.len() >= 3, "{linked:?}");
    for script in [
        "/call.js",
        "/view.js",
        "/connection.js",
        "/picture.js",
        "/signal.js",
    ] {
        let text = server.request(&format!("GET {script}"), &[], "").await.body;
        let imported = text
            .split('"')
            .filter_map(|part| part.strip_prefix('.'))
            .filter(|part| is_path(part));
        linked.extend(imported.map(String::from));
    }
    for path in linked {
        let file = server.request(&format!("GET {path}"), &[], "").await;
        assert_eq!(file.status, 200, "{path}");
        for elsewhere in ["https://", "http://", "url(//", "@import"] {
            let known = file.body.replace("http://www.w3.org/", "");
            assert!(!known.contains(elsewhere), "{path} names {elsewhere}");
        }
    }
    for inline in ["<style", "style=", "onclick", "javascript:"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}

#[tokio::test]
async fn the_page_is_cached_by_its_entity_tag() {
    let server = start(servers()).await;
    let page = server.request("GET /call.js", &[], "").await;
    assert!(
        page.head.contains("content-type: text/javascript"),
        "{}",
        page.head
    );
    let exact = server.entity_tag("/call.js").await;
    let again = server
        .request("GET /call.js", &[&format!("If-None-Match: {exact}")], "")
        .await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_refused() {
    let server = start(servers()).await;
    assert_eq!(server.request("GET /nothing", &[], "").await.status, 404);
    assert_eq!(
        server.request("GET /../etc/passwd", &[], "").await.status,
        404
    );
    assert_eq!(server.request("POST /", &[], "").await.status, 405);
    let signal = server.request("GET /signal?room=blue", &[], "").await;
    assert_eq!(
        (signal.status, signal.json()["code"].clone()),
        (426, json!("not-websocket"))
    );
    assert!(signal.head.contains("upgrade: websocket"));
    assert_eq!(server.request("HEAD /", &[], "").await.status, 200);
}

/// RFC 6455 section 4.2.1: Connection and Upgrade are lists. Section 4.4: the response to another
/// version names the supported version.
#[tokio::test]
async fn upgrade_headers_are_lists_on_any_number_of_lines() {
    let server = start(servers()).await;
    for (lines, answer) in [
        (
            "Connection: keep-alive\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            "101",
        ),
        (
            "Connection: keep-alive, upgrade\r\nUpgrade: foo, WebSocket\r\nSec-WebSocket-Version: 13",
            "101",
        ),
        (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8",
            "426",
        ),
        (
            "Connection: Upgrade\r\nUpgrade: foo\r\nSec-WebSocket-Version: 13",
            "426",
        ),
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
        let request = format!(
            "GET /signal?room=a HTTP/1.1\r\nHost: {}\r\n{key}\r\n{lines}\r\n\r\n",
            server.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(
            head.starts_with(&format!("http/1.1 {answer} ")),
            "{lines}: {head}"
        );
        assert_eq!(
            head.contains("sec-websocket-version: 13"),
            answer == "426",
            "{head}"
        );
    }
}

#[tokio::test]
async fn the_ice_servers_response_has_its_documented_shape() {
    let server = start(IceServers {
        access: IceAccess::Public,
        ..servers()
    })
    .await;
    let answer = server
        .request(
            "GET /ice-servers?room=blue",
            &["Host: relay.example:8080"],
            "",
        )
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.head.contains("content-type: application/json")
            && answer.head.contains("cache-control: no-store")
    );
    let json = answer.json();
    assert_eq!(json["ttl"], 86_400);
    assert_eq!(
        json["iceServers"][0],
        json!({"urls": ["stun:relay.example:3478"]})
    );
    let turn = &json["iceServers"][1];
    let urls = json!([
        "turn:relay.example:3478?transport=udp",
        "turn:relay.example:3478?transport=tcp"
    ]);
    assert_eq!(turn["urls"], urls);
    let username = turn["username"].as_str().unwrap();
    let (expiry, name) = username.split_once(':').unwrap();
    assert_eq!(
        mint("north", name, expiry.parse().unwrap()),
        (username.into(), turn["credential"].as_str().unwrap().into())
    );
    assert_eq!(json["iceServers"].as_array().unwrap().len(), 2);
    assert_eq!(json.as_object().unwrap().len(), 2);
}

#[tokio::test]
async fn ice_servers_are_for_this_host_alone_by_default() {
    let server = start(servers()).await;
    let status = async |headers: &[&str], query: &str| {
        server
            .request(&format!("GET /ice-servers{query}"), headers, "")
            .await
            .status
    };
    let proxied = "X-Forwarded-For: 192.0.2.1";
    let own_page = "Sec-Fetch-Site: same-origin";
    let own_origin = format!("Origin: http://{}", server.address);
    let referer = format!("Referer: http://{}/?room=blue", server.address);
    for (case, headers, query, expected) in [
        ("a program on this host", &[][..], "", 200),
        (
            "a page on this host",
            &[own_page, &referer],
            "?room=blue",
            200,
        ),
        (
            "a foreign page on this host",
            &["Sec-Fetch-Site: cross-site"],
            "?room=blue",
            403,
        ),
        (
            "a DNS name that points to loopback",
            &["Host: rebound.example"],
            "",
            403,
        ),
        (
            "a foreign origin",
            &["Origin: http://evil.example"],
            "?room=blue",
            403,
        ),
        ("a client of a proxy", &[proxied], "?room=blue", 403),
        (
            "a client of a proxy that claims to be an own page",
            &[proxied, own_page, &own_origin, &referer],
            "?room=blue",
            403,
        ),
        ("an invalid room", &[], "?room=a/b", 400),
    ] {
        assert_eq!(status(headers, query).await, expected, "{case}");
    }
}

#[tokio::test]
async fn ice_open_widens_or_closes_ice_servers() {
    let server = Server::start(WebSettings {
        ice: IceServers {
            access: IceAccess::Public,
            ..servers()
        },
        origins: Origins::Any,
        ..WebSettings::default()
    })
    .await;
    let answer = server
        .request(
            "GET /ice-servers",
            &["X-Real-IP: 192.0.2.1", "Origin: https://app.example"],
            "",
        )
        .await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .head
            .contains("access-control-allow-origin: https://app.example")
    );
    let server = start(IceServers {
        access: IceAccess::Nobody,
        ..servers()
    })
    .await;
    let answer = server.request("GET /ice-servers?room=a", &[], "").await;
    assert_eq!(
        (answer.status, answer.json()["code"].clone()),
        (403, json!("not-open"))
    );
}

#[tokio::test]
async fn a_fixed_host_replaces_that_of_the_request() {
    let server = start(IceServers {
        host: Some("turn.example".into()),
        ..servers()
    })
    .await;
    let json = server
        .request("GET /ice-servers", &["Host: [::1]:8080"], "")
        .await
        .json();
    assert_eq!(json["iceServers"][0]["urls"][0], "stun:turn.example:3478");
}

#[tokio::test]
async fn a_back_end_generates_credentials_with_its_key() {
    let keys = vec![ApiKey {
        key: "shop".into(),
        bearer: "b3ar3r".into(),
    }];
    let server = start(IceServers { keys, ..servers() }).await;
    let path = "POST /v1/turn/keys/shop/credentials/generate-ice-servers";
    let json = "Content-Type: application/json";
    let good = server
        .request(
            path,
            &["Authorization: Bearer b3ar3r", json],
            r#"{"ttl":3600}"#,
        )
        .await;
    assert_eq!(good.status, 201, "{}", good.body);
    let answer = good.json();
    assert_eq!(answer["ttl"], 3_600);
    assert_eq!(answer["iceServers"][0]["urls"].as_array().unwrap().len(), 1);
    let (expiry, name) = answer["iceServers"][1]["username"]
        .as_str()
        .unwrap()
        .split_once(':')
        .unwrap();
    let in_an_hour = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() + 3_600;
    assert!((in_an_hour - 60..=in_an_hour).contains(&expiry.parse().unwrap()));
    assert_eq!(name, "shop");
    for (headers, body, status, code) in [
        (vec![], r#"{"ttl":60}"#, 401, "bad-key"),
        (
            vec!["Authorization: Bearer wrong"],
            r#"{"ttl":60}"#,
            401,
            "bad-key",
        ),
        (
            vec!["Authorization: Basic b3ar3r"],
            r#"{"ttl":60}"#,
            401,
            "bad-key",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"ttl":0}"#,
            400,
            "bad-ttl",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"ttl":172801}"#,
            400,
            "bad-ttl",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"ttl":"an hour"}"#,
            400,
            "bad-ttl",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"ttl":"#,
            400,
            "bad-request",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            "[]",
            400,
            "bad-request",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"customIdentifier":"a\nb"}"#,
            400,
            "bad-name",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"customIdentifier":"\u001b[31m"}"#,
            400,
            "bad-name",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"customIdentifier":""}"#,
            400,
            "bad-name",
        ),
        (
            vec!["Authorization: Bearer b3ar3r"],
            r#"{"customIdentifier":7}"#,
            400,
            "bad-name",
        ),
    ] {
        let answer = server.request(path, &headers, body).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{headers:?} {body}"
        );
    }
    let other = path.replace("shop", "shelf");
    assert_eq!(
        server
            .request(&other, &["Authorization: Bearer b3ar3r"], "")
            .await
            .status,
        401
    );
    let plain = server
        .request(path, &["Authorization: bearer b3ar3r"], "")
        .await;
    assert_eq!((plain.status, &plain.json()["ttl"]), (201, &json!(86_400)));
    let named = server
        .request(
            path,
            &["Authorization: Bearer b3ar3r"],
            r#"{"ttl":60,"customIdentifier":"ann"}"#,
        )
        .await;
    assert!(
        named.json()["iceServers"][1]["username"]
            .as_str()
            .unwrap()
            .ends_with(":ann")
    );
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(20_000));
    assert_eq!(
        server
            .request(path, &["Authorization: Bearer b3ar3r"], &large)
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn without_configured_keys_the_api_refuses_everyone() {
    let server = start(servers()).await;
    let path = "POST /v1/turn/keys/x/credentials/generate-ice-servers";
    assert_eq!(
        server
            .request(path, &["Authorization: Bearer "], "")
            .await
            .status,
        401
    );
    assert_eq!(
        server
            .request(
                "GET /v1/turn/keys/x/credentials/generate-ice-servers",
                &[],
                ""
            )
            .await
            .status,
        405
    );
}

#[tokio::test]
async fn a_stream_accepted_elsewhere_is_served() {
    let web = Web::new(WebSettings {
        ice: servers(),
        ..WebSettings::default()
    })
    .unwrap();
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let arrival = ConnectionInfo {
        client: "192.0.2.9:1234".parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
        secure: true,
    };
    web.serve_stream(far, arrival).await;
    near.write_all(b"GET /ice-servers HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    within(near.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "a stranger: {answer}");
}

#[tokio::test]
async fn a_new_call_url_opens_its_own_room() {
    let server = start(servers()).await;
    let url = hairpin::service::web::new_call_url(server.address).unwrap();
    let room = url
        .strip_prefix(&format!("http://{}/?", server.address))
        .expect("the listener's address");
    server.join(room).await;
    let wildcard = hairpin::service::web::new_call_url("[::]:80".parse().unwrap()).unwrap();
    assert!(
        wildcard.starts_with("http://localhost:80/?room="),
        "{wildcard}"
    );
    assert_ne!(wildcard.split_once('?').unwrap().1, room);
}

#[tokio::test]
async fn all_listeners_share_one_limit_of_connections() {
    let server = Server::start(WebSettings {
        http_connections: 1,
        ..WebSettings::default()
    })
    .await;
    let arrival = ConnectionInfo {
        client: "192.0.2.9:1234".parse().unwrap(),
        local: "192.0.2.1:443".parse().unwrap(),
        secure: true,
    };
    let (near, far) = tokio::io::duplex(64 << 10);
    server.web.serve_stream(far, arrival).await;
    let mut waiting = Box::pin(server.request("GET /", &[], ""));
    assert!(waiting.as_mut().now_or_never().is_none());
    let (_, second) = tokio::io::duplex(64);
    let mut second = Box::pin(server.web.serve_stream(second, arrival));
    assert!(
        second.as_mut().now_or_never().is_none(),
        "the only permit is in use"
    );
    drop(second);
    drop(near);
    assert_eq!(within(waiting).await.status, 200);
}

#[tokio::test]
async fn connections_without_a_complete_request_time_out() {
    let settings = WebSettings {
        http_connections: 2,
        http_timeout: Duration::from_millis(50),
        ..WebSettings::default()
    };
    let server = Server::start(settings).await;
    let mut silent = Vec::new();
    for sent in [
        "",
        "P",
        "GET /call.js HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "",
    ] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    assert_eq!(within(server.request("GET /", &[], "")).await.status, 200);
    for mut stream in silent {
        let mut nothing = Vec::new();
        // A reset ends the connection as well.
        let _ = within(stream.read_to_end(&mut nothing)).await;
        assert!(!nothing.starts_with(b"HTTP/1.1 200"));
    }
}
