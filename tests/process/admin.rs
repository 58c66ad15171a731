//! The admin API, its OpenAPI document, and `hairpin admin`.

use crate::support::client::{PASSWORD, USER};
use crate::support::codec::Outgoing;
use crate::support::directory::Directory;
use crate::support::operator::{ask, json};
use crate::support::process::{OTHER_PASSWORD, OTHER_USER, Setup};
use crate::{hairpin, stderr, stdout};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

#[test]
fn allocations_are_listed_filtered_paged_and_closed() {
    let server = Setup::new().flag("--web", "off").start();
    let (mut udp, mut tcp, mut bob) = (server.udp(), server.tcp(), server.udp());
    let relayed = udp.allocate();
    tcp.allocate();
    bob.login(OTHER_USER, OTHER_PASSWORD);
    assert!(bob.ask(Outgoing::allocate()).is_success());
    assert_eq!(json(&server, "GET", "/allocations")["total"], 3);
    assert_eq!(
        json(&server, "GET", "/allocations?transport=tcp")["total"],
        1
    );
    assert_eq!(
        json(&server, "GET", "/allocations?client=127.0.0.2")["total"],
        0
    );
    let page = json(&server, "GET", "/allocations?limit=1&offset=1");
    assert_eq!(
        (
            page["total"].as_u64(),
            page["allocations"].as_array().unwrap().len()
        ),
        (Some(3), 1)
    );
    let mine = json(
        &server,
        "GET",
        &format!("/allocations?user={USER}&transport=udp"),
    );
    let mine = &mine["allocations"][0];
    assert_eq!(mine["relayed"][0], relayed.to_string());
    let id = mine["id"].as_str().unwrap();
    let peer = crate::support::client::Peer::v4();
    udp.bind(0x4001, peer.address);
    let detail = json(&server, "GET", &format!("/allocations/{id}"));
    assert_eq!(detail["client"], udp.address.to_string());
    assert_eq!(detail["permissions"][0]["peer"], "127.0.0.1");
    assert_eq!(detail["channels"][0]["number"], "0x4001");
    assert_eq!(detail["channels"][0]["peer"], peer.address.to_string());
    assert_eq!(detail["to_peers_bytes_per_second"], 0.0);
    assert_eq!(
        json(&server, "DELETE", &format!("/allocations/{id}"))["closed"],
        1
    );
    assert_eq!(
        ask(server.admin, "GET", &format!("/allocations/{id}"), "", "").0,
        404
    );
    assert_eq!(
        udp.ask(Outgoing::request(crate::support::codec::REFRESH))
            .error(),
        Some(437)
    );
    assert_eq!(json(&server, "GET", "/users")["total"], 2);
    assert_eq!(
        json(
            &server,
            "DELETE",
            &format!("/users/{OTHER_USER}/allocations")
        )["closed"],
        1
    );
}

#[test]
fn a_blocked_user_cannot_allocate_until_unblocked() {
    let server = Setup::new().flag("--web", "off").start();
    json(&server, "PUT", &format!("/users/{USER}/block?for=1h"));
    let mut client = server.udp();
    client.login(USER, PASSWORD);
    assert_eq!(client.ask(Outgoing::allocate()).error(), Some(403));
    let mut other = server.udp();
    other.login(OTHER_USER, OTHER_PASSWORD);
    assert!(other.ask(Outgoing::allocate()).is_success());
    json(&server, "DELETE", &format!("/users/{USER}/block"));
    assert!(client.ask(Outgoing::allocate()).is_success());
    assert_eq!(
        ask(server.admin, "DELETE", "/users/nobody/block", "", "").0,
        404
    );
    let answer = json(&server, "PUT", &format!("/users/{USER}/block?for=1h"));
    assert_eq!(
        (answer["blocked"].as_str(), answer["closed"].as_u64()),
        (Some(USER), Some(1))
    );
    assert_eq!(
        client
            .ask(Outgoing::request(crate::support::codec::REFRESH))
            .error(),
        Some(437),
        "its allocation ended"
    );
    assert_eq!(
        json(&server, "GET", "/allocations")["total"],
        1,
        "the allocation of the other user is not affected"
    );
}

