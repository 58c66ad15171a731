//! Issue 8: "Admin API on the admin listener [...]: list and filter allocations (paged), one in detail, close one or all of a user,
//! block a user for a time, users' totals, current plan, log level, drain, reload. OpenAPI document. `hairpin admin …`".

use crate::client::{PASSWORD, USER};
use crate::codec::Outgoing;
use crate::fixture::{OTHER_PASSWORD, OTHER_USER, Setup};
use crate::operating::{Directory, ask, json};
use crate::{hairpin, stderr, stdout};

#[test]
fn allocations_are_listed_filtered_paged_and_closed() {
    let server = Setup::new().flag("--web", "off").start();
    let (mut udp, mut tcp, mut bob) = (server.udp(), server.tcp(), server.udp());
    let relayed = udp.allocate();
    tcp.allocate();
    bob.login(OTHER_USER, OTHER_PASSWORD);
    assert!(bob.ask(Outgoing::allocate()).is_success());
    assert_eq!(json(&server, "GET", "/allocations")["total"], 3);
    assert_eq!(json(&server, "GET", "/allocations?transport=tcp")["total"], 1);
    assert_eq!(json(&server, "GET", "/allocations?client=127.0.0.2")["total"], 0);
    let page = json(&server, "GET", "/allocations?limit=1&offset=1");
    assert_eq!((page["total"].as_u64(), page["allocations"].as_array().unwrap().len()), (Some(3), 1));
    let mine = json(&server, "GET", &format!("/allocations?user={USER}&transport=udp"));
    let mine = &mine["allocations"][0];
    assert_eq!(mine["relayed"][0], relayed.to_string());
    let id = mine["id"].as_str().unwrap();
    let peer = crate::client::Peer::v4();
    udp.bind(0x4001, peer.address);
    let detail = json(&server, "GET", &format!("/allocations/{id}"));
    assert_eq!(detail["client"], udp.address.to_string());
    assert_eq!(detail["permissions"][0]["peer"], "127.0.0.1");
    assert_eq!(detail["channels"][0]["number"], "0x4001");
    assert_eq!(detail["channels"][0]["peer"], peer.address.to_string());
    assert_eq!(detail["to_peers_bytes_per_second"], 0.0);
    assert_eq!(json(&server, "DELETE", &format!("/allocations/{id}"))["closed"], 1);
    assert_eq!(ask(server.admin, "GET", &format!("/allocations/{id}"), "", "").0, 404);
    assert_eq!(udp.ask(Outgoing::request(crate::codec::REFRESH)).error(), Some(437));
    assert_eq!(json(&server, "GET", "/users")["total"], 2);
    assert_eq!(json(&server, "DELETE", &format!("/users/{OTHER_USER}/allocations"))["closed"], 1);
}

#[test]
fn a_blocked_user_stays_out_until_it_is_let_in() {
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
    assert_eq!(ask(server.admin, "DELETE", "/users/nobody/block", "", "").0, 404);
}

#[test]
fn the_plan_hides_secrets_and_the_log_level_changes() {
    let server = Setup::new().flag("--web", "off").start();
    let plan = json(&server, "GET", "/plan").to_string();
    assert!(plan.contains("--relay-address") && !plan.contains(PASSWORD), "{plan}");
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "debug").0, 200);
    assert_eq!(json(&server, "GET", "/log-level")["filter"], "debug");
    assert_eq!(ask(server.admin, "PUT", "/log-level", "", "=,=").0, 400);
    let document = json(&server, "GET", "/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/allocations/{id}"]["delete"].is_object());
}

/// A page that a browser shows must not give orders to loopback, and a token is wanted where one is set.
#[test]
fn strangers_are_turned_away() {
    let server = Setup::new().flag("--web", "off").start();
    assert_eq!(ask(server.admin, "POST", "/drain", "Origin: https://evil.example\r\n", "").0, 403);
    let server = Setup::new().flag("--web", "off").flag("--admin-token", "north by northwest").start();
    assert_eq!(ask(server.admin, "GET", "/allocations", "", "").0, 401);
    assert_eq!(ask(server.admin, "GET", "/allocations", "Authorization: Bearer south\r\n", "").0, 401);
    assert_eq!(ask(server.admin, "GET", "/allocations", "Authorization: Bearer north by northwest\r\n", "").0, 200);
    assert_eq!(ask(server.admin, "GET", "/metrics", "", "").0, 200);
}

#[test]
fn the_command_line_shows_tables_and_json() {
    let server = Setup::new().flag("--web", "off").start();
    let mut client = server.udp();
    let relayed = client.allocate().to_string();
    let admin = server.admin.to_string();
    let table = hairpin(&["admin", "list", "--admin", &admin]);
    assert!(stdout(&table).contains(&relayed) && stdout(&table).contains("1 of 1"), "{}", stdout(&table));
    let output = hairpin(&["admin", "--json", "users", "--admin", &admin]);
    let users: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(users["users"][0]["user"], USER);
    assert_eq!(hairpin(&["admin", "show", "7", "--admin", &admin]).status.code(), Some(2));
    let blocked = hairpin(&["admin", "block", USER, "--for", "10m", "--admin", &admin]);
    assert_eq!(blocked.status.code(), Some(0), "{}", stderr(&blocked));
    assert_eq!(client.ask(Outgoing::request(crate::codec::REFRESH)).error(), Some(437), "its allocation ended");
    assert_eq!(hairpin(&["admin", "list", "--admin", "127.0.0.1:1"]).status.code(), Some(1));
}

#[test]
fn a_unix_socket_will_do() {
    let directory = Directory::new("admin-unix");
    let place = format!("unix:{}", directory.0.join("admin.sock").display());
    let listen = format!("127.0.0.1:{}", crate::fixture::free_port());
    let flags = ["serve", "--listen", &listen, "--admin", &place, "--web", "off", "--relay-address", "127.0.0.1"];
    let mut child = crate::command(&flags).stdout(std::process::Stdio::null()).spawn().unwrap();
    crate::operating::until("an answer", || hairpin(&["admin", "status", "--admin", &place]).status.success());
    let drained = hairpin(&["admin", "drain", "--admin", &place]);
    assert_eq!(drained.status.code(), Some(0), "{}", stderr(&drained));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
