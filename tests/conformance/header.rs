//! RFC 8656 §13 to §16: fields of the IP header: traffic class, TTL and hop limit, DF bit.

use crate::support::client::{Client, Peer};
use crate::support::codec::*;
use crate::support::missing::skipped;
use crate::support::process::Server;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, Protocol, SockRef, Socket, Type};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// RFC 8656 §14: DSCP and ECN: "Preferred Behavior: Set the outgoing value to the incoming value";
/// §13.1 to §13.3: between families as RFC 7915 has it, which copies them as well, and takes one
/// off TTL or hop limit.
#[test]
fn traffic_class_and_hop_limit_are_copied_within_and_between_families() {
    let server = Server::shared();
    for (client_v6, peer_v6) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut client = if client_v6 {
            Client::udp(server.v6)
        } else {
            server.udp()
        };
        let (relayed, peer) = match peer_v6 {
            true => (client.allocate_v6(), Peer::v6()),
            false => (client.allocate(), Peer::v4()),
        };
        client.bind(0x4000, peer.address);
        report_header(client.socket(), client_v6);
        report_header(&peer.socket, peer_v6);
        // Expedited forwarding with ECT(0), best effort with CE, CS1 without ECN, and nothing.
        for (class, hops) in [(0xba, 64), (0x03, 33), (0x20, 2), (0, 255)] {
            set_header(client.socket(), client_v6, class, hops);
            set_header(&peer.socket, peer_v6, class, hops);
            let expected = Header {
                class: Some(class),
                hops: Some(hops - 1),
            };
            client.send_raw(&channel_data(0x4000, b"there", false));
            assert_eq!(
                receive(&peer.socket),
                (b"there".to_vec(), expected),
                "to the peer"
            );
            peer.send(relayed, b"back");
            assert_eq!(
                receive(client.socket()),
                (channel_data(0x4000, b"back", false), expected),
                "to the client"
            );
        }
    }
}

/// RFC 8656 §15: from a stream the class is fixed and ECN is "Not-ECT (=0b00)", whatever the
/// connection has; §16: toward a stream the datagram's are ignored, and it arrives.
#[test]
fn a_stream_does_not_copy_the_traffic_class() {
    let server = Server::shared();
    let mut client = server.tcp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    report_header(&peer.socket, false);
    SockRef::from(&*client.stream()).set_tos_v4(0xb8).unwrap();
    client.send_channel(0x4000, b"there");
    let (payload, header) = receive(&peer.socket);
    assert_eq!((payload, header.class), (b"there".to_vec(), Some(0)));
    set_header(&peer.socket, false, 0xbb, 64);
    peer.send(relayed, b"back");
    assert_eq!(client.channel_data(), (0x4000, b"back".to_vec()));
}

/// RFC 8656 §14 and §15: "When the server sends a packet to a peer in response to a Send
/// indication containing the DONT-FRAGMENT attribute, then set the outgoing UDP packet to not
/// fragment", and in no other case. §13.3: "the DONT-FRAGMENT attribute MUST be ignored by the
/// server" if the datagram arrived over IPv6.
#[test]
fn dont_fragment_sets_df_except_for_udp_clients_on_ipv6() {
    let Some(tap) = tap() else { return };
    let server = Server::shared();
    let clients = [
        ("UDP over IPv4", server.udp(), true),
        ("TCP over IPv4", server.tcp(), true),
        ("UDP over IPv6", Client::udp(server.v6), false),
        ("TCP over IPv6", Client::tcp(server.v6), true),
    ];
    for (name, mut client, heeded) in clients {
        client.allocate();
        let peer = Peer::v4();
        client.bind(0x4000, peer.address);
        let send = || Outgoing::indication(SEND).with(Attribute::peer(peer.address));
        let unfragmented = send().with(Attribute::plain(DONT_FRAGMENT, b""));
        client.send(&send().with(Attribute::data(b"before")));
        assert_eq!(
            tapped(&tap, peer.address.port()),
            (b"before".to_vec(), false),
            "{name}"
        );
        client.send(&unfragmented.with(Attribute::data(b"whole")));
        assert_eq!(
            tapped(&tap, peer.address.port()),
            (b"whole".to_vec(), heeded),
            "{name}"
        );
        client.send_channel(0x4000, b"channel");
        assert_eq!(
            tapped(&tap, peer.address.port()),
            (b"channel".to_vec(), false),
            "{name}"
        );
        client.send(&send().with(Attribute::data(b"after")));
        assert_eq!(
            tapped(&tap, peer.address.port()),
            (b"after".to_vec(), false),
            "{name}"
        );
    }
}

