//! The call page in Chromium: real calls with fake media, through a real relay.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hairpin::service::ice_servers::{Credentials, IceServers};
use hairpin::service::signaling::Limits;
use hairpin::service::web::{Web, WebSettings};
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::axe;
use crate::support::browser::{Browser, Look, Page};
use crate::support::relay::{Relay, V4};
use hairpin::turn::policy::realm::Realm;

type Stop = oneshot::Sender<()>;

/// A relay, and a web service that hands out its URLs, in a thread.
struct Site {
    address: SocketAddr,
    /// Dropping it stops the running web service.
    stop: RefCell<Option<Stop>>,
    /// The address and stop handle of each web service that starts.
    started: mpsc::Receiver<(SocketAddr, Stop)>,
    _relay: Relay,
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn a_relayed_call_carries_media_and_chat_until_a_peer_hangs_up() {
    let site = Site::start();
    let browser = Browser::launch();
    let (ann, bob) = site.call(&browser, "relayed", "&relay=only");
    for page in [&ann, &bob] {
        page.wait("document.getElementById('path-summary').textContent === 'Relayed · UDP'");
        page.wait("hairpin.snapshot().reading.decoded >= 30");
        page.wait("document.getElementById('remote-video').videoWidth > 0");
        let path = page.evaluate("hairpin.snapshot().path");
        assert_eq!(
            (&path["local"]["type"], &path["remote"]["type"]),
            (&json!("relay"), &json!("relay"))
        );
    }
    screenshots(&ann, "call");

    // Chat in both directions.
    ann.wait("!document.getElementById('chat-input').disabled");
    ann.fill("chat-input", "Grüße <b>an dich</b> 👋");
    ann.evaluate("document.getElementById('chat-form').requestSubmit()");
    bob.wait(
        "[...document.querySelectorAll('#log .them')].some(p => p.textContent.includes('Grüße <b>an dich</b> 👋'))",
    );
    bob.fill("chat-input", "and back");
    bob.evaluate("document.getElementById('chat-form').requestSubmit()");
    ann.wait("document.querySelector('#log .them')?.textContent.includes('and back')");
    screenshots(&ann, "chat");

    // Mute and camera are shown on the other side.
    bob.click("mute");
    ann.wait("document.getElementById('their-media').textContent === 'muted'");
    bob.click("camera");
    ann.wait("document.getElementById('their-media').textContent === 'camera off, muted'");
    bob.click("camera");
    bob.click("mute");
    ann.wait("document.getElementById('their-media').hidden");
    let decoded = ann.evaluate("hairpin.snapshot().reading.decoded");
    ann.wait(&format!(
        "hairpin.snapshot().reading.decoded > {decoded} + 20"
    ));

    // A new path during the call.
    ann.click("restart");
    bob.wait("hairpin.snapshot().connection === 'connected'");
    let decoded = bob.evaluate("hairpin.snapshot().reading.decoded");
    bob.wait(&format!(
        "hairpin.snapshot().reading.decoded > {decoded} + 20"
    ));

    ann.click("hang-up");
    ann.wait("hairpin.snapshot().state === 'idle'");
    bob.wait("document.getElementById('waiting-text').textContent.startsWith('They hung up')");
    ann.wait("document.getElementById('local-video').srcObject === null");

    // Another call in the same room.
    ann.click("enter");
    for page in [&ann, &bob] {
        page.wait("hairpin.snapshot().state === 'connected'");
    }
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn axe_finds_no_violation_in_any_state_of_the_page() {
    let site = Site::start();
    let browser = Browser::launch();
    let url = format!("http://{}/?room=everybody", site.address);
    let [ann, bob] = [(); 2].map(|()| {
        let page = browser.page("about:blank#");
        page.bypass_policy();
        page.open(&url);
        page
    });
    assert_accessible(&ann, "idle");
    ann.click("enter");
    ann.wait("hairpin.snapshot().state === 'waiting'");
    assert_accessible(&ann, "waiting");
    bob.click("enter");
    ann.wait("hairpin.snapshot().reading?.decoded >= 10");
    ann.wait("!document.getElementById('chat-input').disabled");
    ann.fill("chat-input", "hello");
    ann.evaluate("document.getElementById('chat-form').requestSubmit()");
    assert_accessible(&ann, "in call");
    bob.click("camera");
    let eve = browser.page("about:blank#");
    eve.bypass_policy();
    eve.open(&url);
    eve.click("enter");
    eve.wait("document.querySelector('[data-code=room-full]')");
    assert_accessible(&eve, "refused");
    ann.click("test");
    ann.wait_for(
        "document.getElementById('test-summary').textContent.includes('work')",
        Duration::from_secs(60),
    );
    assert_accessible(&ann, "after the test");
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn the_keyboard_reaches_every_control() {
    let site = Site::start();
    let browser = Browser::launch();
    let page = site.page(&browser, "keys", "");
    let focused = || page.evaluate("document.activeElement.id || document.activeElement.className");
    let mut seen = Vec::new();
    for _ in 0..9 {
        page.press("Tab");
        seen.push(focused().as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(
        seen[..9],
        [
            "mark",
            "room",
            "new-room-name",
            "with-video",
            "with-audio",
            "with-relay",
            "enter",
            "invite",
            "test"
        ]
        .map(String::from)
    );
    page.evaluate("document.getElementById('with-relay').focus()");
    page.press(" ");
    page.evaluate("document.getElementById('room').focus()");
    page.press("Enter");
    page.wait("hairpin.snapshot().state === 'waiting'");
    assert_eq!(
        page.evaluate("document.getElementById('relay').getAttribute('aria-pressed')"),
        json!("true")
    );
    assert_eq!(focused(), "mute");
    screenshots(&page, "waiting");
    for _ in 0..4 {
        page.press("Tab");
    }
    assert_eq!(focused(), "hang-up");
    page.press("Enter");
    page.wait("hairpin.snapshot().state === 'idle'");
    assert_eq!(focused(), "enter");
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn force_relay_switches_a_running_call_to_the_relay_and_back() {
    let site = Site::start();
    let browser = Browser::launch();
    let (ann, bob) = site.call(&browser, "forced", "");
    for page in [&ann, &bob] {
        page.wait("document.getElementById('path-summary').textContent === 'Direct · UDP'");
    }
    screenshots(&ann, "direct");
    ann.click("relay");
    for page in [&ann, &bob] {
        page.wait("document.getElementById('path-summary').textContent === 'Relayed · UDP'");
    }
    ann.click("relay");
    for page in [&ann, &bob] {
        page.wait("document.getElementById('path-summary').textContent === 'Direct · UDP'");
    }
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn the_page_and_hairpin_peer_connect_in_either_order() {
    let site = Site::start();
    let browser = Browser::launch();
    let page = site.page(&browser, "mixed", "");
    page.click("enter");
    page.wait("hairpin.snapshot().state === 'waiting'");
    for media in [&[][..], &["--media"]] {
        let verdict = site
            .peer("mixed", media)
            .wait_with_output()
            .expect("a verdict");
        let words = String::from_utf8_lossy(&verdict.stdout);
        assert!(
            verdict.status.success(),
            "{words} {}",
            String::from_utf8_lossy(&verdict.stderr)
        );
        page.wait("hairpin.snapshot().state === 'waiting'");
    }
    page.click("hang-up");
    page.wait("hairpin.snapshot().state === 'idle'");
    let peer = site.peer("mixed", &[]);
    page.wait("document.querySelector('#enter')");
    page.evaluate("new Promise(done => setTimeout(done, 1000))");
    page.click("enter");
    page.wait("document.getElementById('path-summary').textContent === 'Relayed · UDP'");
    let verdict = peer.wait_with_output().expect("a verdict");
    assert!(
        verdict.status.success(),
        "{}",
        String::from_utf8_lossy(&verdict.stderr)
    );
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn a_crashed_peer_is_announced_as_left() {
    let site = Site::start();
    let browser = Browser::launch();
    let (ann, bob) = site.call(&browser, "crash", "");
    bob.crash();
    ann.wait("document.getElementById('waiting-text').textContent.startsWith('They left')");
    let bob = site.page(&browser, "crash", "");
    bob.click("enter");
    for page in [&ann, &bob] {
        page.wait("hairpin.snapshot().state === 'connected'");
    }
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn a_call_survives_a_restart_of_the_signaling_server() {
    let site = Site::start();
    let browser = Browser::launch();
    let (ann, bob) = site.call(&browser, "outlives", "");
    ann.wait("hairpin.snapshot().reading?.decoded >= 10");
    let before = ann.evaluate("hairpin.snapshot().id");
    let connection = ann.evaluate("hairpin.snapshot().call");
    site.restart();
    for page in [&ann, &bob] {
        page.wait("document.getElementById('status').textContent === 'Connected'");
    }
    ann.wait(&format!("hairpin.snapshot().id !== {before}"));
    bob.wait(&format!(
        "hairpin.snapshot().peer === {}",
        ann.evaluate("hairpin.snapshot().id")
    ));
    assert_eq!(
        ann.evaluate("hairpin.snapshot().call"),
        connection,
        "the connection is the same"
    );
    let decoded = ann.evaluate("hairpin.snapshot().reading.decoded");
    ann.wait(&format!(
        "hairpin.snapshot().reading.decoded > {decoded} + 20"
    ));
    // Messages through the server work again.
    bob.click("mute");
    ann.wait("document.getElementById('their-media').textContent === 'muted'");
    bob.click("hang-up");
    ann.wait("document.getElementById('waiting-text').textContent.startsWith('They hung up')");
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn idling_ends_a_wait_but_not_a_call() {
    let site = Site::start_with(Limits {
        idle_timeout: Duration::from_secs(3),
        ..Limits::default()
    });
    let browser = Browser::launch();
    let (ann, bob) = site.call(&browser, "long", "");
    let [before, connection] =
        ["id", "call"].map(|what| ann.evaluate(&format!("hairpin.snapshot().{what}")));
    ann.wait("hairpin.snapshot().reading?.decoded >= 150");
    assert_eq!(ann.evaluate("hairpin.snapshot().call"), connection);
    assert_eq!(ann.evaluate("hairpin.snapshot().id"), before);
    assert_eq!(
        ann.evaluate("document.querySelectorAll('.alert').length"),
        json!(0)
    );
    bob.click("hang-up");
    ann.wait("document.querySelector('[data-code=idle]')?.textContent.includes('IdleError')");
    ann.wait("hairpin.snapshot().state === 'idle'");
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn a_call_works_without_camera_and_microphone() {
    let site = Site::start();
    let browser = Browser::launch_with(&[], &["--use-fake-device-for-media-stream"]);
    let (ann, bob) = (
        site.page(&browser, "refused", ""),
        site.page(&browser, "refused", ""),
    );
    for (page, granted) in [(&ann, false), (&bob, true)] {
        page.permit("camera", granted);
        page.permit("microphone", granted);
        page.click("enter");
    }
    for page in [&ann, &bob] {
        page.wait("hairpin.snapshot().state === 'connected'");
    }
    ann.wait(
        "document.querySelector('[data-code=media]')?.textContent.includes('NotAllowedError')",
    );
    bob.wait("document.querySelector('[data-code=media]')?.textContent.includes('Their browser reported a problem')");
    ann.wait("hairpin.snapshot().reading.decoded >= 10");
    ann.wait("!document.getElementById('chat-input').disabled");
    ann.fill("chat-input", "I cannot be seen");
    ann.evaluate("document.getElementById('chat-form').requestSubmit()");
    bob.wait("document.querySelector('#log .them')?.textContent.includes('I cannot be seen')");
    screenshots(&ann, "refused");
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn the_relay_test_times_every_url() {
    let site = Site::start();
    let browser = Browser::launch();
    let page = site.page(&browser, "test", "");
    page.click("test");
    page.wait_for(
        "document.getElementById('test-summary').textContent.includes('work')",
        Duration::from_secs(60),
    );
    screenshots(&page, "test");
    let works = page.evaluate(
        "[...document.querySelectorAll('#results tbody tr')].map(row => row.dataset.works)",
    );
    assert_eq!(
        works,
        json!(["true", "true", "true", "false"]),
        "nothing listens on the port of the last"
    );
    let times = page.evaluate(
        "[...document.querySelectorAll('#results tbody tr')].map(row => row.cells[3].textContent)",
    );
    assert!(
        times.as_array().unwrap()[..3]
            .iter()
            .all(|time| time.as_str().unwrap().ends_with(" ms")),
        "{times}"
    );
}

#[test]
#[ignore = "run by namespace::the_call_page_in_a_browser"]
fn a_refusal_is_shown_as_text() {
    let site = Site::start();
    let browser = Browser::launch();
    let (ann, _bob) = site.call(&browser, "full", "");
    let eve = site.page(&browser, "full", "");
    screenshots(&eve, "idle");
    eve.click("enter");
    eve.wait(
        "document.querySelector('[data-code=room-full]')?.textContent.includes('RoomFullError')",
    );
    eve.wait("hairpin.snapshot().state === 'idle'");
    screenshots(&eve, "error");
    ann.wait("hairpin.snapshot().state === 'connected'");
}

impl Site {
    fn start() -> Site {
        Site::start_with(Limits::default())
    }

    fn start_with(limits: Limits) -> Site {
        let mut realm = Realm::new("calls");
        realm.credentials.add_secret("north".to_owned());
        let relay = Relay::start_with_realm(V4, realm);
        let (started_sender, started) = mpsc::channel();
        let settings = WebSettings {
            ice: servers(relay.address.port()),
            limits,
            ..WebSettings::default()
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
            let mut wanted = true;
            while wanted {
                wanted = runtime.block_on(async {
                    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                    address = listener.local_addr().unwrap();
                    let (stop, stopped) = oneshot::channel();
                    let wanted = started_sender.send((address, stop)).is_ok();
                    let stopped = async { drop(stopped.await) };
                    Web::new(settings.clone())
                        .unwrap()
                        .serve(listener, stopped)
                        .await;
                    wanted
                });
            }
        });
        let (address, stop) = started.recv().unwrap();
        Site {
            address,
            stop: RefCell::new(Some(stop)),
            started,
            _relay: relay,
        }
    }

    /// Stops the web service and starts a new one without state on the same port.
    fn restart(&self) {
        drop(self.stop.take());
        let (address, stop) = self.started.recv().unwrap();
        assert_eq!(address, self.address);
        self.stop.replace(Some(stop));
    }

    fn page(&self, browser: &Browser, room: &str, more: &str) -> Page {
        browser.page(&format!("http://{}/?room={room}{more}", self.address))
    }

    /// Starts `hairpin peer` in a room, relay only.
    fn peer(&self, room: &str, more: &[&str]) -> Child {
        let mut peer = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        peer.args([
            "peer",
            "--room",
            room,
            "--policy",
            "relay",
            "--expect",
            "relay",
            "--duration",
            "3s",
            "--signal",
        ]);
        peer.arg(format!("ws://{}/signal", self.address)).args(more);
        peer.stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the peer starts")
    }

    /// Two pages in a call.
    fn call(&self, browser: &Browser, room: &str, more: &str) -> (Page, Page) {
        let (ann, bob) = (
            self.page(browser, room, more),
            self.page(browser, room, more),
        );
        ann.click("enter");
        ann.wait("hairpin.snapshot().state === 'waiting'");
        bob.click("enter");
        for page in [&ann, &bob] {
            page.wait("hairpin.snapshot().state === 'connected'");
        }
        (ann, bob)
    }
}

/// Asserts that axe-core finds no violation, in light and dark, on a desktop and on a phone.
fn assert_accessible(page: &Page, name: &str) {
    let Some(script) = axe::script() else { return };
    page.evaluate(&format!("{script}; 0"));
    page.evaluate("document.querySelector('main').append(document.createElement('img')); 0");
    assert_ne!(
        page.evaluate(axe::RUN),
        json!([]),
        "axe must report the planted image without text"
    );
    page.evaluate("document.querySelector('main > img').remove(); 0");
    for look in looks() {
        page.look(look);
        let violations = page.evaluate(axe::RUN);
        assert_eq!(violations, json!([]), "{name}, {look:?}: {violations:#}");
    }
}

/// Saves screenshots of a page in every look to the target directory.
fn screenshots(page: &Page, name: &str) {
    for look in looks() {
        page.look(look);
        let (device, light) = (
            if look.phone { "phone" } else { "desk" },
            if look.dark { "dark" } else { "light" },
        );
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("call-page");
        page.screenshot(&folder.join(format!("{name}-{device}-{light}.png")));
    }
    page.look(Look {
        width: 1280,
        height: 860,
        dark: false,
        phone: false,
    });
}

fn looks() -> impl Iterator<Item = Look> {
    let sizes = [(1280, 860, false), (390, 844, true)];
    sizes.into_iter().flat_map(|(width, height, phone)| {
        [false, true].map(|dark| Look {
            width,
            height,
            dark,
            phone,
        })
    })
}

/// The relay at `port` over every transport, and a URL at which nothing listens.
fn servers(port: u16) -> IceServers {
    let urls = [
        format!("stun:{{host}}:{port}"),
        format!("turn:{{host}}:{port}?transport=udp"),
        format!("turn:{{host}}:{port}?transport=tcp"),
        "turn:127.0.0.1:9?transport=tcp".into(),
    ];
    IceServers {
        urls: urls.into(),
        credentials: Credentials::Minted {
            secret: "north".into(),
        },
        ..IceServers::default()
    }
}
