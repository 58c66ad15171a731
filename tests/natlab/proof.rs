//! Layer 0: proof of the lab. Every kind of router behaves as it should, and UDP passes between two
//! homes exactly when theory says so.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::lab::{Lab, Side, Wiring};
use crate::nat::{Behaviour, Filtering, Mapping, Nat, Router};
use crate::report::Report;
use crate::stun::{
    self, ADDRESSES, Change, FENCE, PORTS, Responder, ask, comes_through, timed_out,
};

/// Classifies every kind on both sides, then tests hairpinning, packet loss, MTU, and the matrix of
/// hole punching.
pub fn run(report: &mut Report) {
    let mut lab = Lab::new(
        Wiring::Apart,
        Router::plain(Nat::Open),
        Router::plain(Nat::Open),
    );
    let responder = Responder::start(&lab.server);
    for nat in Nat::ALL {
        report.scenario(
            "NAT is what it claims",
            nat,
            &nat.claims().to_string(),
            || {
                lab.become_kind(Side::A, Router::plain(nat));
                lab.become_kind(Side::B, Router::plain(nat));
                let [a, b] = Side::BOTH.map(|side| classify(&lab, side));
                let (a, b) = (
                    a.map_err(|error| error.to_string())?,
                    b.map_err(|error| error.to_string())?,
                );
                if a == b {
                    Ok(a.to_string())
                } else {
                    Err(format!("a: {a}; b: {b}"))
                }
            },
        );
    }
    for (i, a) in Nat::ALL.into_iter().enumerate() {
        for b in Nat::ALL.into_iter().skip(i) {
            let theory = if a.direct(b) {
                "passes"
            } else {
                "does not pass"
            };
            report.pair("raw UDP, homes apart", a, b, theory, || {
                lab.become_kind(Side::A, Router::plain(a));
                lab.become_kind(Side::B, Router::plain(b));
                lab.reset_counters();
                let passed = punch(&lab).map_err(|error| error.to_string())?;
                let carried = lab.carried();
                if passed && carried.home_to_home == 0 {
                    return Err(format!("the core has not seen what passed: {carried}"));
                }
                Ok(if passed { "passes" } else { "does not pass" }.into())
            });
        }
    }
    trouble(report, &mut lab);
    drop(responder);
    behind_one_router(report);
}

/// Tests cut, loss and MTU.
fn trouble(report: &mut Report, lab: &mut Lab) {
    report.scenario("trouble", "direct path cut", "does not pass, heals", || {
        lab.become_kind(Side::A, Router::plain(Nat::PortRestricted));
        lab.become_kind(Side::B, Router::plain(Nat::PortRestricted));
        lab.cut();
        let cut = punch(lab);
        lab.heal();
        let healed = punch(lab).map_err(|error| error.to_string())?;
        let passed = cut.map_err(|error| error.to_string())?;
        Ok(format!(
            "{}, {}",
            if passed { "passes" } else { "does not pass" },
            if healed { "heals" } else { "stays cut" }
        ))
    });
    report.scenario(
        "trouble",
        "5 % loss",
        "1 to 20 % of round trips lost",
        || {
            lab.lose(5);
            let lost = lab.home(Side::A).enter(round_trips_lost);
            lab.heal();
            let lost = lost.map_err(|error| error.to_string())?;
            // Each of 400 round trips crosses the lossy core twice: 9.75 % on average, five
            // deviations are 7.4 %.
            Ok(if (8..=80).contains(&lost) {
                "1 to 20 % of round trips lost".into()
            } else {
                format!("{lost} of 400 lost")
            })
        },
    );
    report.scenario("trouble", "MTU 1280", "path MTU 1280", || {
        lab.set_mtu(1280);
        let known = lab.home(Side::A).enter(|| path_mtu(ADDRESSES[0][0]));
        lab.set_mtu(1500);
        known
            .map(|octets| format!("path MTU {octets}"))
            .map_err(|error| error.to_string())
    });
}

