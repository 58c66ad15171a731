//! Errors of one datagram do not stop the others, and ICMP errors are reported.

use super::*;

#[test]
#[cfg(target_os = "linux")]
fn an_icmp_error_is_reported_and_does_not_fail_later_datagrams() {
    for (ip, origin, kind, code) in [
        (LOOPBACKS[0], IcmpOrigin::V4, 3, 3),
        (LOOPBACKS[1], IcmpOrigin::V6, 1, 4),
    ] {
        let (mut one, mut two) = bind_two(ip, with_icmp_errors());
        let closed = bind(ip, UdpOptions::default()).local_address();
        let unreachable = Transmit::new(closed, BufferRange::written(0, 3));
        let reachable = written(&two, 0, 3);
        assert_eq!(send(&mut one, &[unreachable], b"abc").datagrams, 1);
        wait(&one);
        // The pending error would fail the next send, which goes to another destination.
        let counts = send(&mut one, &[reachable, reachable, unreachable], b"abc");
        assert_eq!((counts.datagrams, counts.failed), (3, 0));
        assert!(one.has_icmp_errors());
        assert_eq!(receive(&mut two, 2).len(), 2);
        let received = one.receive(&mut Batch::new(1)).unwrap();
        assert!(received.errors && received.drained, "{received:?}");
        let expected = IcmpError {
            destination: closed,
            origin,
            kind,
            code,
            mtu: 0,
            reporter: Some(ip),
        };
        assert_eq!(icmp_errors(&mut one), [expected, expected]);
        assert!(!one.has_icmp_errors());
    }
}

#[test]
#[cfg(target_os = "linux")]
fn icmp_errors_are_reported_only_on_request() {
    let (mut one, mut two) = bind_two(LOOPBACKS[0], UdpOptions::default());
    let closed = bind(LOOPBACKS[0], UdpOptions::default()).local_address();
    let unreachable = Transmit::new(closed, BufferRange::written(0, 1));
    let transmits = [unreachable, written(&two, 0, 1), unreachable];
    assert_eq!(send(&mut one, &transmits, b"x").datagrams, 3);
    assert_eq!(receive(&mut two, 1).len(), 1);
    assert!(icmp_errors(&mut one).is_empty() && !one.has_icmp_errors());
}

#[test]
#[cfg(target_os = "linux")]
fn a_datagram_that_cannot_be_sent_does_not_stop_the_others() {
    let (mut one, mut two) = bind_two(LOOPBACKS[0], with_icmp_errors());
    let good = written(&two, 0, 1);
    let to = |text: &str| Transmit::new(text.parse().unwrap(), BufferRange::written(0, 1));
    let bad = [
        // Another family, no port, a broadcast without SO_BROADCAST, and more octets than a
        // datagram holds.
        to("[::1]:9"),
        to("127.0.0.1:0"),
        to("255.255.255.255:9"),
        written(&two, 0, 65_508),
    ];
    let mut transmits = vec![good];
    for bad in bad {
        transmits.extend([bad, good]);
    }
    let counts = send(&mut one, &transmits, &[7; 65_508]);
    assert_eq!(
        (counts.datagrams, counts.failed, counts.buffer_full),
        (5, 4, 0)
    );
    assert_eq!(receive(&mut two, 5).len(), 5);
}

#[test]
#[cfg(target_os = "linux")]
fn a_datagram_too_large_without_fragments_is_a_local_error() {
    // Loopback has an MTU of 65,536 octets, which only the largest IPv6 datagrams exceed.
    let options = UdpOptions {
        allow_fragmentation: true,
        ..with_icmp_errors()
    };
    let (mut one, mut two) = bind_two(LOOPBACKS[1], options);
    let dont_fragment = |length| Transmit {
        dont_fragment: true,
        ..written(&two, 0, length)
    };
    let transmits = [
        dont_fragment(100),
        dont_fragment(65_527),
        dont_fragment(100),
    ];
    let counts = send(&mut one, &transmits, &[1; 65_527]);
    if counts.datagrams == 3 {
        eprintln!("SKIPPED: the loopback interface does not fragment any datagram");
        return;
    }
    assert_eq!((counts.datagrams, counts.failed), (2, 1));
    assert_eq!(receive(&mut two, 2).len(), 2);
    let [error] = icmp_errors(&mut one)[..] else {
        panic!("not one error")
    };
    assert_eq!(
        (error.origin, error.kind, error.code),
        (IcmpOrigin::Local, 2, 0)
    );
    assert_eq!(error.destination, two.local_address());
}

#[test]
fn overflows_of_the_receive_buffer_are_counted() {
    let without_offload = UdpOptions {
        offload: false,
        ..UdpOptions::default()
    };
    let small = UdpOptions {
        receive_buffer_size: Some(4096),
        ..UdpOptions::default()
    };
    let mut one = bind(LOOPBACKS[0], without_offload);
    let mut two = bind(LOOPBACKS[0], small);
    let transmits = [written(&two, 0, 1000); 200];
    assert_eq!(send(&mut one, &transmits, &[0; 1000]).datagrams, 200);
    let mut batch = Batch::new(64);
    let mut overflowed = 0;
    let mut received = 0;
    loop {
        batch.clear();
        let last = two.receive(&mut batch).unwrap();
        overflowed += last.overflowed as usize;
        received += last.datagrams.len();
        if last.drained {
            break;
        }
    }
    assert!(received < 200);
    // The kernel reports the counter with the next datagram that fits into the buffer.
    send(&mut one, &transmits[..1], &[0; 1000]);
    wait(&two);
    batch.clear();
    let last = two.receive(&mut batch).unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(received + overflowed + last.overflowed as usize, 200);
    }
}

#[cfg(target_os = "linux")]
fn with_icmp_errors() -> UdpOptions {
    UdpOptions {
        receive_icmp_errors: true,
        ..UdpOptions::default()
    }
}

#[cfg(target_os = "linux")]
fn icmp_errors(socket: &mut UdpSocket) -> Vec<IcmpError> {
    let mut errors = Vec::new();
    socket.read_icmp_errors(&mut errors);
    errors
}
