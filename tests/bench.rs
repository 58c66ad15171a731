//! `hairpin bench` as a process, against a server in this process: a sound one, one behind a bad
//! network, wrong credentials, a forbidden peer, no answer, an interruption, a server that exits.

#[path = "support/mod.rs"]
mod support;

use hairpin::net::tls::server::TlsOptions;
use hairpin::relay::{Plan, Supervisor};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::client::{PASSWORD, USER};
use support::missing::skipped;
use support::relay;

/// A server on loopback; `permits` loopback peers or not.
fn server(ip: IpAddr, permits: bool) -> Supervisor {
    changed_server(ip, permits, |_| {})
}

fn changed_server(ip: IpAddr, permits: bool, change: impl FnOnce(&mut Plan)) -> Supervisor {
    let mut realm = relay::realm();
    if !permits {
        realm.peers.allow.clear();
    }
    let mut plan = relay::plan(&[relay::any_port(ip)], realm);
    plan.answer_rate = 0;
    change(&mut plan);
    Supervisor::start(plan).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin"))
        .arg("bench")
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs the command for half a second with the right password, checks its exit code and returns its
/// JSON.
fn measure(uri: &str, arguments: &[&str], code: i32) -> Value {
    let common = [
        "--server",
        uri,
        "--user",
        USER,
        "--password",
        PASSWORD,
        "--duration",
        "500ms",
        "--json",
    ];
    let output = run(&[arguments, &common].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {stderr}"))
}

/// Starts the command for a minute, and waits until `awaited` holds of the server.
fn begin(server: &Supervisor, arguments: &[&str], awaited: impl Fn(&Supervisor) -> bool) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
    command.args(
        [
            &["bench"],
            arguments,
            &[
                "--user",
                USER,
                "--password",
                PASSWORD,
                "--duration",
                "60s",
                "--json",
            ],
        ]
        .concat(),
    );
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !awaited(server) {
        assert!(Instant::now() < deadline, "{arguments:?} never got there");
        std::thread::yield_now();
    }
    child
}

/// Packets that the server has forwarded to peers.
fn relayed(server: &Supervisor) -> u64 {
    let shards = server.statistics().shards;
    shards
        .iter()
        .flat_map(|shard| &shard.turn.to_peers)
        .map(|flow| flow.packets.get())
        .sum()
}

fn number(outcome: &Value, path: &str) -> f64 {
    outcome
        .pointer(path)
        .and_then(Value::as_f64)
        .unwrap_or_else(|| panic!("{path} in {outcome}"))
}

#[test]
fn every_workload_and_direction_reports_sound_packets() {
    let server = changed_server(Ipv4Addr::LOCALHOST.into(), true, |plan| {
        plan.secure.tls = Some(relay::tls(TlsOptions::default()));
    });
    let address = server.listener_addresses()[0];
    let pid = std::process::id().to_string();
    let (udp, tcp) = (
        format!("turn:{address}"),
        format!("turn:{address}?transport=tcp"),
    );
    let (tls, dtls) = (
        format!("turns:{address}"),
        format!("turns:{address}?transport=udp"),
    );
    let paced = ["--flows", "4", "--rate", "400", "--pid", &pid];
    let cases: &[(&str, &[&str])] = &[
        (&udp, &["relay"]),
        (&udp, &["relay", "--direction", "down"]),
        (&udp, &["relay", "--direction", "both", "--burst", "4"]),
        (&udp, &["relay", "--direction", "hairpin", "--size", "33"]),
        (
            &udp,
            &[
                "relay",
                "--indications",
                "--direction",
                "both",
                "--size",
                "161",
            ],
        ),
        (&tcp, &["relay", "--direction", "both", "--size", "161"]),
        (&tcp, &["relay", "--direction", "hairpin", "--indications"]),
        (&tls, &["relay", "--direction", "both", "--burst", "4"]),
        (&tls, &["relay", "--direction", "hairpin", "--size", "33"]),
        (&dtls, &["relay", "--direction", "both"]),
        (
            &dtls,
            &[
                "relay",
                "--direction",
                "down",
                "--indications",
                "--size",
                "161",
            ],
        ),
        (&udp, &["binding", "--burst", "2"]),
        (&tcp, &["binding"]),
        (&tls, &["binding"]),
        (&dtls, &["binding"]),
    ];
    let mut costs = [0.0; 2];
    for (uri, case) in cases {
        let outcome = measure(uri, &[case, &paced[..]].concat(), 0);
        assert!(
            number(&outcome, "/packets/received") > 50.0,
            "{case:?} {outcome}"
        );
        for none in ["corrupted", "duplicates", "lost"] {
            assert_eq!(
                number(&outcome, &format!("/packets/{none}")),
                0.0,
                "{case:?} {none}"
            );
        }
        assert!(number(&outcome, "/latency/p50_us") > 0.0, "{case:?}");
        for (sum, of) in costs.iter_mut().zip(["process", "loader"]) {
            *sum += number(&outcome, &format!("/{of}/cpu_ns_per_packet"));
        }
        assert_eq!(
            server.statistics().allocations,
            0,
            "{case:?}: everything was released"
        );
    }
    assert!(costs.iter().all(|sum| *sum > 0.0), "{costs:?}");
    server.stop();
}

#[test]
fn ipv6_servers_are_measured() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skipped("this host has no IPv6");
    }
    let server = server(Ipv6Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    let outcome = measure(&uri, &["relay", "--direction", "both", "--rate", "400"], 0);
    assert_eq!(number(&outcome, "/packets/lost"), 0.0);
    server.stop();
}

