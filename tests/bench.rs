//! `hairpin bench` as a process, against our own server in this one: what it reports of a sound server, of one behind a
//! network that drops, repeats and spoils, of wrong credentials, of a forbidden peer and of silence.

use hairpin::relay::{Plan, Supervisor};
use hairpin::turn::auth::Realm;
use hairpin::turn::{Policy, RelayAddress};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A server on loopback that permits loopback peers, or does not.
fn server(ip: IpAddr, permits: bool) -> Supervisor {
    let mut realm = Realm::new("bench");
    realm.credentials.add_user("bench", "user", "pass");
    if permits {
        realm.peers.allow = vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
    }
    let policy = Policy::new(realm, vec![RelayAddress { local: ip, external: ip }]);
    let mut plan = Plan::new([SocketAddr::new(ip, 0)], policy);
    plan.shards = 1;
    plan.pin = false;
    plan.answer_rate = 0;
    Supervisor::start(plan).unwrap()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hairpin")).arg("bench").args(arguments).output().unwrap()
}

/// Runs it for half a second with the right password and gives its JSON; it must end with `code`.
fn measure(uri: &str, arguments: &[&str], code: i32) -> Value {
    let common = ["--server", uri, "--user", "user", "--password", "pass", "--duration", "500ms", "--json"];
    let output = run(&[arguments, &common].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

fn number(outcome: &Value, path: &str) -> f64 {
    outcome.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {outcome}"))
}

#[test]
fn every_workload_and_direction_reports_sound_packets() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let address = server.addresses()[0];
    let pid = std::process::id().to_string();
    let (udp, tcp) = (format!("turn:{address}"), format!("turn:{address}?transport=tcp"));
    let paced = ["--flows", "4", "--rate", "400", "--pid", &pid];
    let cases: &[(&str, &[&str])] = &[
        (&udp, &["relay"]),
        (&udp, &["relay", "--direction", "down"]),
        (&udp, &["relay", "--direction", "both", "--burst", "4"]),
        (&udp, &["relay", "--direction", "hairpin", "--size", "33"]),
        (&udp, &["relay", "--indications", "--direction", "both", "--size", "161"]),
        (&tcp, &["relay", "--direction", "both", "--size", "161"]),
        (&tcp, &["relay", "--direction", "hairpin", "--indications"]),
        (&udp, &["binding"]),
    ];
    for (uri, case) in cases {
        let outcome = measure(uri, &[case, &paced[..]].concat(), 0);
        assert!(number(&outcome, "/packets/received") > 50.0, "{case:?} {outcome}");
        for none in ["corrupted", "duplicates", "lost"] {
            assert_eq!(number(&outcome, &format!("/packets/{none}")), 0.0, "{case:?} {none}");
        }
        assert!(number(&outcome, "/latency/p50_us") > 0.0 && number(&outcome, "/process/cpu_ns_per_packet") > 0.0);
    }
    server.stop();
}

#[test]
fn it_speaks_ipv6() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("SKIPPED: this host has no IPv6");
        assert!(std::env::var_os("CI").is_none());
        return;
    }
    let server = server(Ipv6Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.addresses()[0]);
    let outcome = measure(&uri, &["relay", "--direction", "both", "--rate", "400"], 0);
    assert_eq!(number(&outcome, "/packets/lost"), 0.0);
    server.stop();
}

#[test]
fn allocations_are_counted_and_timed() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.addresses()[0]);
    let outcome = measure(&uri, &["allocate", "--flows", "20", "--rate", "max"], 0);
    assert!(number(&outcome, "/allocations/count") >= 20.0 && number(&outcome, "/allocations/p50_us") > 0.0);
    assert_eq!(server.statistics().allocations, 0, "everything was released");
    server.stop();
}