/// A misspelled duration must not become the default duration.
#[test]
fn unknown_parameters_and_unexpected_bodies_are_refused() {
    let server = Setup::new().flag("--web", "off").start();
    let block = format!("/users/{USER}/block");
    for (method, path, body, word) in [
        ("PUT", format!("{block}?seconds=5"), "", "`seconds`"),
        ("PUT", format!("{block}?for=5s&four=5s"), "", "`four`"),
        ("PUT", block.clone(), r#"{"seconds":5}"#, "no body"),
        ("POST", "/drain?dealine=1h".into(), "", "deadline"),
        ("POST", "/reload".into(), "now", "no body"),
        ("GET", "/allocations?usr=ann".into(), "", "`usr`"),
        ("GET", "/status?x".into(), "", "`x`"),
    ] {
        let (status, message) = ask(server.admin, method, &path, "", body);
        assert!(
            status == 400 && message.contains(word),
            "{method} {path}: {status} {message}"
        );
    }
    assert_eq!(
        json(&server, "GET", "/users")["blocked"],
        serde_json::json!([])
    );
    assert!(server.get("/readyz").0.contains("200"));
    json(&server, "PUT", &format!("{block}?for=1h"));
    let blocked = &json(&server, "GET", "/users")["blocked"][0];
    assert_eq!(blocked["user"], USER);
    assert!(
        (3590..=3600).contains(&blocked["seconds_left"].as_u64().unwrap()),
        "{blocked}"
    );
}

#[test]
fn a_block_survives_a_reload_and_ends_on_time() {
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--shared-secret", crate::support::process::SECRET)
        .start();
    let name = |expiry: u64| format!("{expiry}:carol");
    json(
        &server,
        "PUT",
        &format!("/users/{}/block?for=3s", name(1).replace(':', "%3A")),
    );
    json(&server, "POST", "/reload");
    let credentials = hairpin(&[
        "credentials",
        "--shared-secret",
        crate::support::process::SECRET,
        "--user",
        "carol",
    ]);
    let shown = stdout(&credentials);
    let value = crate::json_in(&shown);
    let (username, password) = (
        crate::find_text(&value, "username"),
        crate::find_text(&value, "credential"),
    );
    let mut client = server.udp();
    client.login(&username.unwrap(), &password.unwrap());
    assert_eq!(
        client.ask(Outgoing::allocate()).error(),
        Some(403),
        "the expiry of a time-limited name is ignored"
    );
    crate::support::operator::until("an end of the block", || {
        client.ask(Outgoing::allocate()).is_success()
    });
}

/// Every operation of the document is served, and its response matches the schema.
#[test]
fn responses_match_the_openapi_document() {
    let server = Setup::new().flag("--web", "off").start();
    let mut client = server.udp();
    client.allocate();
    client.bind(0x4000, crate::support::client::Peer::v4().address);
    let document = json(&server, "GET", "/openapi.json");
    let id = json(&server, "GET", "/allocations")["allocations"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let operations = document["paths"].as_object().unwrap().values();
    let operations = operations.flat_map(|methods| methods.as_object().unwrap().values());
    let ids: Vec<_> = operations
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(
        ids.len(),
        ids.iter().collect::<BTreeSet<_>>().len(),
        "{ids:?}"
    );
    let mut served = 0;
    // Operations that end the allocation or the server come last.
    for last in [false, true] {
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let is_ending = method == "delete" || method == "put" || path == "/drain";
                if is_ending != last {
                    continue;
                }
                let has_body = path == "/log-level" && method == "put";
                let path = path
                    .replace("{id}", &id)
                    .replace("{user}", if path.contains("block") { "bob" } else { USER });
                let (status, body) = ask(
                    server.admin,
                    &method.to_uppercase(),
                    &path,
                    "",
                    if has_body { "info" } else { "" },
                );
                let documented = operation["responses"].get(status.to_string());
                assert!(
                    documented.is_some(),
                    "{method} {path}: {status} is not in the document: {body}"
                );
                if let Some(schema) = operation["responses"][status.to_string()]
                    .pointer("/content/application~1json/schema")
                {
                    let value: Value = serde_json::from_str(&body).unwrap();
                    assert_matches(&document, schema, &value, &format!("{method} {path}"));
                }
                served += usize::from(status == 200);
            }
        }
    }
    assert!(served >= 16, "{served}");
    let unknown = ask(server.admin, "GET", "/no-such-page", "", "").0;
    assert_eq!(unknown, 404);
}