#[test]
fn allocations_per_second_and_their_latency_are_reported() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    let outcome = measure(&uri, &["allocate", "--flows", "20", "--rate", "max"], 0);
    assert!(
        number(&outcome, "/allocations/count") >= 20.0
            && number(&outcome, "/allocations/p50_us") > 0.0
    );
    assert_eq!(
        server.statistics().allocations,
        0,
        "everything was released"
    );
    server.stop();
}

#[test]
fn loss_duplicates_reordering_and_corruption_are_counted() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let network = BadNetwork::before(server.listener_addresses()[0]);
    let outcome = measure(
        &network.uri(),
        &["relay", "--flows", "1", "--rate", "1000"],
        1,
    );
    let sent = number(&outcome, "/packets/sent");
    for (what, of_a_hundred) in [
        ("lost", 7.0),
        ("duplicates", 3.0),
        ("reordered", 2.0),
        ("corrupted", 2.0),
    ] {
        let share = number(&outcome, &format!("/packets/{what}")) * 100.0 / sent;
        assert!(
            (share - of_a_hundred).abs() < 1.5,
            "{what}: {share} of a hundred, not {of_a_hundred}"
        );
    }
    server.stop();
}

#[test]
fn an_error_names_the_option_that_fixes_it() {
    let server = server(Ipv4Addr::LOCALHOST.into(), false);
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let silent_uri = format!("turn:{}", silent.local_addr().unwrap());
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = format!("turn:{}?transport=tcp", listener.local_addr().unwrap());
    drop(listener);
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &[
                "relay",
                "--server",
                &uri,
                "--user",
                USER,
                "--password",
                "wrong",
            ],
            1,
            "username or password is wrong",
        ),
        (
            &["relay", "--server", &uri],
            1,
            "give --user and --password",
        ),
        (
            &[
                "relay",
                "--server",
                &uri,
                "--user",
                USER,
                "--password",
                PASSWORD,
            ],
            1,
            "--allow-peer",
        ),
        (&["binding", "--server", &silent_uri], 1, "no answer"),
        (
            &["relay", "--server", &uri, "--user", USER],
            2,
            "belong together",
        ),
        (&["relay", "--server", &uri, "--size", "5"], 2, "--size"),
        (&["relay", "--server", "here"], 2, "turn:HOST"),
        (&["relay"], 2, "--server"),
        (
            &["relay", "--server", &uri, "--rate", "0"],
            2,
            "--rate must be above 0",
        ),
        (&["relay", "--server", &uri, "--rate", "fast"], 2, "or max"),
        (
            &["relay", "--server", &uri, "--flows", "0"],
            2,
            "at least 1",
        ),
        (
            &["relay", "--server", &uri, "--duration", "soon"],
            2,
            "is not a duration",
        ),
        (&["relay", "--server", &uri, "--size", "65508"], 2, "--size"),
        (
            &["relay", "--server", &uri, "--pid", "4294967295"],
            2,
            "--pid",
        ),
        (
            &["allocate", "--server", &uri, "--indications"],
            2,
            "means nothing to allocate",
        ),
        (
            &["binding", "--server", &uri, "--direction", "down"],
            2,
            "means nothing to binding",
        ),
        (
            &["relay", "--server", "turn:no.such.host.invalid"],
            2,
            "no.such.host.invalid",
        ),
        (&["relay", "--server", &closed], 1, "cannot connect"),
        // Checked before the run.
        (
            &[
                "binding",
                "--server",
                &silent_uri,
                "--report",
                "/no/such/directory/page.html",
            ],
            2,
            "--report /no/such/directory",
        ),
    ];
    let page = std::env::temp_dir().join(format!("hairpin-bench-none-{}.html", std::process::id()));
    run(&[
        "binding",
        "--server",
        &closed,
        "--report",
        page.to_str().unwrap(),
    ]);
    assert!(!page.exists(), "a page about nothing");
    for (arguments, code, message) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
    server.stop();
}

