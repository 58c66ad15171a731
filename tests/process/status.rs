//! The status page in headless Chromium: its numbers, its states, its requests, and its
//! accessibility.

use crate::support::TIMEOUT;
use crate::support::axe;
use crate::support::browser::{Browser, Look, Page, is_chromium_installed};
use crate::support::client::{Client, Peer, USER};
use crate::support::directory::Directory;
use crate::support::process::{Setup, free_port};
use serde_json::json;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// With traffic over two transports, every number on the page equals its metric.
#[test]
fn the_page_shows_the_numbers_of_the_metrics() {
    let Some(browser) = browser() else { return };
    let files = Directory::new("status-page");
    let (chain, key) = certificate();
    let (chain, key) = (
        files.write("chain.pem", &chain),
        files.write("key.pem", &key),
    );
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--certificate", &chain)
        .flag("--private-key", &key)
        .start();
    let page = open(&browser, server.admin);
    page.wait("document.body.dataset.state === 'running'");
    for nothing in ["users-empty", "discards-empty"] {
        page.wait(&format!("!document.getElementById('{nothing}').hidden"));
    }

    let peer = Peer::v4();
    let mut clients = [server.udp(), server.tcp()].map(|mut client| {
        let relayed = client.allocate();
        client.bind(0x4000, peer.address);
        (client, relayed)
    });
    relay_until(&page, &mut clients, &peer, FLOWS);
    for _ in 0..3 {
        clients[0].0.send_channel(0x4001, b"unbound");
    }
    clients[0].0.fence();

    for (index, transport) in ["udp", "tcp", "tls", "dtls"].into_iter().enumerate() {
        let label = format!("transport=\"{transport}\"");
        let alive = server.metric("hairpin_allocations", &[&label]);
        assert_eq!(alive, if index < 2 { 1.0 } else { 0.0 });
        shows(&page, "alive", transport, 1, alive);
        for (column, direction) in [(1, "to_peer"), (2, "to_client")] {
            let direction = format!("direction=\"{direction}\"");
            let octets = server.metric("hairpin_relayed_bytes_total", &[&label, &direction]);
            assert_eq!(octets > 0.0, index < 2, "{transport} {direction}");
            shows(&page, "flows", transport, column, octets);
        }
    }
    let dropped = server.metric("hairpin_discards_total", &["reason=\"no_channel\""]);
    assert_eq!(dropped, 3.0);
    shows(&page, "discards", "no_channel", 3, dropped);
    shows(&page, "users", USER, 1, 2.0);
    shows(
        &page,
        "users",
        USER,
        4,
        server.metric("hairpin_relayed_bytes_total", &[]),
    );
    let taken = server.metric("hairpin_relay_ports_used", &[]);
    page.wait(&format!(
        "document.getElementById('now-ports').textContent.startsWith('{taken} of ')"
    ));
    let started = server.metric("hairpin_allocations_started_total", &[]);
    page.wait(&format!(
        "document.getElementById('server').innerText.replace(/\\n/g, ' ').includes('Allocations started {started}')"
    ));
    assert_eq!(
        page.evaluate("document.querySelectorAll('#shards tr').length"),
        json!(2)
    );
    let left = server.certificate_seconds_left("relay.example.net");
    let shown = page.evaluate(&cell("certificates", "relay.example.net", 2));
    let shown: f64 = shown.as_str().unwrap().parse().unwrap();
    assert!((shown - left).abs() < 60.0, "{shown} and {left}");

    // Every series with traffic is drawn: both directions, both transports.
    for (plot, tones) in [("allocations", 2), ("throughput", 4), ("discards", 1)] {
        let drawn = format!(
            "[...document.querySelectorAll('#plot-{plot} .area')].filter(area => area.getBBox().height > 0).length"
        );
        assert_eq!(page.evaluate(&drawn), json!(tones), "{plot}");
    }
    page.wait("document.getElementById('discards').innerText.includes('ChannelData with a channel number that is not bound')");
    assert_no_foreign_requests(&page, server.admin);
    let table = crate::stdout(&crate::hairpin(&[
        "admin",
        "status",
        "--admin",
        &server.admin.to_string(),
    ]));
    assert!(
        table.contains("relay.example.net") && table.contains("no_channel 3"),
        "hairpin admin status has the same numbers: {table}"
    );
    take_screenshots(&page, "busy");
    assert_accessible(&browser, server.admin, "running", "busy");
}

