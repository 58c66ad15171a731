//! GSO and GRO change the number of calls and slots, but not the datagrams.

use super::*;

#[test]
fn runs_of_mixed_sizes_arrive_as_they_were_sent() {
    for io_mode in IO_MODES {
        for ip in LOOPBACKS {
            let (mut one, mut two) = bind_two(ip, with_mode(io_mode));
            let mut other = bind(ip, with_mode(io_mode));
            let octets: Vec<u8> = (0..=255).cycle().take(4000).collect();
            // A run with a shorter end, a shorter datagram that must open a run of its own, another
            // destination between two datagrams, and empty datagrams. True: to `two`; false: to
            // `other`.
            let mut sizes: Vec<(bool, usize)> = vec![(true, 1200); 5];
            sizes.extend([(true, 700), (true, 700), (true, 701), (false, 701)]);
            sizes.extend([(true, 701), (true, 0), (true, 1)]);
            // More than one GSO message holds.
            sizes.extend([(true, 100); 70]);
            // Segments larger than the usual MTU, which GSO cannot carry everywhere.
            sizes.extend([3000, 3000, 1999, 1999, 5].map(|size| (true, size)));
            let transmits: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(n, (to_two, size))| {
                    let to = if *to_two { &two } else { &other };
                    Transmit {
                        header: BufferRange::written(n, size / 2),
                        ..written(to, n, size - size / 2)
                    }
                })
                .collect();
            let counts = send(&mut one, &transmits, &octets);
            assert_eq!(
                (counts.datagrams, counts.buffer_full + counts.failed),
                (sizes.len() as u64, 0)
            );
            let expected = |to_two: bool| -> Vec<Vec<u8>> {
                let sizes = sizes.iter().enumerate();
                sizes
                    .filter(|(_, (two, _))| *two == to_two)
                    .map(|(n, (_, size))| {
                        [&octets[n..n + size / 2], &octets[n..n + size - size / 2]].concat()
                    })
                    .collect()
            };
            let received = receive_payloads(&mut two, sizes.len() - 1);
            assert_eq!(received, expected(true), "{io_mode:?} {ip}");
            let received = receive_payloads(&mut other, 1);
            assert_eq!(received, expected(false), "{io_mode:?} {ip}");
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_gso_message_takes_one_call_and_one_slot_and_has_headroom_once() {
    for ip in LOOPBACKS {
        let (mut one, mut two) = bind_two(ip, UdpOptions::default());
        let octets: Vec<u8> = (0..8).flat_map(|n| [n; 1000]).collect();
        let size = |n| if n == 7 { 400 } else { 1000 };
        let transmits: Vec<_> = (0..8).map(|n| written(&two, n * 1000, size(n))).collect();
        let counts = send(&mut one, &transmits, &octets);
        assert_eq!((counts.calls, counts.datagrams), (1, 8));
        wait(&two);
        let mut batch = Batch::new(4);
        let received = two.receive(&mut batch).unwrap();
        assert!(received.drained);
        assert_eq!((batch.free(), batch.datagrams().len()), (3, 8));
        for (n, datagram) in batch.datagrams().iter().enumerate() {
            assert_eq!(datagram.headroom, if n == 0 { HEADROOM } else { 0 });
            assert_eq!(batch.payload(datagram), vec![n as u8; size(n)]);
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_offload_each_datagram_is_a_message() {
    let options = UdpOptions {
        offload: false,
        ..UdpOptions::default()
    };
    let (mut one, mut two) = bind_two(LOOPBACKS[0], options);
    let transmits = [written(&two, 0, 100); 6];
    let counts = send(&mut one, &transmits, &[1; 100]);
    assert_eq!((counts.calls, counts.datagrams), (1, 6));
    wait(&two);
    let mut batch = Batch::new(8);
    assert_eq!(two.receive(&mut batch).unwrap().datagrams, 0..6);
    assert_eq!(batch.free(), 2);
}