/// Asserts that a value matches a schema: types, required members, no unknown members; references
/// and `allOf` are followed.
fn assert_matches(document: &Value, schema: &Value, value: &Value, at: &str) {
    let parts = flatten(document, schema);
    for part in &parts {
        let fits = match part["type"].as_str().unwrap() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_u64() || value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            other => panic!("{at}: {other}"),
        };
        assert!(fits, "{at}: {value} is no {}", part["type"]);
        if let Some(allowed) = part["enum"].as_array() {
            assert!(
                allowed.contains(value),
                "{at}: {value} is not in {allowed:?}"
            );
        }
        for item in value.as_array().into_iter().flatten() {
            assert_matches(document, &part["items"], item, &format!("{at}[]"));
        }
        for name in part["required"].as_array().into_iter().flatten() {
            assert!(
                value.get(name.as_str().unwrap()).is_some(),
                "{at}: no {name}"
            );
        }
    }
    let known: Vec<_> = parts
        .iter()
        .filter_map(|part| part["properties"].as_object())
        .collect();
    let other = parts
        .iter()
        .find_map(|part| part.get("additionalProperties"));
    if known.is_empty() && other.is_none() {
        return;
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let schema = known
            .iter()
            .find_map(|properties| properties.get(name))
            .or(other);
        let schema = schema.unwrap_or_else(|| panic!("{at}: {name} is not in the schema"));
        assert_matches(document, schema, member, &format!("{at}.{name}"));
    }
}

/// The schemas without references and `allOf` whose conjunction a schema is.
fn flatten<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        return flatten(document, target.unwrap_or_else(|| panic!("no {reference}")));
    }
    match schema["allOf"].as_array() {
        Some(parts) => parts
            .iter()
            .flat_map(|part| flatten(document, part))
            .collect(),
        None => vec![schema],
    }
}

#[test]
fn the_plan_hides_secrets_and_the_log_level_changes() {
    let server = Setup::new().flag("--web", "off").start();
    let plan = json(&server, "GET", "/plan").to_string();
    assert!(
        plan.contains("--relay-address") && !plan.contains(PASSWORD),
        "{plan}"
    );
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "debug").0, 200);
    assert_eq!(json(&server, "GET", "/log-level")["filter"], "debug");
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "=,=").0, 400);
    let document = json(&server, "GET", "/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/allocations/{id}"]["delete"].is_object());
}

/// A page of another site must not control a listener on loopback; a configured token is required.
#[test]
fn cross_origin_requests_and_wrong_tokens_are_refused() {
    let server = Setup::new().flag("--web", "off").start();
    assert_eq!(
        ask(
            server.admin,
            "POST",
            "/drain",
            "Origin: https://evil.example\r\n",
            ""
        )
        .0,
        403
    );
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--admin-token", "north by northwest")
        .start();
    assert_eq!(ask(server.admin, "GET", "/allocations", "", "").0, 401);
    assert_eq!(
        ask(
            server.admin,
            "GET",
            "/allocations",
            "Authorization: Bearer south\r\n",
            ""
        )
        .0,
        401
    );
    assert_eq!(
        ask(
            server.admin,
            "GET",
            "/allocations",
            "Authorization: Bearer north by northwest\r\n",
            ""
        )
        .0,
        200
    );
    assert_eq!(ask(server.admin, "GET", "/metrics", "", "").0, 200);
}