#[test]
fn allocations_granted_before_a_refusal_are_released() {
    let server = changed_server(Ipv4Addr::LOCALHOST.into(), true, |plan| {
        plan.policy.limits.allocations_per_user = 3;
    });
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    for workload in ["relay", "allocate"] {
        let output = run(&[
            workload,
            "--server",
            &uri,
            "--user",
            USER,
            "--password",
            PASSWORD,
        ]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains("fewer allocations than --flows"),
            "{stderr}"
        );
        assert_eq!(server.statistics().allocations, 0);
    }
    server.stop();
}

#[test]
fn an_interrupted_run_reports_and_releases() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let (udp, tcp) = (
        format!("turn:{}", server.listener_addresses()[0]),
        format!("turn:{}?transport=tcp", server.listener_addresses()[0]),
    );
    for (uri, rate) in [(&udp, "1000"), (&udp, "1"), (&udp, "max"), (&tcp, "1000")] {
        let before = relayed(&server);
        let arguments = ["relay", "--server", uri, "--rate", rate, "--flows", "4"];
        let child = begin(&server, &arguments, |server| relayed(server) > before);
        let output = interrupt(child);
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(130), "{outcome}");
        assert_eq!(outcome["ended_early"], "interrupted");
        assert!(
            number(&outcome, "/seconds") < 20.0 && number(&outcome, "/packets/sent") > 0.0,
            "{outcome}"
        );
        assert_eq!(
            server.statistics().allocations,
            0,
            "everything was released"
        );
    }
    let child = begin(&server, &["allocate", "--server", &udp], |server| {
        server.statistics().allocations > 0
    });
    assert_eq!(interrupt(child).status.code(), Some(130));
    assert_eq!(
        server.statistics().allocations,
        0,
        "everything was released"
    );
    server.stop();
}

#[test]
fn a_server_that_exits_during_a_run_fails_it_with_a_report() {
    for (transport, cause) in [("udp", "nothing came in the last"), ("tcp", "broke")] {
        let server = server(Ipv4Addr::LOCALHOST.into(), true);
        let uri = format!(
            "turn:{}?transport={transport}",
            server.listener_addresses()[0]
        );
        let mut arguments = vec![
            "relay",
            "--server",
            &uri,
            "--rate",
            "500",
            "--user",
            USER,
            "--password",
            PASSWORD,
        ];
        arguments.extend(["--json", "--duration", "4s"]);
        let mut command = Command::new(env!("CARGO_BIN_EXE_hairpin"));
        let child = command
            .arg("bench")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while relayed(&server) == 0 {
            assert!(Instant::now() < deadline, "nothing is relayed");
            std::thread::yield_now();
        }
        server.stop();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(1) && stderr.contains(cause),
            "{transport}: {stderr}"
        );
        let outcome: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(number(&outcome, "/packets/received") > 0.0, "{outcome}");
    }
}

#[test]
fn rate_max_finds_the_rate_of_the_bottleneck() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let network = BadNetwork::narrow(server.listener_addresses()[0]);
    // If the machine does other work, the load generator may be the bottleneck: three attempts.
    let mut failures = Vec::new();
    while let Err(failure) = search(&network.uri()) {
        failures.push(failure);
        assert!(failures.len() < 3, "{failures:#?}");
    }
    let rate = (BOTTLENECK * 1.2).to_string();
    let above = measure(
        &network.uri(),
        &["relay", "--flows", "1", "--rate", &rate, "--size", "100"],
        0,
    );
    assert!(number(&above, "/packets/loss") > 0.05, "{above}");
    server.stop();
}

/// Searches for the highest rate. The error describes a result that is not the bottleneck's.
fn search(uri: &str) -> Result<(), String> {
    let outcome = measure(
        uri,
        &["relay", "--flows", "1", "--rate", "max", "--size", "100"],
        0,
    );
    let found = number(&outcome, "/packets/offered_per_second");
    let passed = number(&outcome, "/packets/loss") < 0.001 && outcome["loader_bound"] == false;
    if !passed || !(0.75..1.05).contains(&(found / BOTTLENECK)) {
        return Err(format!("{found} of {BOTTLENECK}: {outcome}"));
    }
    let rate = (found * 0.9).to_string();
    let below = measure(
        uri,
        &["relay", "--flows", "1", "--rate", &rate, "--size", "100"],
        0,
    );
    if number(&below, "/packets/loss") < 0.001 {
        Ok(())
    } else {
        Err(format!("below it: {below}"))
    }
}

