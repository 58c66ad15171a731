//! Layer 2: `hairpin peer` with `hairpin peer` through `hairpin serve`, over the whole matrix of
//! routers and on special paths.
//!
//! Three independent observers judge each call: the peers' verdicts, the core router's counters,
//! and the server's metrics.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use crate::lab::{Carried, Lab, Side, Wiring};
use crate::nat::{Nat, Router};
use crate::report::Report;
use crate::serving::{Relayed, SIGNAL, Serving, hairpin};

/// The expected path of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Directly between the homes.
    Direct,
    /// Through the relay, every client over UDP.
    RelayUdp,
    /// Through the relay, at least one client over TCP or TLS.
    RelayStream,
    /// No connection.
    Nowhere,
}

/// The output of one peer.
pub struct Output {
    code: i32,
    verdict: Value,
}

/// The matrix, then the special paths.
pub fn run(report: &mut Report) {
    let mut lab = Lab::new(
        Wiring::Apart,
        Router::plain(Nat::Open),
        Router::plain(Nat::Open),
    );
    let serving = Serving::start(&lab, &[]);
    for (i, a) in Nat::ALL.into_iter().enumerate() {
        for b in Nat::ALL.into_iter().skip(i) {
            report.pair(MATRIX, a, b, Way::in_theory(a, b).name(), || {
                lab.become_kind(Side::A, Router::plain(a));
                lab.become_kind(Side::B, Router::plain(b));
                call(
                    &lab,
                    &serving,
                    Way::in_theory(a, b),
                    &["--media"],
                    &["--media"],
                )
            });
        }
    }
    special(report, &mut lab, &serving);
    drop(serving);
    negative(report, &mut lab);
    drop(lab);
    behind_one_router(report);
}

impl Way {
    /// The path that two homes behind such routers have in theory.
    pub fn in_theory(a: Nat, b: Nat) -> Way {
        let blocked = |nat: Nat| matches!(nat, Nat::UdpDropped | Nat::UdpRejected);
        match a.direct(b) {
            true => Way::Direct,
            false if blocked(a) || blocked(b) => Way::RelayStream,
            false => Way::RelayUdp,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::RelayUdp => "relay, UDP",
            Way::RelayStream => "relay, TCP",
            Way::Nowhere => "not connected",
        }
    }

    /// Checks the packets that the core carried and the server relayed, for a call of at least
    /// `exchanged` packets.
    pub fn witnessed(
        self,
        exchanged: u64,
        carried: Carried,
        relayed: Relayed,
    ) -> Result<(), String> {
        // An unused path still carries connectivity checks; it must carry less than half as much as
        // the used one.
        let (through, direct) = (relayed.all(), carried.home_to_home);
        let sound = match self {
            // If both ends are relayed, the server counts each packet twice.
            Way::Direct => direct >= exchanged && direct > through / 2,
            Way::RelayUdp => {
                through >= exchanged && through / 2 > direct && relayed.udp >= exchanged / 2
            }
            Way::RelayStream => {
                through >= exchanged && through / 2 > direct && relayed.stream() >= exchanged / 2
            }
            Way::Nowhere => through == 0,
        };
        if sound {
            Ok(())
        } else {
            Err(format!(
                "{exchanged} exchanged, but the core saw {carried}, the server {relayed:?}"
            ))
        }
    }
}

impl Output {
    /// The parts of a verdict that explain a failure.
    fn brief(&self) -> String {
        let part = |name: &str| format!("{name} {}", self.verdict[name]);
        format!(
            "exit code {}, {}",
            self.code,
            [
                "failure", "path", "pair", "theirs", "messages", "moves", "steps"
            ]
            .map(part)
            .join(", ")
        )
    }
}