/// Two homes behind one router: on a switch they always connect, on isolated LANs only by
/// hairpinning.
fn behind_one_router(report: &mut Report) {
    use Nat::{AddressRestricted, FullCone, PortRestricted, PortTranslated, Symmetric};
    let mut lab = Lab::new(
        Wiring::Isolated,
        Router::plain(PortRestricted),
        Router::plain(PortRestricted),
    );
    let responder = Responder::start(&lab.server);
    let hairpins = [FullCone, AddressRestricted, PortRestricted].map(Router::hairpinning);
    let plains = [
        FullCone,
        AddressRestricted,
        PortRestricted,
        PortTranslated,
        Symmetric,
    ]
    .map(Router::plain);
    for router in hairpins.into_iter().chain(plains) {
        let name = format!(
            "{}, {}",
            router.nat,
            if router.hairpin {
                "hairpinning"
            } else {
                "not hairpinning"
            }
        );
        let theory = if router.hairpin {
            "passes"
        } else {
            "does not pass"
        };
        report.scenario("raw UDP, one router, isolated LANs", name, theory, || {
            lab.become_kind(Side::A, router);
            let passed = punch(&lab).map_err(|error| error.to_string())?;
            Ok(if passed { "passes" } else { "does not pass" }.into())
        });
    }
    drop(responder);
    let lab = Lab::new(
        Wiring::Switch,
        Router::plain(PortRestricted),
        Router::plain(PortRestricted),
    );
    report.scenario(
        "raw UDP, one router, one switch",
        "host to host",
        "passes",
        || {
            let [a, b] = Side::BOTH.map(|side| {
                lab.home(side)
                    .enter(|| UdpSocket::bind((lab.address(side), 0)).expect("own address"))
            });
            a.send_to(b"over the switch", b.local_addr().expect("bound"))
                .map_err(|error| error.to_string())?;
            b.set_read_timeout(Some(FENCE)).expect("a timeout");
            let (_, from) = b
                .recv_from(&mut [0; 64])
                .map_err(|error| error.to_string())?;
            Ok(if Ok(from) == a.local_addr().map_err(drop) {
                "passes".into()
            } else {
                format!("comes from {from}")
            })
        },
    );
}

/// Mapping, then filtering with a fresh socket (RFC 5780 §4.3, §4.4).
fn classify(lab: &Lab, side: Side) -> io::Result<Behaviour> {
    let own = lab.address(side);
    lab.home(side).enter(|| {
        let [first, second] = responder_of(own);
        let socket = UdpSocket::bind((own, 0))?;
        let Some((mapped, _)) = ask_thrice(&socket, SocketAddr::new(first, PORTS[0])) else {
            return Ok(blocked(own, [first, second]));
        };
        let mut others = [(first, PORTS[1]), (second, PORTS[0]), (second, PORTS[1])]
            .into_iter()
            .map(SocketAddr::from);
        let to_port = ask(
            &socket,
            others.next().expect("three"),
            Change::Nothing,
            FENCE,
        )?
        .0;
        let rest = others
            .map(|to| ask(&socket, to, Change::Nothing, FENCE).map(|answer| answer.0))
            .collect::<io::Result<Vec<_>>>()?;
        let mapping = if rest.iter().chain([&to_port]).all(|other| *other == mapped) {
            Mapping::EndpointIndependent
        } else if to_port == mapped {
            Mapping::AddressDependent
        } else {
            Mapping::AddressAndPortDependent
        };
        let fresh = UdpSocket::bind((own, 0))?;
        let server = SocketAddr::new(first, PORTS[0]);
        let filtering = if comes_through(&fresh, server, Change::AddressAndPort)? {
            Filtering::EndpointIndependent
        } else if comes_through(&fresh, server, Change::Port)? {
            Filtering::AddressDependent
        } else {
            Filtering::AddressAndPortDependent
        };
        let local = socket.local_addr()?;
        Ok(Behaviour::Udp {
            mapping,
            filtering,
            translated: mapped.ip() != own,
            port_kept: mapped.port() == local.port(),
        })
    })
}

/// UDP hole punching: both homes learn their mapped addresses, exchange them, and send. Each round
/// ends with a request to the responder, so that no timeout is needed. A home then sends to the
/// source of a received packet (peer-reflexive in ICE).
fn punch(lab: &Lab) -> io::Result<bool> {
    let round = Arc::new(Barrier::new(2));
    let addresses: Arc<Mutex<[Option<SocketAddr>; 2]>> = Arc::default();
    let sides = Side::BOTH.map(|side| {
        let (own, round, addresses) = (lab.address(side), round.clone(), addresses.clone());
        lab.home(side)
            .spawn(move || punch_from(side, own, &round, &addresses))
    });
    let [a, b] = sides.map(|side| side.join().expect("the puncher ends"));
    Ok(a? && b?)
}

