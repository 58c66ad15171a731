//! Both paths over loopback, on ports that the system chooses.

use crate::net::*;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

const PATHS: [IoMode; 2] = [IoMode::Batched, IoMode::Portable];
const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

fn bind(ip: IpAddr, options: UdpOptions) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(ip, 0), &options).unwrap()
}

fn on(path: IoMode) -> UdpOptions {
    UdpOptions {
        io_mode: path,
        ..UdpOptions::default()
    }
}

/// Waits until something can be read, an error queue included.
fn wait(socket: &UdpSocket) {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one entry, which outlives the call.
    let ready = unsafe { libc::poll(&mut poll, 1, 10_000) };
    assert!(ready > 0, "nothing came within ten seconds");
}

fn written(outgoing: &[Transmit], octets: &[u8], socket: &mut UdpSocket) -> SendCounts {
    socket.send(
        &mut SendScratch::default(),
        outgoing,
        Buffers {
            received: &[],
            written: octets,
        },
    )
}

/// Receives until `count` datagrams are there; gives their payloads.
fn collect(socket: &mut UdpSocket, count: usize) -> Vec<(Datagram, Vec<u8>)> {
    let mut batch = Batch::new(8);
    let mut all = Vec::new();
    while all.len() < count {
        wait(socket);
        batch.clear();
        let received = socket.receive(&mut batch).unwrap();
        assert_eq!(received.datagrams, 0..batch.datagrams().len());
        all.extend(
            batch
                .datagrams()
                .iter()
                .map(|d| (*d, batch.payload(d).to_vec())),
        );
    }
    all
}

#[test]
fn what_is_sent_is_received_whole_and_in_order_on_every_path_and_family() {
    for path in PATHS {
        for ip in LOOPBACKS {
            let (mut one, mut two) = (bind(ip, on(path)), bind(ip, on(path)));
            let octets: Vec<u8> = (0..60_000u32).map(|n| (n * 7 % 251) as u8).collect();
            let sizes = [0usize, 1, 48, 1200, 9000, 0, 60_000];
            let outgoing: Vec<_> = sizes
                .iter()
                .map(|size| {
                    Transmit::new(
                        two.local_address(),
                        BufferRange::written(60_000 - size, *size),
                    )
                })
                .collect();
            let sent = written(&outgoing, &octets, &mut one);
            assert_eq!(
                (sent.datagrams, sent.buffer_full, sent.failed),
                (7, 0, 0),
                "{path:?} {ip}"
            );
            assert_eq!(sent.octets, sizes.iter().sum::<usize>() as u64);
            let got = collect(&mut two, 7);
            for (size, (datagram, payload)) in sizes.iter().zip(&got) {
                assert_eq!(payload[..], octets[60_000 - size..], "{path:?} {ip} {size}");
                assert_eq!(datagram.source, one.local_address());
                assert_eq!(datagram.headroom, HEADROOM);
                assert!(datagram.start >= HEADROOM);
            }
        }
    }
}

#[test]
fn the_largest_datagram_of_each_family_passes() {
    for path in PATHS {
        for (ip, size) in [(LOOPBACKS[0], 65_507), (LOOPBACKS[1], 65_527)] {
            let (mut one, mut two) = (bind(ip, on(path)), bind(ip, on(path)));
            let octets = vec![0xa5; size];
            let sent = written(
                &[Transmit::new(
                    two.local_address(),
                    BufferRange::written(0, size),
                )],
                &octets,
                &mut one,
            );
            assert_eq!(sent.datagrams, 1, "{path:?} {ip}");
            assert_eq!(collect(&mut two, 1)[0].1, octets);
        }
    }
}