#[test]
fn the_page_asks_for_a_token_and_forgets_it() {
    let Some(browser) = browser() else { return };
    let server = Setup::new()
        .flag("--web", "off")
        .flag("--admin-token", "north by northwest")
        .start();
    let page = open(&browser, server.admin);
    page.wait("document.body.dataset.state === 'locked'");
    page.wait(
        "document.activeElement.id === 'token' && document.getElementById('dashboard').hidden",
    );
    page.fill("token", "south");
    page.press("Enter");
    page.wait("document.getElementById('token-error').textContent === 'Wrong token.'");
    page.wait(
        "document.activeElement.id === 'token' && document.getElementById('dashboard').hidden",
    );
    take_screenshots(&page, "token");
    page.fill("token", "north by northwest");
    page.press("Enter");
    page.wait(
        "document.body.dataset.state === 'running' && !document.getElementById('dashboard').hidden",
    );
    assert_eq!(
        page.evaluate("document.documentElement.outerHTML.includes('northwest')"),
        json!(false)
    );
    page.open(&format!("http://{}/", server.admin));
    page.wait("document.body.dataset.state === 'running'");
    page.click("forget-token");
    page.wait("document.body.dataset.state === 'locked' && document.activeElement.id === 'token'");
    page.open(&format!("http://{}/", server.admin));
    page.wait("document.body.dataset.state === 'locked'");
    assert_accessible(&browser, server.admin, "locked", "token");
}

#[test]
fn the_page_shows_pause_outage_restart_and_drain() {
    let Some(browser) = browser() else { return };
    let [v4, v6, admin] = addresses();
    let arguments = Setup::new()
        .flag("--web", "off")
        .flag("--drain-timeout", "10m")
        .arguments(v4, v6, admin);
    let first = Process::start(&arguments);
    first.answers(admin);
    let page = open(&browser, admin);
    page.wait("document.body.dataset.state === 'running'");
    page.press("Tab");
    assert_eq!(page.evaluate("document.activeElement.id"), json!("pause"));
    page.press("Enter");
    page.wait("document.body.dataset.state === 'paused'");
    assert_eq!(
        page.evaluate("document.getElementById('pause').getAttribute('aria-pressed')"),
        json!("true")
    );
    page.press("Enter");
    page.wait("document.body.dataset.state === 'running'");
    drop(first);
    page.wait("document.body.dataset.state === 'unreachable'");
    page.wait("document.getElementById('state').textContent.startsWith('No response since ')");
    take_screenshots(&page, "unreachable");
    let second = Process::start(&arguments);
    page.wait("document.body.dataset.state === 'running'");
    assert_eq!(
        page.evaluate("document.getElementById('now-to-peers').textContent.includes('-')"),
        json!(false)
    );
    let mut client = Client::udp(v4);
    client.allocate();
    second.signal("TERM");
    page.wait("document.getElementById('state').textContent === 'Draining: no new allocations'");
    assert_accessible(&browser, admin, "draining", "draining");
}

/// Without a token, a listener on all addresses serves only metrics and health; the page explains
/// how to set one.
#[test]
fn without_a_token_a_public_listener_asks_to_set_one() {
    let Some(browser) = browser() else { return };
    let [v4, v6, admin] = addresses();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, admin.port()));
    let process = Process::start(
        &Setup::new()
            .flag("--web", "off")
            .arguments(v4, v6, everywhere),
    );
    process.answers(admin);
    let page = open(&browser, admin);
    page.wait("document.body.dataset.state === 'forbidden'");
    page.wait(
        "document.getElementById('forbidden-message').textContent.includes('set admin_token')",
    );
    assert_eq!(
        page.evaluate("document.getElementById('login').hidden"),
        json!(true)
    );
    assert_accessible(&browser, admin, "forbidden", "forbidden");
}

/// A server on fixed ports, so that it can be restarted.
struct Process(Child);

