//! Local addresses and fields of the IP header, which only batched sockets report and set.
#![cfg(target_os = "linux")]

use super::*;

#[test]
fn a_wildcard_socket_reports_the_local_address_and_can_send_from_it() {
    let cases = [
        (
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 3, 2, 1])],
        ),
        (IpAddr::V6(Ipv6Addr::UNSPECIFIED), vec![LOOPBACKS[1]]),
    ];
    for (wildcard, addresses) in cases {
        let mut server = bind(wildcard, UdpOptions::default());
        for ip in addresses {
            let mut client = bind(ip, UdpOptions::default());
            let to = SocketAddr::new(ip, server.local_address().port());
            let request = Transmit::new(to, BufferRange::written(0, 2));
            send(&mut client, &[request], b"hi");
            let (datagram, _) = receive(&mut server, 1)[0].clone();
            assert_eq!(datagram.local, Some(ip));
            let answer = Transmit {
                from: datagram.local,
                ..Transmit::new(datagram.source, BufferRange::written(0, 2))
            };
            assert_eq!(send(&mut server, &[answer], b"ho").datagrams, 1);
            assert_eq!(receive(&mut client, 1)[0].0.source, to);
        }
    }
}

#[test]
fn dscp_ecn_and_hop_limit_are_set_and_reported_also_with_offload() {
    for ip in LOOPBACKS {
        let reporting = UdpOptions {
            receive_traffic_class: true,
            receive_hop_limit: true,
            ..UdpOptions::default()
        };
        let (mut one, mut two) = (bind(ip, UdpOptions::default()), bind(ip, reporting));
        let default = written(&two, 0, 10);
        let marked = Transmit {
            traffic_class: 0xb9,
            hop_limit: 17,
            ..default
        };
        let counts = send(&mut one, &[marked, marked, default], &[0; 10]);
        assert_eq!(counts.datagrams, 3);
        let fields: Vec<_> = receive(&mut two, 3)
            .iter()
            .map(|(datagram, _)| (datagram.traffic_class, datagram.hop_limit))
            .collect();
        assert_eq!(fields, [(0xb9, 17), (0xb9, 17), (0, 64)], "{ip}");

        let mut not_reporting = bind(ip, UdpOptions::default());
        let marked = Transmit {
            to: not_reporting.local_address(),
            ..marked
        };
        send(&mut one, &[marked], &[0; 10]);
        assert_eq!(receive(&mut not_reporting, 1)[0].0.traffic_class, 0);
    }
}