#[test]
fn the_json_has_its_documented_keys() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    let pid = std::process::id().to_string();
    let outcome = measure(&uri, &["relay", "--rate", "500", "--pid", &pid], 0);
    let names = |path: &str| {
        outcome
            .pointer(path)
            .unwrap()
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        names(""),
        "allocations answer_bound burst direction ended_early flows indications latency loader loader_bound packets probes process \
         seconds server size timeline transport usage workload"
    );
    assert_eq!(
        names("/allocations"),
        "count cpu_us p50_us p99_us per_second resident_octets"
    );
    assert_eq!(
        names("/packets"),
        "bits_per_second corrupted duplicates loss lost offered_per_second per_second received reordered sent \
         silent_seconds unsent"
    );
    assert_eq!(
        names("/latency"),
        "histogram max_us mean_us min_us p50_us p90_us p99_9_us p99_us"
    );
    let process = "cores cpu_ns_per_packet kernel resident_octets switches_per_packet threads";
    assert_eq!(
        (names("/process"), names("/loader")),
        (process.into(), process.into())
    );
    assert_eq!(names("/timeline/0"), "at p50_us p99_us received sent");
    assert_eq!(names("/usage/0"), "at cores resident_octets");
    server.stop();
}

#[test]
fn the_html_report_is_self_contained() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.listener_addresses()[0]);
    let path = std::env::temp_dir().join(format!("hairpin-bench-{}.html", std::process::id()));
    measure(
        &uri,
        &["relay", "--rate", "500", "--report", path.to_str().unwrap()],
        0,
    );
    let page = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() >= 3);
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http"));
    for part in [
        "Throughput",
        "Loss",
        "Latency, median",
        "Latency, 99 %",
        "prefers-color-scheme:dark",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("NaN") && !page.contains("inf"),
        "every coordinate is a number"
    );
    server.stop();
}

/// Sends SIGINT, as a terminal does, and waits for the end.
fn interrupt(child: Child) -> Output {
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

/// A proxy between one client and a server that damages the traffic to the server.
struct BadNetwork {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl BadNetwork {
    /// Of a hundred ChannelData messages five are dropped, three duplicated, two delayed behind
    /// their successor and two corrupted.
    fn before(server: SocketAddr) -> BadNetwork {
        let (mut count, mut late) = (0u32, None::<Vec<u8>>);
        BadNetwork::passing(server, move |packet, back| {
            let turn = if packet[0] == 0x40 { count % 100 } else { 50 };
            count += u32::from(packet[0] == 0x40);
            match turn {
                0..5 => return,
                10 | 20 | 30 => drop(back.send(packet)),
                60 | 70 => {
                    late = Some(packet.to_vec());
                    return;
                }
                80 | 90 => *packet.last_mut().unwrap() ^= 1,
                _ => {}
            }
            let _ = back.send(packet);
            late.take().map(|late| back.send(&late));
        })
    }

    /// [`BOTTLENECK`] packets per second pass, with a burst of 50 ms.
    fn narrow(server: SocketAddr) -> BadNetwork {
        let cost = Duration::from_secs(1).div_f64(BOTTLENECK);
        let mut paid = Instant::now();
        BadNetwork::passing(server, move |packet, back| {
            let next = paid.max(Instant::now()) + cost;
            if next <= Instant::now() + Duration::from_millis(50) {
                paid = next;
                let _ = back.send(packet);
            }
        })
    }

    fn passing(
        server: SocketAddr,
        mut pass: impl FnMut(&mut [u8], &UdpSocket) + Send + 'static,
    ) -> BadNetwork {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        back.connect(server).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        for socket in [&front, &back] {
            socket
                .set_read_timeout(Some(Duration::from_millis(50)))
                .unwrap();
        }
        let address = front.local_addr().unwrap();
        let (there, answers, ended) = (
            front.try_clone().unwrap(),
            back.try_clone().unwrap(),
            over.clone(),
        );
        let client = Arc::new(std::sync::Mutex::new(None));
        let known = client.clone();
        std::thread::spawn(move || {
            let mut octets = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok(length) = answers.recv(&mut octets) else {
                    continue;
                };
                let to: Option<SocketAddr> = *known.lock().unwrap();
                to.map(|to| there.send_to(&octets[..length], to));
            }
        });
        let ended = over.clone();
        std::thread::spawn(move || {
            let mut octets = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = front.recv_from(&mut octets) else {
                    continue;
                };
                *client.lock().unwrap() = Some(from);
                pass(&mut octets[..length], &back);
            }
        });
        BadNetwork { address, over }
    }

    fn uri(&self) -> String {
        format!("turn:{}", self.address)
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Packets per second that [`BadNetwork::narrow`] lets pass.
const BOTTLENECK: f64 = 2_000.0;