impl Process {
    fn start(arguments: &[String]) -> Process {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Process(
            crate::command(&arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }

    fn answers(&self, admin: SocketAddr) {
        crate::support::operator::until("an answer", || {
            std::net::TcpStream::connect(admin).is_ok()
        });
    }

    fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn addresses() -> [SocketAddr; 3] {
    let (port, admin) = (free_port(), free_port());
    [
        (Ipv4Addr::LOCALHOST, port).into(),
        (Ipv6Addr::LOCALHOST, port).into(),
        (Ipv4Addr::LOCALHOST, admin).into(),
    ]
}

/// Chromium that resolves no names and reaches no other host.
fn browser() -> Option<Browser> {
    let offline = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";
    is_chromium_installed().then(|| Browser::launch_with(&[], &[offline]))
}

/// Opens the page and records violations of its content security policy.
fn open(browser: &Browser, admin: SocketAddr) -> Page {
    let page = browser.page("about:blank#");
    page.prepare(
        "globalThis.forbidden = []; addEventListener('securitypolicyviolation', one => forbidden.push(one.blockedURI))",
    );
    page.open(&format!("http://{admin}/"));
    page
}

/// Relays packets in both directions for each client until the page shows them.
fn relay_until(page: &Page, clients: &mut [(Client, SocketAddr)], peer: &Peer, shown: &str) {
    let end = Instant::now() + TIMEOUT * 2;
    while !page.holds(shown) {
        assert!(
            Instant::now() < end,
            "never shown: {}",
            page.evaluate("document.body.innerText")
        );
        for (client, relayed) in &mut *clients {
            client.send_channel(0x4000, &[1; 1000]);
            peer.receive();
            peer.send(*relayed, &[2; 500]);
            client.channel_data();
        }
    }
}

/// Waits until a cell of a table's row is this number.
fn shows(page: &Page, table: &str, head: &str, column: usize, value: f64) {
    page.wait(&format!("{} === '{value}'", cell(table, head, column)));
}

/// The exact number behind a cell of the row that begins with `head`.
fn cell(table: &str, head: &str, column: usize) -> String {
    format!(
        "[...document.querySelectorAll('#{table} tr')].find(row => row.cells[0].innerText.split('\\n')[0] === '{head}')\
         ?.cells[{column}].dataset.value"
    )
}

fn assert_no_foreign_requests(page: &Page, admin: SocketAddr) {
    let asked = page.evaluate(
        "performance.getEntriesByType('resource').map(entry => new URL(entry.name).origin)",
    );
    let asked = asked.as_array().unwrap();
    assert!(
        asked.len() > 5
            && asked
                .iter()
                .all(|origin| *origin == json!(format!("http://{admin}"))),
        "{asked:?}"
    );
    assert_eq!(page.evaluate("forbidden"), json!([]));
}

/// Asserts that axe finds no violation and that nothing overflows horizontally, in every size and
/// color scheme.
fn assert_accessible(browser: &Browser, admin: SocketAddr, state: &str, name: &str) {
    axe::fetch();
    let Some(script) = axe::script() else { return };
    let page = browser.page("about:blank#");
    page.bypass_policy();
    page.open(&format!("http://{admin}/"));
    page.wait(&format!("document.body.dataset.state === '{state}'"));
    page.evaluate(&format!("{script}; 0"));
    for look in looks() {
        page.look(look);
        let violations = page.evaluate(axe::RUN);
        assert_eq!(violations, json!([]), "{name}, {look:?}: {violations:#}");
        let wide = page.evaluate(
            "[document.documentElement, ...document.querySelectorAll('.card')].filter(box => box.scrollWidth > box.clientWidth).length",
        );
        assert_eq!(wide, json!(0), "{name}, {look:?}");
    }
}

/// Saves screenshots in every size and color scheme for manual review.
fn take_screenshots(page: &Page, name: &str) {
    let mut grounds = Vec::new();
    for look in looks() {
        page.look(look);
        let (device, light) = (
            if look.phone { "phone" } else { "desk" },
            if look.dark { "dark" } else { "light" },
        );
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("status-page");
        page.screenshot(&folder.join(format!("{name}-{device}-{light}.png")));
        grounds.push(page.evaluate("getComputedStyle(document.body).backgroundColor"));
    }
    assert_ne!(grounds[0], grounds[1]);
}

fn looks() -> impl Iterator<Item = Look> {
    let sizes = [(1440, 900, false), (390, 844, true)];
    sizes.into_iter().flat_map(|(width, height, phone)| {
        [false, true].map(|dark| Look {
            width,
            height,
            dark,
            phone,
        })
    })
}

/// A certificate for a name, and its key.
pub fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut named = rcgen::CertificateParams::new(["relay.example.net".to_owned()]).unwrap();
    named.not_after = std::time::SystemTime::now().into();
    named.not_after += Duration::from_secs(12 * 86_400);
    (named.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Both transports and the user show throughput in both directions.
const FLOWS: &str = "[0, 1].every(row => [1, 2].every(cell =>
    parseFloat(document.querySelectorAll('#flows tr')[row].cells[cell].textContent) > 0)) &&
    parseFloat(document.querySelector('#users tr')?.cells[3].textContent) > 0";