#[test]
fn header_and_payload_leave_as_one_datagram() {
    for path in PATHS {
        let (mut one, mut two) = (bind(LOOPBACKS[0], on(path)), bind(LOOPBACKS[0], on(path)));
        let outgoing = Transmit {
            header: BufferRange::written(0, 4),
            ..Transmit::new(two.local_address(), BufferRange::received(2, 3))
        };
        let octets = Buffers {
            received: b"__abc__",
            written: b"HEAD",
        };
        let padded = Transmit {
            padding: 1,
            ..outgoing
        };
        let bare = Transmit {
            header: BufferRange::EMPTY,
            padding: 3,
            ..outgoing
        };
        let sent = one.send(
            &mut SendScratch::default(),
            &[outgoing, padded, padded, bare],
            octets,
        );
        assert_eq!((sent.datagrams, sent.octets), (4, 7 + 8 + 8 + 6));
        let got: Vec<_> = collect(&mut two, 4)
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        assert_eq!(
            got,
            [&b"HEADabc"[..], b"HEADabc\0", b"HEADabc\0", b"abc\0\0\0"]
        );
    }
}

#[test]
fn a_piece_outside_its_store_sends_nothing_of_it() {
    for path in PATHS {
        let (mut one, mut two) = (bind(LOOPBACKS[0], on(path)), bind(LOOPBACKS[0], on(path)));
        let outgoing = Transmit {
            header: BufferRange::written(0, 2),
            ..Transmit::new(
                two.local_address(),
                BufferRange::received(5, u32::MAX as usize),
            )
        };
        one.send(
            &mut SendScratch::default(),
            &[outgoing],
            Buffers {
                received: b"abc",
                written: b"ok",
            },
        );
        assert_eq!(collect(&mut two, 1)[0].1, b"ok");
    }
}