fn punch_from(
    side: Side,
    own: IpAddr,
    round: &Barrier,
    addresses: &Mutex<[Option<SocketAddr>; 2]>,
) -> io::Result<bool> {
    let server = SocketAddr::new(responder_of(own)[0], PORTS[0]);
    let socket = UdpSocket::bind((own, 0));
    let mapped = socket
        .as_ref()
        .ok()
        .and_then(|socket| ask(socket, server, Change::Nothing, Duration::from_millis(300)).ok());
    addresses.lock().expect("no panic")[side as usize] = mapped.map(|(mapped, _)| mapped);
    round.wait();
    let [a, b] = *addresses.lock().expect("no panic");
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(false);
    };
    if a.is_ipv4() != b.is_ipv4() {
        return Ok(false);
    }
    let (socket, mut peer, mut received) = (socket?, if side == Side::A { b } else { a }, false);
    for _ in 0..5 {
        // A router may refuse by ICMP; the next round may pass.
        let _refused = socket.send_to(b"punch", peer);
        round.wait();
        // The response of the responder arrives after every packet that the other home sent before
        // the barrier.
        stun::send(&socket, server, Change::Nothing)?;
        socket.set_read_timeout(Some(FENCE))?;
        loop {
            match socket.recv_from(&mut [0; 64]) {
                Ok((5, from)) => (peer, received) = (from, true),
                Ok(_) => break,
                Err(error) if timed_out(&error) => break,
                Err(_) => {}
            }
        }
        round.wait();
    }
    Ok(received)
}

/// The number of 400 requests without a response.
fn round_trips_lost() -> io::Result<usize> {
    let socket = UdpSocket::bind((IpAddr::from([0; 4]), 0))?;
    let server = SocketAddr::new(ADDRESSES[0][0], PORTS[0]);
    let mut lost = 0;
    for _ in 0..400 {
        match ask(&socket, server, Change::Nothing, Duration::from_millis(20)) {
            Ok(_) => {}
            Err(error) if timed_out(&error) => lost += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(lost)
}

/// The kernel's path MTU to `to`, after a full-size packet with "don't fragment" was too large for
/// a link.
fn path_mtu(to: IpAddr) -> io::Result<i32> {
    let socket = UdpSocket::bind((IpAddr::from([0; 4]), 0))?;
    let server = SocketAddr::new(to, PORTS[0]);
    socket.connect(server)?;
    socket.send(&[0xff; 1500 - 28])?;
    // The ICMP message of the router arrives before the response to a later request, or as an error
    // of the socket.
    let _too_long = ask(&socket, server, Change::Nothing, FENCE);
    let (mut octets, mut length) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: IP_MTU writes one int; both pointers are to live locals of that size.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU,
            (&raw mut octets).cast(),
            &raw mut length,
        )
    };
    if outcome == 0 {
        Ok(octets)
    } else {
        Err(io::Error::last_os_error())
    }
}

fn responder_of(own: IpAddr) -> [IpAddr; 2] {
    ADDRESSES[usize::from(own.is_ipv6())]
}

/// Three attempts, so that a lost packet does not look like a blocked one.
fn ask_thrice(socket: &UdpSocket, server: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    (0..3).find_map(|_| ask(socket, server, Change::Nothing, Duration::from_millis(300)).ok())
}

/// Only a connected socket reports ICMP errors.
fn blocked(own: IpAddr, [first, second]: [IpAddr; 2]) -> Behaviour {
    let server = SocketAddr::new(first, PORTS[0]);
    let refusal = UdpSocket::bind((own, 0)).and_then(|socket| {
        socket.connect(server)?;
        socket.send(&[0; 20])?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        socket.recv(&mut [0; 64])
    });
    let tcp_443 = TcpStream::connect_timeout(&SocketAddr::new(second, 443), FENCE).is_ok();
    Behaviour::Blocked {
        rejected: refusal.is_err_and(|error| !timed_out(&error)),
        tcp_443,
    }
}