/// Forced relay, single transports, packet loss, and a direct path that is cut during the call.
fn special(report: &mut Report, lab: &mut Lab, serving: &Serving) {
    let common = Router::plain(Nat::PortRestricted);
    let mut scenario =
        |name: &str, way: Way, a: &[&str], b: &[&str], before: fn(&Lab), after: fn(&Lab)| {
            report.scenario(SPECIAL, name, way.name(), || {
                lab.become_kind(Side::A, common);
                lab.become_kind(Side::B, common);
                before(lab);
                let outcome = call(lab, serving, way, a, b);
                after(lab);
                outcome
            });
        };
    let nothing: fn(&Lab) = |_| {};
    let relay = ["--policy", "relay", "--media"];
    scenario(
        "both ends forced to relay",
        Way::RelayUdp,
        &relay,
        &relay,
        nothing,
        nothing,
    );
    scenario(
        "one end forced to relay",
        Way::RelayUdp,
        &relay,
        &["--media"],
        nothing,
        nothing,
    );
    let tcp = [&relay[..], &["--transport", "tcp"]].concat();
    scenario(
        "forced to relay over TCP",
        Way::RelayStream,
        &tcp,
        &tcp,
        nothing,
        nothing,
    );
    scenario(
        "5 % loss",
        Way::Direct,
        &LONGER,
        &LONGER,
        |lab| lab.lose(5),
        Lab::heal,
    );
    let relay_longer = [&relay[..2], &LONGER[..]].concat();
    scenario(
        "5 % loss, relayed",
        Way::RelayUdp,
        &relay_longer,
        &relay_longer,
        |lab| lab.lose(5),
        Lab::heal,
    );
    scenario(
        "MTU 1280",
        Way::Direct,
        &["--media"],
        &["--media"],
        |lab| lab.set_mtu(1280),
        |lab| lab.set_mtu(1500),
    );
    scenario(
        "MTU 1280, relayed over TCP",
        Way::RelayStream,
        &tcp,
        &tcp,
        |lab| lab.set_mtu(1280),
        |lab| lab.set_mtu(1500),
    );
    report.scenario(
        SPECIAL,
        "direct path cut in mid-call",
        "moves from direct to relay",
        || cut_in_mid_call(lab),
    );
    report.scenario(
        SPECIAL,
        "connected by another path than expected",
        "exit code 3",
        || {
            let arguments = ["--policy", "relay", "--expect", "direct"];
            let said = run_peers(lab, &arguments, &arguments)?;
            Ok(format!("exit code {}", said[0].code))
        },
    );
}