/// RFC 8656 §14: toward the client DF is clear too, because the incoming bit is not known: "always
/// assume the incoming DF bit is 0".
#[test]
fn datagrams_to_the_client_may_be_fragmented() {
    let Some(tap) = tap() else { return };
    let mut client = Server::shared().udp();
    let relayed = client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    peer.send(relayed, b"back");
    let port = client.socket().local_addr().unwrap().port();
    let expected = channel_data(0x4000, b"back", false);
    let (_, whole) = std::iter::repeat_with(|| tapped(&tap, port))
        .find(|(payload, _)| *payload == expected)
        .unwrap();
    assert!(!whole);
}

#[test]
fn each_datagram_of_a_batch_keeps_its_traffic_class() {
    let mut client = Server::shared().udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    report_header(&peer.socket, false);
    for number in 0..200_u32 {
        set_header(client.socket(), false, number % 4 * 0x20, 64);
        client.send_raw(&channel_data(0x4000, &number.to_be_bytes(), false));
    }
    for number in 0..200_u32 {
        let (payload, header) = receive(&peer.socket);
        assert_eq!(
            (payload, header.class),
            (number.to_be_bytes().to_vec(), Some(number % 4 * 0x20))
        );
    }
}

/// Received header fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Header {
    /// DSCP and ECN.
    class: Option<u32>,
    /// TTL or hop limit.
    hops: Option<u32>,
}

fn set_header(socket: &UdpSocket, v6: bool, class: u32, hops: u32) {
    let socket = SockRef::from(socket);
    if v6 {
        socket.set_tclass_v6(class)
    } else {
        socket.set_tos_v4(class)
    }
    .unwrap();
    if v6 {
        socket.set_unicast_hops_v6(hops)
    } else {
        socket.set_ttl_v4(hops)
    }
    .unwrap();
}

fn report_header(socket: &UdpSocket, v6: bool) {
    socket
        .set_read_timeout(Some(crate::support::TIMEOUT))
        .unwrap();
    let reference = SockRef::from(socket);
    if v6 {
        reference.set_recv_tclass_v6(true).unwrap();
        return reference.set_recv_hoplimit_v6(true).unwrap();
    }
    reference.set_recv_tos_v4(true).unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the option's value is one `c_int`, which lives until the call returns.
    let outcome = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVTTL,
            value,
            size_of_val(&on) as u32,
        )
    };
    assert_eq!(outcome, 0);
}

/// The next datagram and its header.
fn receive(socket: &UdpSocket) -> (Vec<u8>, Header) {
    let mut payload = [MaybeUninit::new(0_u8); 2048];
    let mut control = [MaybeUninit::new(0_u8); 128];
    let mut slices = [MaybeUninitSlice::new(&mut payload)];
    let mut header = MsgHdrMut::new()
        .with_buffers(&mut slices)
        .with_control(&mut control);
    let length = SockRef::from(socket).recvmsg(&mut header, 0).unwrap();
    let control_length = header.control_len();
    (
        octets(&payload[..length]),
        read_header(&octets(&control[..control_length])),
    )
}

/// The octets of a buffer that was created from zeros.
fn octets(part: &[MaybeUninit<u8>]) -> Vec<u8> {
    // SAFETY: every buffer in this file is initialized with zeros.
    part.iter()
        .map(|octet| unsafe { octet.assume_init() })
        .collect()
}

/// The values of the control messages about class and hops.
fn read_header(mut control: &[u8]) -> Header {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    let mut read = Header::default();
    while control.len() > HEADER {
        let length = usize::from_ne_bytes(control[..8].try_into().unwrap());
        let number = |at: usize| i32::from_ne_bytes(control[at..at + 4].try_into().unwrap());
        let data = &control[HEADER..length];
        let whole = || u32::from_ne_bytes(data[..4].try_into().unwrap());
        match (number(8), number(12)) {
            (libc::IPPROTO_IP, libc::IP_TOS) => read.class = Some(data[0].into()),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => read.class = Some(whole()),
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                read.hops = Some(whole())
            }
            _ => {}
        }
        control = &control[length.next_multiple_of(8).min(control.len())..];
    }
    read
}

/// A raw socket that receives every datagram to 127.0.0.1 with its IP header; only root may open
/// one.
fn tap() -> Option<Socket> {
    let tap = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP));
    let Ok(tap) = tap else {
        skipped("only root sees the DF bit, on a raw socket");
        return None;
    };
    tap.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    tap.set_recv_buffer_size(4 << 20).unwrap();
    tap.set_read_timeout(Some(crate::support::TIMEOUT)).unwrap();
    Some(tap)
}

/// The next datagram to this port, and its DF bit.
fn tapped(tap: &Socket, port: u16) -> (Vec<u8>, bool) {
    loop {
        let mut buffer = [MaybeUninit::new(0_u8); 2048];
        let length = tap.recv(&mut buffer).unwrap();
        let packet = octets(&buffer[..length]);
        let (ip, udp) = packet.split_at(usize::from(packet[0] & 0xf) * 4);
        if udp[2..4] == port.to_be_bytes() {
            return (udp[8..].to_vec(), ip[6] & 0x40 != 0);
        }
    }
}
