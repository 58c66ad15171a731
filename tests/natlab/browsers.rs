//! Layer 3: headless Chromium on the real call page, with Chromium and with `hairpin peer`, through
//! a real `hairpin serve`.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::calls::{Way, agreed_one, start_peer};
use crate::firefox::{Firefox, PROGRAM};
use crate::lab::{Lab, Side, Wiring};
use crate::nat::{Nat, Router};
use crate::report::Report;
use crate::serving::Serving;
use crate::support::browser::{Browser, Page, chromium};
use crate::support::missing::must_run_all;

/// Calls between pages, then between a page and a peer.
pub fn run(report: &mut Report) {
    if ![PAGES, MIXED, FIREFOX]
        .into_iter()
        .any(|group| report.wants(group))
    {
        return;
    }
    use Nat::{FullCone, Ipv6Only, PortRestricted, Symmetric, UdpDropped, UdpRejected};
    let mut lab = Lab::new(
        Wiring::Apart,
        Router::plain(PortRestricted),
        Router::plain(PortRestricted),
    );
    let serving = Serving::start(&lab, &[]);
    firefoxes(report, &mut lab, &serving);
    if !report.wants(PAGES) && !report.wants(MIXED) {
        return;
    }
    if chromium().is_none() {
        return missing(report, PAGES, "chromium");
    }
    let browsers =
        Side::BOTH.map(|side| lab.home(side).enter(|| Browser::launch_with(&[], &FLAGS)));
    for (a, b, forced) in [
        (PortRestricted, PortRestricted, false),
        (FullCone, Symmetric, false),
        (PortRestricted, Symmetric, false),
        (Symmetric, Symmetric, false),
        (UdpDropped, PortRestricted, false),
        (UdpRejected, UdpDropped, false),
        (PortRestricted, PortRestricted, true),
        (Ipv6Only, PortRestricted, false),
        (Ipv6Only, Ipv6Only, false),
    ] {
        let way = if forced {
            Way::RelayUdp
        } else {
            Way::in_theory(a, b)
        };
        let name = format!("{a} - {b}{}", if forced { ", forced to relay" } else { "" });
        report.scenario(PAGES, name, way.name(), || {
            lab.become_kind(Side::A, Router::plain(a));
            lab.become_kind(Side::B, Router::plain(b));
            between_pages(
                &lab,
                &serving,
                &browsers,
                way,
                if forced { "&relay=only" } else { "" },
            )
        });
    }
    report.scenario(
        PAGES,
        "direct path cut in mid-call",
        "moves from direct to relay",
        || {
            lab.become_kind(Side::A, Router::plain(PortRestricted));
            lab.become_kind(Side::B, Router::plain(PortRestricted));
            let outcome = cut_in_mid_call(&lab, &browsers);
            lab.heal();
            outcome
        },
    );
    for (a, b) in [
        (PortRestricted, PortRestricted),
        (Symmetric, Symmetric),
        (UdpDropped, PortRestricted),
    ] {
        let way = Way::in_theory(a, b);
        report.scenario(MIXED, format!("{a} - {b}"), way.name(), || {
            lab.become_kind(Side::A, Router::plain(a));
            lab.become_kind(Side::B, Router::plain(b));
            page_with_peer(&lab, &serving, &browsers[0], way)
        });
    }
}

/// Reports a skipped group; fails if every test must run.
fn missing(report: &mut Report, group: &'static str, program: &str) {
    eprintln!("SKIPPED: {group} in the NAT lab: {program} is not installed");
    if must_run_all() {
        report.scenario(group, program, "installed", || {
            Ok("not installed, and CI=true".into())
        });
    }
}

/// Two Firefox browsers, first on a direct path, then on one that needs the relay.
fn firefoxes(report: &mut Report, lab: &mut Lab, serving: &Serving) {
    if !report.wants(FIREFOX) {
        return;
    }
    if !crate::boxed::have(PROGRAM) {
        return missing(report, FIREFOX, PROGRAM);
    }
    let mut pair = Side::BOTH
        .map(|side| Firefox::launch(lab.home(side), if side == Side::A { "a" } else { "b" }));
    for nat in [Nat::PortRestricted, Nat::Symmetric] {
        let way = Way::in_theory(nat, nat);
        report.scenario(FIREFOX, format!("{nat} - {nat}"), way.name(), || {
            lab.become_kind(Side::A, Router::plain(nat));
            lab.become_kind(Side::B, Router::plain(nat));
            between_firefoxes(lab, serving, &mut pair, way)
        });
    }
}

fn between_firefoxes(
    lab: &Lab,
    serving: &Serving,
    pair: &mut [Firefox; 2],
    way: Way,
) -> Result<String, String> {
    lab.reset_counters();
    let before = serving.relayed(lab);
    let url = format!("{PAGE}/?room={}", room());
    for (firefox, state) in pair.iter_mut().zip(["waiting", "connected"]) {
        firefox.open(&url);
        firefox.wait("document.getElementById('enter') && globalThis.hairpin")?;
        firefox.evaluate("document.getElementById('enter').click()");
        firefox.wait(&format!("hairpin.snapshot().state === '{state}'"))?;
    }
    let mut frames = 0;
    for firefox in pair.iter_mut() {
        firefox.wait(&format!(
            "hairpin.snapshot().reading?.decoded >= {ENOUGH} && hairpin.snapshot().path"
        ))?;
        let snapshot = firefox.evaluate("hairpin.snapshot()");
        if (way_of(&snapshot["path"]) == Way::Direct) != (way == Way::Direct) {
            return Err(format!("a page says {}", snapshot["path"]));
        }
        frames += snapshot["reading"]["decoded"].as_u64().unwrap_or(0);
    }
    way.witnessed(frames, lab.carried(), serving.relayed(lab) - before)?;
    for firefox in pair {
        firefox.open("about:blank");
    }
    Ok(way.name().into())
}