#[test]
fn what_a_bad_network_does_is_told() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let network = BadNetwork::before(server.addresses()[0]);
    let outcome = measure(&network.uri(), &["relay", "--flows", "1", "--rate", "1000"], 1);
    let sent = number(&outcome, "/packets/sent");
    for (what, of_a_hundred) in [("lost", 7.0), ("duplicates", 3.0), ("reordered", 2.0), ("corrupted", 2.0)] {
        let share = number(&outcome, &format!("/packets/{what}")) * 100.0 / sent;
        assert!((share - of_a_hundred).abs() < 1.5, "{what}: {share} of a hundred, not {of_a_hundred}");
    }
    server.stop();
}

#[test]
fn failures_say_what_to_do() {
    let server = server(Ipv4Addr::LOCALHOST.into(), false);
    let uri = format!("turn:{}", server.addresses()[0]);
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let nobody = format!("turn:{}", silent.local_addr().unwrap());
    let cases: &[(&[&str], i32, &str)] = &[
        (&["relay", "--server", &uri, "--user", "user", "--password", "wrong"], 1, "username or password is wrong"),
        (&["relay", "--server", &uri], 1, "give --user and --password"),
        (&["relay", "--server", &uri, "--user", "user", "--password", "pass"], 1, "--allow-peer"),
        (&["binding", "--server", &nobody], 1, "no answer"),
        (&["relay", "--server", &uri, "--user", "user"], 2, "belong together"),
        (&["relay", "--server", &uri, "--size", "5"], 2, "--size"),
        (&["relay", "--server", "here"], 2, "turn:HOST"),
        (&["relay"], 2, "--server"),
    ];
    for (arguments, code, said) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    server.stop();
}

#[test]
fn the_report_is_one_page_that_needs_nothing_else() {
    let server = server(Ipv4Addr::LOCALHOST.into(), true);
    let uri = format!("turn:{}", server.addresses()[0]);
    let path = std::env::temp_dir().join(format!("hairpin-bench-{}.html", std::process::id()));
    measure(&uri, &["relay", "--rate", "500", "--report", path.to_str().unwrap()], 0);
    let page = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.matches("<svg").count() >= 3);
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http"));
    assert!(!page.contains("NaN") && !page.contains("inf"), "every coordinate is a number");
    server.stop();
}

/// A network in front of a server, for one client. Of a hundred ChannelData messages it drops five, sends three twice,
/// delays two behind their successor, and spoils two.
struct BadNetwork {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl BadNetwork {
    fn before(server: SocketAddr) -> BadNetwork {
        let front = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let back = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        back.connect(server).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        for socket in [&front, &back] {
            socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        }
        let address = front.local_addr().unwrap();
        let (there, answers, ended) = (front.try_clone().unwrap(), back.try_clone().unwrap(), over.clone());
        let client = Arc::new(std::sync::Mutex::new(None));
        let known = client.clone();
        std::thread::spawn(move || {
            let mut octets = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                let Ok(length) = answers.recv(&mut octets) else { continue };
                let to: Option<SocketAddr> = *known.lock().unwrap();
                to.map(|to| there.send_to(&octets[..length], to));
            }
        });
        let ended = over.clone();
        std::thread::spawn(move || {
            let (mut octets, mut count, mut late) = ([0; 2048], 0u32, None::<Vec<u8>>);
            while !ended.load(Ordering::Relaxed) {
                let Ok((length, from)) = front.recv_from(&mut octets) else { continue };
                *client.lock().unwrap() = Some(from);
                let packet = &mut octets[..length];
                let turn = if packet[0] == 0x40 { count % 100 } else { 50 };
                count += u32::from(packet[0] == 0x40);
                match turn {
                    0..5 => continue,
                    10 | 20 | 30 => drop(back.send(packet)),
                    60 | 70 => {
                        late = Some(packet.to_vec());
                        continue;
                    }
                    80 | 90 => packet[length - 1] ^= 1,
                    _ => {}
                }
                let _ = back.send(packet);
                late.take().map(|late| back.send(&late));
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