#[test]
fn trains_of_mixed_sizes_arrive_as_they_were_sent() {
    for path in PATHS {
        for ip in LOOPBACKS {
            let (mut one, mut two, mut other) =
                (bind(ip, on(path)), bind(ip, on(path)), bind(ip, on(path)));
            let octets: Vec<u8> = (0..=255).cycle().take(4000).collect();
            // A train, its shorter end, a shorter train that must not join, another destination in the middle, and one more.
            let mut plan: Vec<(bool, usize)> = vec![(true, 1200); 5];
            plan.extend([
                (true, 700),
                (true, 700),
                (true, 701),
                (false, 701),
                (true, 701),
                (true, 0),
                (true, 1),
            ]);
            plan.extend([(true, 100); 70]);
            // Larger than the usual MTU: GSO cannot carry these everywhere.
            plan.extend([
                (true, 3000),
                (true, 3000),
                (true, 1999),
                (true, 1999),
                (true, 5),
            ]);
            let outgoing: Vec<_> = plan
                .iter()
                .enumerate()
                .map(|(n, (main, size))| {
                    let to = if *main {
                        two.local_address()
                    } else {
                        other.local_address()
                    };
                    Transmit {
                        header: BufferRange::written(n, size / 2),
                        ..Transmit::new(to, BufferRange::written(n, size - size / 2))
                    }
                })
                .collect();
            let sent = written(&outgoing, &octets, &mut one);
            assert_eq!(
                (sent.datagrams, sent.buffer_full + sent.failed),
                (plan.len() as u64, 0)
            );
            let expect = |main: bool| -> Vec<Vec<u8>> {
                plan.iter()
                    .enumerate()
                    .filter(|(_, (m, _))| *m == main)
                    .map(|(n, (_, size))| {
                        [&octets[n..n + size / 2], &octets[n..n + size - size / 2]].concat()
                    })
                    .collect()
            };
            let payloads =
                |got: Vec<(Datagram, Vec<u8>)>| got.into_iter().map(|(_, p)| p).collect::<Vec<_>>();
            assert_eq!(
                payloads(collect(&mut two, plan.len() - 1)),
                expect(true),
                "{path:?} {ip}"
            );
            assert_eq!(
                payloads(collect(&mut other, 1)),
                expect(false),
                "{path:?} {ip}"
            );
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_train_costs_one_call_and_one_slot_and_its_members_know_their_room() {
    for ip in LOOPBACKS {
        let (mut one, mut two) = (
            bind(ip, UdpOptions::default()),
            bind(ip, UdpOptions::default()),
        );
        let octets: Vec<u8> = (0..8).flat_map(|n| [n; 1000]).collect();
        let outgoing: Vec<_> = (0..8)
            .map(|n| {
                Transmit::new(
                    two.local_address(),
                    BufferRange::written(n * 1000, if n == 7 { 400 } else { 1000 }),
                )
            })
            .collect();
        let sent = written(&outgoing, &octets, &mut one);
        assert_eq!((sent.calls, sent.datagrams), (1, 8));
        wait(&two);
        let mut batch = Batch::new(4);
        let received = two.receive(&mut batch).unwrap();
        assert!(received.drained);
        assert_eq!((batch.free(), batch.datagrams().len()), (3, 8));
        for (n, datagram) in batch.datagrams().iter().enumerate() {
            assert_eq!(datagram.headroom, if n == 0 { HEADROOM } else { 0 });
            assert_eq!(
                batch.payload(datagram),
                vec![n as u8; if n == 7 { 400 } else { 1000 }]
            );
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_offload_every_datagram_is_its_own_message() {
    let plain = UdpOptions {
        offload: false,
        ..UdpOptions::default()
    };
    let (mut one, mut two) = (bind(LOOPBACKS[0], plain), bind(LOOPBACKS[0], plain));
    let outgoing = vec![Transmit::new(two.local_address(), BufferRange::written(0, 100)); 6];
    let sent = written(&outgoing, &[1; 100], &mut one);
    assert_eq!((sent.calls, sent.datagrams), (1, 6));
    wait(&two);
    let mut batch = Batch::new(8);
    assert_eq!(two.receive(&mut batch).unwrap().datagrams, 0..6);
    assert_eq!(batch.free(), 2);
}

#[test]
fn several_sockets_fill_one_batch_and_a_full_batch_is_not_drained() {
    for path in PATHS {
        let mut from = bind(LOOPBACKS[0], on(path));
        let (mut one, mut two) = (bind(LOOPBACKS[0], on(path)), bind(LOOPBACKS[0], on(path)));
        let to: Vec<_> = [&one, &two, &two, &two]
            .iter()
            .enumerate()
            .map(|(n, socket)| {
                Transmit::new(socket.local_address(), BufferRange::written(n, n + 1))
            })
            .collect();
        written(&to, b"0123456789", &mut from);
        let mut batch = Batch::new(3);
        wait(&one);
        wait(&two);
        let first = one.receive(&mut batch).unwrap();
        assert_eq!((first.datagrams, first.drained), (0..1, true));
        let second = two.receive(&mut batch).unwrap();
        assert_eq!(
            (second.datagrams, second.drained),
            (1..3, false),
            "{path:?}"
        );
        assert_eq!(batch.free(), 0);
        let payloads: Vec<_> = batch.datagrams().iter().map(|d| batch.payload(d)).collect();
        assert_eq!(payloads, [&b"0"[..], b"12", b"234"]);
        let none = two.receive(&mut batch).unwrap();
        assert_eq!((none.datagrams, none.drained), (3..3, false));
        batch.clear();
        assert_eq!(
            (batch.free(), batch.slots(), batch.datagrams().len()),
            (3, 3, 0)
        );
        let third = two.receive(&mut batch).unwrap();
        assert_eq!((third.datagrams, third.drained), (0..1, true));
        assert_eq!(batch.payload(&batch.datagrams()[0]), b"3456");
        batch.clear();
        let empty = two.receive(&mut batch).unwrap();
        assert_eq!((empty.datagrams, empty.drained), (0..0, true));
    }
}

#[test]
fn headers_can_be_written_in_front_of_a_payload_in_place() {
    for path in PATHS {
        let (mut one, mut two) = (bind(LOOPBACKS[0], on(path)), bind(LOOPBACKS[0], on(path)));
        written(
            &[Transmit::new(
                two.local_address(),
                BufferRange::written(0, 5),
            )],
            b"voice",
            &mut one,
        );
        wait(&two);
        let mut batch = Batch::new(1);
        two.receive(&mut batch).unwrap();
        let datagram = batch.datagrams()[0];
        batch.octets_mut()[datagram.start - 4..datagram.start].copy_from_slice(&[0x40, 0, 0, 5]);
        let back = Transmit::new(
            datagram.source,
            BufferRange::received(datagram.start - 4, 9),
        );
        let sent = two.send(
            &mut SendScratch::default(),
            &[back],
            Buffers {
                received: batch.octets(),
                written: &[],
            },
        );
        assert_eq!((sent.datagrams, sent.octets), (1, 9));
        assert_eq!(collect(&mut one, 1)[0].1, b"\x40\0\0\x05voice");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn wildcard_sockets_know_where_a_datagram_went_and_answer_from_there() {
    let places = [
        (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 3, 2, 1])],
        ),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), vec![LOOPBACKS[1]]),
    ];
    for (wildcard, addresses) in places {
        let mut server = bind(wildcard, UdpOptions::default());
        for ip in addresses {
            let mut client = bind(ip, UdpOptions::default());
            let to = SocketAddr::new(ip, server.local_address().port());
            written(
                &[Transmit::new(to, BufferRange::written(0, 2))],
                b"hi",
                &mut client,
            );
            let (datagram, _) = collect(&mut server, 1)[0].clone();
            assert_eq!(datagram.local, Some(ip));
            let answer = Transmit {
                from: datagram.local,
                ..Transmit::new(datagram.source, BufferRange::written(0, 2))
            };
            assert_eq!(written(&[answer], b"ho", &mut server).datagrams, 1);
            assert_eq!(collect(&mut client, 1)[0].0.source, to);
        }
    }
    let bound = bind(LOOPBACKS[0], UdpOptions::default());
    assert_eq!(bound.local_address().ip(), LOOPBACKS[0]);
}

#[test]
#[cfg(target_os = "linux")]
fn dscp_ecn_and_hop_limit_are_told_and_set_also_on_trains() {
    for ip in LOOPBACKS {
        let asked = UdpOptions {
            receive_traffic_class: true,
            receive_hop_limit: true,
            ..UdpOptions::default()
        };
        let (mut one, mut two) = (bind(ip, UdpOptions::default()), bind(ip, asked));
        let marked = Transmit {
            traffic_class: 0xb9,
            hop_limit: 17,
            ..Transmit::new(two.local_address(), BufferRange::written(0, 10))
        };
        let unmarked = Transmit::new(two.local_address(), BufferRange::written(0, 10));
        let sent = written(&[marked, marked, unmarked], &[0; 10], &mut one);
        assert_eq!(sent.datagrams, 3);
        let got: Vec<_> = collect(&mut two, 3)
            .iter()
            .map(|(d, _)| (d.traffic_class, d.hop_limit))
            .collect();
        assert_eq!(got, [(0xb9, 17), (0xb9, 17), (0, 64)], "{ip}");
        let mut silent = bind(ip, UdpOptions::default());
        written(
            &[Transmit {
                to: silent.local_address(),
                ..marked
            }],
            &[0; 10],
            &mut one,
        );
        assert_eq!(collect(&mut silent, 1)[0].0.traffic_class, 0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_port_unreachable_is_told_with_its_destination_and_stops_nothing() {
    for (ip, origin, kind, code) in [
        (LOOPBACKS[0], IcmpOrigin::V4, 3, 3),
        (LOOPBACKS[1], IcmpOrigin::V6, 1, 4),
    ] {
        let asked = UdpOptions {
            receive_icmp_errors: true,
            ..UdpOptions::default()
        };
        let (mut one, mut two) = (bind(ip, asked), bind(ip, asked));
        let closed = bind(ip, UdpOptions::default()).local_address();
        let dead = Transmit::new(closed, BufferRange::written(0, 3));
        let live = Transmit::new(two.local_address(), BufferRange::written(0, 3));
        assert_eq!(written(&[dead], b"abc", &mut one).datagrams, 1);
        wait(&one);
        // The pending error would fail the next send, which has nothing to do with it.
        let sent = written(&[live, live, dead], b"abc", &mut one);
        assert_eq!((sent.datagrams, sent.failed), (3, 0));
        assert!(one.has_icmp_errors());
        assert_eq!(collect(&mut two, 2).len(), 2);
        let received = one.receive(&mut Batch::new(1)).unwrap();
        assert!(received.errors && received.drained, "{received:?}");
        let mut errors = Vec::new();
        one.read_icmp_errors(&mut errors);
        let expected = IcmpError {
            destination: closed,
            origin,
            kind,
            code,
            mtu: 0,
            reporter: Some(ip),
        };
        assert_eq!(errors, [expected, expected]);
        assert!(!one.has_icmp_errors());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn errors_that_nobody_asked_for_stay_silent() {
    let (mut one, mut two) = (
        bind(LOOPBACKS[0], UdpOptions::default()),
        bind(LOOPBACKS[0], UdpOptions::default()),
    );
    let closed = bind(LOOPBACKS[0], UdpOptions::default()).local_address();
    let outgoing = [
        Transmit::new(closed, BufferRange::written(0, 1)),
        Transmit::new(two.local_address(), BufferRange::written(0, 1)),
        Transmit::new(closed, BufferRange::written(0, 1)),
    ];
    assert_eq!(written(&outgoing, b"x", &mut one).datagrams, 3);
    assert_eq!(collect(&mut two, 1).len(), 1);
    let mut errors = Vec::new();
    one.read_icmp_errors(&mut errors);
    assert!(errors.is_empty() && !one.has_icmp_errors());
}

#[test]
#[cfg(target_os = "linux")]
fn one_bad_destination_does_not_stop_the_others() {
    let options = UdpOptions {
        receive_icmp_errors: true,
        ..UdpOptions::default()
    };
    let (mut one, mut two) = (bind(LOOPBACKS[0], options), bind(LOOPBACKS[0], options));
    let good = Transmit::new(two.local_address(), BufferRange::written(0, 1));
    // Another family, port 0, the broadcast address without leave, and more octets than a datagram holds.
    let bad = [
        Transmit::new("[::1]:9".parse().unwrap(), BufferRange::written(0, 1)),
        Transmit::new("127.0.0.1:0".parse().unwrap(), BufferRange::written(0, 1)),
        Transmit::new(
            "255.255.255.255:9".parse().unwrap(),
            BufferRange::written(0, 1),
        ),
        Transmit::new(two.local_address(), BufferRange::written(0, 65_508)),
    ];
    let mut outgoing = vec![good];
    for item in bad {
        outgoing.extend([item, good]);
    }
    let sent = written(&outgoing, &[7; 65_508], &mut one);
    assert_eq!((sent.datagrams, sent.failed, sent.buffer_full), (5, 4, 0));
    assert_eq!(collect(&mut two, 5).len(), 5);
}

#[test]
#[cfg(target_os = "linux")]
fn what_must_not_be_fragmented_and_does_not_fit_is_an_error_with_the_mtu() {
    // Loopback has an MTU of 65,536 octets, which UDP over IPv6 exceeds at its largest only with DF refused.
    let options = UdpOptions {
        receive_icmp_errors: true,
        allow_fragmentation: true,
        ..UdpOptions::default()
    };
    let (mut one, mut two) = (bind(LOOPBACKS[1], options), bind(LOOPBACKS[1], options));
    let large = Transmit {
        dont_fragment: true,
        ..Transmit::new(two.local_address(), BufferRange::written(0, 65_527))
    };
    let small = Transmit {
        dont_fragment: true,
        ..Transmit::new(two.local_address(), BufferRange::written(0, 100))
    };
    let sent = written(&[small, large, small], &[1; 65_527], &mut one);
    if sent.datagrams == 3 {
        eprintln!("SKIPPED: the loopback interface carries every datagram whole");
        return;
    }
    assert_eq!((sent.datagrams, sent.failed), (2, 1));
    assert_eq!(collect(&mut two, 2).len(), 2);
    let mut errors = Vec::new();
    one.read_icmp_errors(&mut errors);
    assert_eq!(errors.len(), 1);
    assert_eq!(
        (errors[0].origin, errors[0].kind, errors[0].code),
        (IcmpOrigin::Local, 2, 0)
    );
    assert_eq!(errors[0].destination, two.local_address());
}

#[test]
fn a_full_receive_buffer_is_counted_where_the_kernel_tells() {
    let small = UdpOptions {
        receive_buffer_size: Some(4096),
        ..UdpOptions::default()
    };
    let (mut one, mut two) = (
        bind(
            LOOPBACKS[0],
            UdpOptions {
                offload: false,
                ..on(IoMode::Batched)
            },
        ),
        bind(LOOPBACKS[0], small),
    );
    let outgoing = vec![Transmit::new(two.local_address(), BufferRange::written(0, 1000)); 200];
    assert_eq!(written(&outgoing, &[0; 1000], &mut one).datagrams, 200);
    let mut batch = Batch::new(64);
    let mut overflowed = 0;
    let mut got = 0;
    loop {
        batch.clear();
        let received = two.receive(&mut batch).unwrap();
        overflowed += received.overflowed as usize;
        got += received.datagrams.len();
        if received.drained {
            break;
        }
    }
    assert!(got < 200);
    // The counter rides on the next datagram that does fit.
    written(&outgoing[..1], &[0; 1000], &mut one);
    wait(&two);
    batch.clear();
    let last = two.receive(&mut batch).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(got + overflowed + last.overflowed as usize, 200);
    }
}

#[test]
fn a_port_in_use_is_an_error_unless_it_is_shared() {
    for path in PATHS {
        let alone = bind(LOOPBACKS[0], on(path));
        let error = UdpSocket::bind(alone.local_address(), &on(path)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let shared = UdpOptions {
            reuse_port: true,
            ..on(path)
        };
        let one = bind(LOOPBACKS[0], shared);
        let two = UdpSocket::bind(one.local_address(), &shared).unwrap();
        assert_eq!(one.local_address(), two.local_address());
    }
}

#[test]
fn families_are_apart() {
    let v6 = bind(IpAddr::V6(Ipv6Addr::UNSPECIFIED), UdpOptions::default());
    let same_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), v6.local_address().port());
    UdpSocket::bind(same_port, &UdpOptions::default()).unwrap();
    let v6 = tcp::listen("[::]:0".parse().unwrap(), false).unwrap();
    let port = v6.local_addr().unwrap().port();
    tcp::listen(
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port),
        false,
    )
    .unwrap();
}

#[test]
fn tcp_listeners_share_a_port_and_connections_are_prepared() {
    let one = tcp::listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
    let address = one.local_addr().unwrap();
    let two = tcp::listen(address, true).unwrap();
    assert!(std::net::TcpListener::bind(address).is_err());
    let connection = std::net::TcpStream::connect(address).unwrap();
    tcp::configure(&connection, Some(65_536)).unwrap();
    assert!(connection.nodelay().unwrap());
    assert!(socket2::SockRef::from(&connection).keepalive().unwrap());
    let mut polls = [&one, &two].map(|l| libc::pollfd {
        fd: l.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: two entries, which outlive the call.
    assert_eq!(unsafe { libc::poll(polls.as_mut_ptr(), 2, 10_000) }, 1);
    let taken = one.accept().or_else(|_| two.accept());
    assert_eq!(taken.unwrap().1, connection.local_addr().unwrap());
}

#[test]
fn a_thread_can_be_kept_on_an_allowed_core() {
    let cores = crate::net::host::cpu::allowed_cores();
    assert!(!cores.is_empty());
    let last = *cores.last().unwrap();
    let kept = std::thread::spawn(move || {
        crate::net::host::cpu::pin(last).map(|()| crate::net::host::cpu::allowed_cores())
    })
    .join()
    .unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(kept.unwrap(), [last]);
        assert!(crate::net::host::cpu::pin(usize::MAX).is_err());
    }
    assert_eq!(crate::net::host::cpu::allowed_cores(), cores);
}

#[test]
fn the_host_has_a_loopback_address_and_its_default_source_is_its_own() {
    let all = crate::net::host::interfaces::addresses().unwrap();
    assert!(
        all.iter().any(|a| a.loopback && a.address == LOOPBACKS[0]),
        "{all:?}"
    );
    for v6 in [false, true] {
        if let Some(source) = crate::net::host::interfaces::default_source_address(v6) {
            assert_eq!(source.is_ipv6(), v6);
            assert!(
                all.iter().any(|a| a.address == source),
                "{source} is not among {all:?}"
            );
        }
    }
}