/// A call of two pages, checked by the statistics of both, the core's counters and the server's
/// metrics.
fn between_pages(
    lab: &Lab,
    serving: &Serving,
    browsers: &[Browser; 2],
    way: Way,
    more: &str,
) -> Result<String, String> {
    lab.reset_counters();
    let before = serving.relayed(lab);
    let pages = between(browsers, PAGE, more, None);
    let frames = witnessed_pages(&pages, way)?;
    // Which end shows the relay is a race; the server's metrics have the clients' transports.
    way.witnessed(frames, lab.carried(), serving.relayed(lab) - before)?;
    pages.into_iter().for_each(Page::close);
    Ok(way.name().into())
}

/// The decoded frames of two connected pages, which must both use the expected path.
pub fn witnessed_pages(pages: &[Page; 2], way: Way) -> Result<u64, String> {
    let mut frames = 0;
    for page in pages {
        page.wait(&format!(
            "hairpin.snapshot().reading?.decoded >= {ENOUGH} && hairpin.snapshot().path"
        ));
        let snapshot = page.evaluate("JSON.parse(JSON.stringify(hairpin.snapshot()))");
        if (way_of(&snapshot["path"]) == Way::Direct) != (way == Way::Direct) {
            return Err(format!("a page says {}", snapshot["path"]));
        }
        frames += snapshot["reading"]["decoded"].as_u64().unwrap_or(0);
    }
    Ok(frames)
}

fn page_with_peer(
    lab: &Lab,
    serving: &Serving,
    browser: &Browser,
    way: Way,
) -> Result<String, String> {
    lab.reset_counters();
    let before = serving.relayed(lab);
    let room = room();
    let page = browser.page(&format!("{PAGE}/?room={room}"));
    page.click("enter");
    page.wait("hairpin.snapshot().state === 'waiting'");
    let peer = start_peer(lab, Side::B, &room, &["--media", "--duration", "4s"]);
    page.wait("hairpin.snapshot().reading?.decoded >= 10 && hairpin.snapshot().path");
    let path = page.evaluate("JSON.parse(JSON.stringify(hairpin.snapshot().path))");
    let said = peer.join().expect("the thread of a peer")?;
    let exchanged = agreed_one(&said, way)?;
    if (way_of(&path) == Way::Direct) != (way == Way::Direct) {
        return Err(format!("the page says {path}"));
    }
    way.witnessed(exchanged, lab.carried(), serving.relayed(lab) - before)?;
    page.close();
    Ok(way.name().into())
}

/// The browsers must switch to the relay by themselves and continue to decode frames.
fn cut_in_mid_call(lab: &Lab, browsers: &[Browser; 2]) -> Result<String, String> {
    let pages = between(browsers, PAGE, "", None);
    for page in &pages {
        page.wait("hairpin.snapshot().reading?.decoded >= 20 && hairpin.snapshot().path");
        let path = page.evaluate("JSON.parse(JSON.stringify(hairpin.snapshot().path))");
        if way_of(&path) != Way::Direct {
            return Err(format!("not direct before the cut: {path}"));
        }
    }
    let decoded = pages
        .each_ref()
        .map(|page| page.evaluate("hairpin.snapshot().reading.decoded"));
    lab.cut();
    let began = Instant::now();
    for (page, decoded) in pages.iter().zip(decoded) {
        let relayed = "[hairpin.snapshot().path?.local.type, hairpin.snapshot().path?.remote.type].includes('relay')";
        page.wait(&format!(
            "{relayed} && hairpin.snapshot().reading?.decoded > {decoded} + 20"
        ));
    }
    eprintln!(
        "natlab: pages moved to the relay within {:.1} s",
        began.elapsed().as_secs_f32()
    );
    pages.into_iter().for_each(Page::close);
    Ok("moves from direct to relay".into())
}

/// Two connected pages in one room; `script` runs in each before the page's own scripts.
pub fn between(browsers: &[Browser; 2], site: &str, more: &str, script: Option<&str>) -> [Page; 2] {
    let url = format!("{site}/?room={}{more}", room());
    let pages = browsers.each_ref().map(|browser| {
        let page = browser.page("about:blank#");
        if let Some(script) = script {
            page.prepare(script);
        }
        page.open(&url);
        page
    });
    pages[0].click("enter");
    pages[0].wait("hairpin.snapshot().state === 'waiting'");
    pages[1].click("enter");
    for page in &pages {
        page.wait_for(
            "hairpin.snapshot().state === 'connected'",
            Duration::from_secs(30),
        );
    }
    pages
}

/// The path of the selected pair in a page's statistics.
fn way_of(path: &Value) -> Way {
    match [&path["local"]["type"], &path["remote"]["type"]]
        .iter()
        .any(|kind| *kind == "relay")
    {
        true => Way::RelayUdp,
        false => Way::Direct,
    }
}

/// A new room name.
fn room() -> String {
    static ROOMS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    format!(
        "page-{}",
        ROOMS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    )
}

const PAGES: &str = "Chromium with Chromium";
const MIXED: &str = "Chromium with hairpin peer";
const FIREFOX: &str = "Firefox with Firefox";
/// Frames that a page must decode.
const ENOUGH: u32 = 15;
const PAGE: &str = "http://app.test:443";
const FLAGS: [&str; 3] = [
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--unsafely-treat-insecure-origin-as-secure=http://app.test:443",
];