/// The direct path fails during the call; both peers must continue through the relay and report it.
fn cut_in_mid_call(lab: &mut Lab) -> Result<String, String> {
    for side in Side::BOTH {
        lab.become_kind(side, Router::plain(Nat::PortRestricted));
    }
    let arguments = ["--duration", "13s", "--expect", "relay"];
    let peers = Side::BOTH.map(|side| start_peer(lab, side, "cut", &arguments));
    // Cut after a hundred packets between the homes.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while lab.carried().home_to_home < 100 {
        if std::time::Instant::now() > deadline {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    lab.cut();
    let said = peers.map(|peer| peer.join().expect("the thread of a peer"));
    lab.heal();
    for one in said {
        let one = one?;
        let moves = one.verdict["moves"].as_array().cloned().unwrap_or_default();
        let moved = moves
            .iter()
            .any(|moved| moved["from"] == "direct" && moved["to"] == "relay");
        if one.code != 0 || !moved {
            return Err(one.brief());
        }
    }
    Ok("moves from direct to relay".into())
}

/// Without a relay these pairs must not connect.
fn negative(report: &mut Report, lab: &mut Lab) {
    use Nat::{PortRestricted, Symmetric, UdpDropped};
    let pairs = [(Symmetric, Symmetric), (UdpDropped, PortRestricted)];
    let serving = Serving::start(lab, &[]);
    for (a, b) in pairs {
        report.scenario(NEGATIVE, format!("{a} - {b}"), Way::Nowhere.name(), || {
            lab.become_kind(Side::A, Router::plain(a));
            lab.become_kind(Side::B, Router::plain(b));
            // No server offers TLS here, so only STUN is left.
            let arguments = ["--transport", "tls", "--timeout", "6s"];
            call(lab, &serving, Way::Nowhere, &arguments, &arguments)
        });
    }
}

/// Two homes behind one router.
fn behind_one_router(report: &mut Report) {
    let plain = Router::plain(Nat::PortRestricted);
    let lab = Lab::new(Wiring::Switch, plain, plain);
    let serving = Serving::start(&lab, &[]);
    report.scenario(SPECIAL, "one router, one switch", "direct", || {
        // Packets on the switch do not pass the core, so only the peers and the server are checked.
        lab.reset_counters();
        let before = serving.relayed(&lab);
        let said = run_peers(&lab, &["--media"], &["--media"])?;
        let exchanged = agreed(&said, Way::Direct)?;
        let relayed = serving.relayed(&lab) - before;
        let core = lab.carried().home_to_home;
        if relayed.all() < exchanged && core == 0 {
            Ok("direct".into())
        } else {
            Err(format!("{relayed:?}, {core}"))
        }
    });
    drop(serving);
    let mut lab = Lab::new(Wiring::Isolated, plain, plain);
    let serving = Serving::start(&lab, &[]);
    let hairpins = [
        (plain, Way::RelayUdp),
        (Router::hairpinning(Nat::PortRestricted), Way::Direct),
        (Router::hairpinning(Nat::FullCone), Way::Direct),
    ];
    for (router, way) in hairpins {
        let hairpin = if router.hairpin {
            "hairpinning"
        } else {
            "not hairpinning"
        };
        report.scenario(
            SPECIAL,
            format!("one {} router, isolated LANs, {hairpin}", router.nat),
            way.name(),
            || {
                lab.become_kind(Side::A, router);
                let before = serving.relayed(&lab);
                let said = run_peers(&lab, &["--media"], &["--media"])?;
                let exchanged = agreed(&said, way)?;
                let relayed = serving.relayed(&lab) - before;
                let through = relayed.all() >= exchanged;
                if through == (way == Way::RelayUdp) {
                    Ok(way.name().into())
                } else {
                    Err(format!("the server says {relayed:?}"))
                }
            },
        );
    }
}

/// One call, judged by all three observers; returns the name of the path if they agree.
fn call(lab: &Lab, serving: &Serving, way: Way, a: &[&str], b: &[&str]) -> Result<String, String> {
    lab.reset_counters();
    let before = serving.relayed(lab);
    let said = run_peers(lab, a, b)?;
    let exchanged = agreed(&said, way)?;
    way.witnessed(exchanged, lab.carried(), serving.relayed(lab) - before)?;
    Ok(way.name().into())
}

/// Runs a peer in each home, in a new room.
fn run_peers(lab: &Lab, a: &[&str], b: &[&str]) -> Result<[Output; 2], String> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let room = format!("lab-{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let a = start_peer(lab, Side::A, &room, a);
    let b = start_peer(lab, Side::B, &room, b);
    Ok([
        a.join().expect("the thread of a peer")?,
        b.join().expect("the thread of a peer")?,
    ])
}

/// Starts a peer in a home; the thread returns its output.
pub fn start_peer(
    lab: &Lab,
    side: Side,
    room: &str,
    arguments: &[&str],
) -> std::thread::JoinHandle<Result<Output, String>> {
    start_peer_at(lab, side, SIGNAL, room, arguments)
}

/// The same with another signaling endpoint.
pub fn start_peer_at(
    lab: &Lab,
    side: Side,
    signal: &str,
    room: &str,
    arguments: &[&str],
) -> std::thread::JoinHandle<Result<Output, String>> {
    let mut command = Command::new(hairpin());
    command
        .args(["peer", "--json", "--signal", signal, "--room", room])
        .args(arguments)
        .stdin(Stdio::null());
    for usual in [
        ["--duration", "1s"],
        ["--timeout", "20s"],
        ["--wait", "20s"],
    ] {
        if !arguments.contains(&usual[0]) {
            command.args(usual);
        }
    }
    lab.home(side).spawn(move || {
        let output = command
            .output()
            .map_err(|error| format!("hairpin peer: {error}"))?;
        let verdict = serde_json::from_slice(&output.stdout).map_err(|error| {
            format!(
                "no verdict: {error}: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        })?;
        Ok(Output {
            code: output.status.code().unwrap_or(-1),
            verdict,
        })
    })
}

/// Checks that both peers report this path; returns the packets that they exchanged at least.
fn agreed(said: &[Output; 2], way: Way) -> Result<u64, String> {
    let [a, b] = said;
    let exchanged = agreed_one(a, way)? + agreed_one(b, way)?;
    let over_stream = |one: &Output| {
        let transport = one
            .verdict
            .pointer("/pair/local/transport")
            .and_then(Value::as_str);
        transport.is_some_and(|transport| transport != "udp")
    };
    if (way == Way::RelayStream) == (over_stream(a) || over_stream(b)) {
        return Ok(exchanged);
    }
    Err(format!(
        "relayed over the wrong transport: {}; {}",
        a.brief(),
        b.brief()
    ))
}

/// Checks that a peer reports this path; returns the packets that it received at least.
pub fn agreed_one(said: &Output, way: Way) -> Result<u64, String> {
    let Output { code, verdict } = said;
    let (expected_code, path) = match way {
        Way::Direct => (0, Some("direct")),
        Way::RelayUdp | Way::RelayStream => (0, Some("relay")),
        Way::Nowhere => (4, None),
    };
    if *code != expected_code || verdict["path"].as_str() != path {
        return Err(format!("another way: {}", said.brief()));
    }
    let count = |part: &str| verdict.pointer(part).and_then(Value::as_u64).unwrap_or(0);
    if path.is_some() && count("/messages/answered") < 3 {
        return Err(format!("no messages: {}", said.brief()));
    }
    let frames = count("/media/audio/received") + count("/media/video/received");
    Ok(count("/messages/received") + count("/messages/answered") + frames)
}

const MATRIX: &str = "hairpin peer with hairpin peer, homes apart";
const SPECIAL: &str = "hairpin peer with hairpin peer, special paths";
const NEGATIVE: &str = "hairpin peer with hairpin peer, no relay";
const LONGER: [&str; 3] = ["--media", "--duration", "3s"];