/// DNS rebinding: metrics and health need no Host, everything else needs one that DNS does not
/// control. The request line overrides the Host header.
#[test]
fn without_a_local_host_only_metrics_and_health_are_served() {
    let server = Setup::new().flag("--web", "off").start();
    let status = |head: &str| {
        let mut stream = TcpStream::connect(server.admin).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };
    let (host, admin) = (format!("Host: {}", server.admin), server.admin);
    for (head, wanted) in [
        ("GET /metrics HTTP/1.0".to_owned(), 200),
        ("GET /healthz HTTP/1.1".to_owned(), 200),
        ("GET /plan HTTP/1.0".to_owned(), 403),
        ("GET /plan HTTP/1.1".to_owned(), 403),
        (format!("GET /plan HTTP/1.1\r\n{host}"), 200),
        (
            format!("GET http://evil.example/plan HTTP/1.1\r\n{host}"),
            403,
        ),
        (
            format!("GET http://{admin}/plan HTTP/1.1\r\nHost: evil.example"),
            200,
        ),
        (
            format!("GET /plan HTTP/1.1\r\n{host}\r\nHost: evil.example"),
            400,
        ),
    ] {
        assert_eq!(status(&head), wanted, "{head}");
    }
}

#[test]
fn hairpin_admin_prints_tables_and_json() {
    let server = Setup::new().flag("--web", "off").start();
    let mut client = server.udp();
    let relayed = client.allocate().to_string();
    let admin = server.admin.to_string();
    let table = hairpin(&["admin", "list", "--admin", &admin]);
    assert!(
        stdout(&table).contains(&relayed) && stdout(&table).contains("1 of 1"),
        "{}",
        stdout(&table)
    );
    let output = hairpin(&["admin", "--json", "users", "--admin", &admin]);
    let users: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(users["users"][0]["user"], USER);
    assert_eq!(
        hairpin(&["admin", "show", "7", "--admin", &admin])
            .status
            .code(),
        Some(1),
        "a valid request for an allocation that does not exist"
    );
    assert_eq!(
        hairpin(&["admin", "unblock", USER, "--admin", &admin])
            .status
            .code(),
        Some(1)
    );
    assert_eq!(
        hairpin(&["admin", "log-level", "=,=", "--admin", &admin])
            .status
            .code(),
        Some(2)
    );
    let blocked = hairpin(&["admin", "block", USER, "--for", "10m", "--admin", &admin]);
    assert_eq!(blocked.status.code(), Some(0), "{}", stderr(&blocked));
    assert_eq!(
        client
            .ask(Outgoing::request(crate::support::codec::REFRESH))
            .error(),
        Some(437),
        "its allocation ended"
    );
    let users = hairpin(&["admin", "users", "--admin", &admin]);
    assert!(
        stdout(&users).contains("blocked:") && stdout(&users).contains(USER),
        "{}",
        stdout(&users)
    );
    assert_eq!(
        hairpin(&["admin", "list", "--admin", "127.0.0.1:1"])
            .status
            .code(),
        Some(1)
    );
}

#[test]
fn hairpin_admin_works_over_a_unix_socket() {
    let directory = Directory::new("admin-unix");
    let place = format!("unix:{}", directory.join("admin.sock").display());
    let listen = format!("127.0.0.1:{}", crate::support::process::free_port());
    let flags = [
        "serve",
        "--listen",
        &listen,
        "--admin",
        &place,
        "--web",
        "off",
        "--relay-address",
        "127.0.0.1",
    ];
    let mut child = crate::command(&flags)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    crate::support::operator::until("an answer", || {
        hairpin(&["admin", "status", "--admin", &place])
            .status
            .success()
    });
    let drained = hairpin(&["admin", "drain", "--admin", &place]);
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
