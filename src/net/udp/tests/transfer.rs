//! Datagrams arrive whole and in order, and batches fill up.

use super::*;
use std::io;

#[test]
fn datagrams_of_all_sizes_arrive_whole_and_in_order() {
    for (io_mode, ip) in modes_and_loopbacks() {
        let (mut one, mut two) = bind_two(ip, with_mode(io_mode));
        let octets: Vec<u8> = (0..60_000u32).map(|n| (n * 7 % 251) as u8).collect();
        let sizes = [0usize, 1, 48, 1200, 9000, 0, 60_000];
        let transmits = sizes.map(|size| written(&two, 60_000 - size, size));
        let counts = send(&mut one, &transmits, &octets);
        assert_eq!(
            (counts.datagrams, counts.buffer_full, counts.failed),
            (7, 0, 0),
            "{io_mode:?} {ip}"
        );
        assert_eq!(counts.octets, sizes.iter().sum::<usize>() as u64);
        for (size, (datagram, payload)) in sizes.iter().zip(receive(&mut two, 7)) {
            assert_eq!(payload, octets[60_000 - size..], "{io_mode:?} {ip} {size}");
            assert_eq!(datagram.source, one.local_address());
            assert_eq!(datagram.headroom, HEADROOM);
            assert!(datagram.start >= HEADROOM);
        }
    }
}

#[test]
fn the_largest_datagram_of_each_family_arrives() {
    for (io_mode, ip) in modes_and_loopbacks() {
        let size = if ip.is_ipv4() { 65_507 } else { 65_527 };
        let (mut one, mut two) = bind_two(ip, with_mode(io_mode));
        let octets = vec![0xa5; size];
        let counts = send(&mut one, &[written(&two, 0, size)], &octets);
        assert_eq!(counts.datagrams, 1, "{io_mode:?} {ip}");
        assert_eq!(receive_payloads(&mut two, 1), [octets]);
    }
}

#[test]
fn header_payload_and_padding_are_sent_as_one_datagram() {
    for io_mode in IO_MODES {
        let (mut one, mut two) = bind_two(LOOPBACKS[0], with_mode(io_mode));
        let plain = Transmit {
            header: BufferRange::written(0, 4),
            ..Transmit::new(two.local_address(), BufferRange::received(2, 3))
        };
        let padded = Transmit {
            padding: 1,
            ..plain
        };
        let without_header = Transmit {
            header: BufferRange::EMPTY,
            padding: 3,
            ..plain
        };
        let counts = one.send(
            &mut SendScratch::default(),
            &[plain, padded, padded, without_header],
            Buffers {
                received: b"__abc__",
                written: b"HEAD",
            },
        );
        assert_eq!((counts.datagrams, counts.octets), (4, 7 + 8 + 8 + 6));
        assert_eq!(
            receive_payloads(&mut two, 4),
            [&b"HEADabc"[..], b"HEADabc\0", b"HEADabc\0", b"abc\0\0\0"]
        );
    }
}

#[test]
fn a_range_that_exceeds_its_buffer_is_empty() {
    for io_mode in IO_MODES {
        let (mut one, mut two) = bind_two(LOOPBACKS[0], with_mode(io_mode));
        let outside = BufferRange::received(5, u32::MAX as usize);
        let transmit = Transmit {
            header: BufferRange::written(0, 2),
            ..Transmit::new(two.local_address(), outside)
        };
        one.send(
            &mut SendScratch::default(),
            &[transmit],
            Buffers {
                received: b"abc",
                written: b"ok",
            },
        );
        assert_eq!(receive_payloads(&mut two, 1), [b"ok"]);
    }
}

#[test]
fn several_sockets_fill_one_batch_and_a_full_batch_is_not_drained() {
    for io_mode in IO_MODES {
        let options = with_mode(io_mode);
        let mut from = bind(LOOPBACKS[0], options);
        let (mut one, mut two) = bind_two(LOOPBACKS[0], options);
        let transmits = [
            written(&one, 0, 1),
            written(&two, 1, 2),
            written(&two, 2, 3),
            written(&two, 3, 4),
        ];
        send(&mut from, &transmits, b"0123456789");
        wait(&one);
        wait(&two);

        let mut batch = Batch::new(3);
        let first = one.receive(&mut batch).unwrap();
        assert_eq!((first.datagrams, first.drained), (0..1, true));
        let second = two.receive(&mut batch).unwrap();
        assert_eq!(
            (second.datagrams, second.drained),
            (1..3, false),
            "{io_mode:?}"
        );
        assert_eq!(batch.free(), 0);
        let payloads: Vec<_> = batch.datagrams().iter().map(|d| batch.payload(d)).collect();
        assert_eq!(payloads, [&b"0"[..], b"12", b"234"]);
        let full = two.receive(&mut batch).unwrap();
        assert_eq!((full.datagrams, full.drained), (3..3, false));

        batch.clear();
        assert_eq!(
            (batch.free(), batch.slots(), batch.datagrams().len()),
            (3, 3, 0)
        );
        let last = two.receive(&mut batch).unwrap();
        assert_eq!((last.datagrams, last.drained), (0..1, true));
        assert_eq!(batch.payload(&batch.datagrams()[0]), b"3456");
        batch.clear();
        let empty = two.receive(&mut batch).unwrap();
        assert_eq!((empty.datagrams, empty.drained), (0..0, true));
    }
}

#[test]
fn a_header_can_be_written_in_front_of_a_payload_in_place() {
    for io_mode in IO_MODES {
        let (mut one, mut two) = bind_two(LOOPBACKS[0], with_mode(io_mode));
        send(&mut one, &[written(&two, 0, 5)], b"voice");
        wait(&two);
        let mut batch = Batch::new(1);
        two.receive(&mut batch).unwrap();
        let datagram = batch.datagrams()[0];
        batch.octets_mut()[datagram.start - 4..datagram.start].copy_from_slice(&[0x40, 0, 0, 5]);
        let back = Transmit::new(
            datagram.source,
            BufferRange::received(datagram.start - 4, 9),
        );
        let counts = two.send(
            &mut SendScratch::default(),
            &[back],
            Buffers {
                received: batch.octets(),
                written: &[],
            },
        );
        assert_eq!((counts.datagrams, counts.octets), (1, 9));
        assert_eq!(receive_payloads(&mut one, 1), [b"\x40\0\0\x05voice"]);
    }
}

#[test]
fn an_address_in_use_is_an_error_unless_the_port_is_shared() {
    for io_mode in IO_MODES {
        let options = with_mode(io_mode);
        let exclusive = bind(LOOPBACKS[0], options);
        let error = UdpSocket::bind(exclusive.local_address(), &options).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        let shared = UdpOptions {
            reuse_port: true,
            ..options
        };
        let one = bind(LOOPBACKS[0], shared);
        let two = UdpSocket::bind(one.local_address(), &shared).unwrap();
        assert_eq!(one.local_address(), two.local_address());
    }
}

#[test]
fn an_ipv6_socket_leaves_the_port_to_an_ipv4_socket() {
    let ipv6 = bind(IpAddr::V6(Ipv6Addr::UNSPECIFIED), UdpOptions::default());
    let port = ipv6.local_address().port();
    let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    UdpSocket::bind(ipv4, &UdpOptions::default()).unwrap();
}

fn modes_and_loopbacks() -> impl Iterator<Item = (IoMode, IpAddr)> {
    IO_MODES
        .into_iter()
        .flat_map(|io_mode| LOOPBACKS.map(|ip| (io_mode, ip)))
}
