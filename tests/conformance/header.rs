//! RFC 8656 §14: what the relay does with the IP header's traffic class.

use crate::client::{Client, Peer};
use crate::codec::channel_data;
use crate::fixture::Server;
use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};
use std::mem::MaybeUninit;
use std::net::UdpSocket;

/// RFC 8656 §14: DSCP and ECN: "Preferred Behavior: Set the outgoing value to the incoming value".
#[test]
fn dscp_and_ecn_cross_the_relay() {
    let server = Server::shared();
    for v6 in [false, true] {
        let mut client = if v6 { Client::udp(server.v6) } else { server.udp() };
        let (relayed, peer) = match v6 {
            true => (client.allocate_v6(), Peer::v6()),
            false => (client.allocate(), Peer::v4()),
        };
        client.bind(0x4000, peer.address);
        report_class(client.socket(), v6);
        report_class(&peer.socket, v6);
        // Expedited forwarding with ECT(0), best effort with CE, CS1 without ECN, and nothing.
        for class in [0xba, 0x03, 0x20, 0] {
            set_class(client.socket(), v6, class);
            set_class(&peer.socket, v6, class);
            client.send_raw(&channel_data(0x4000, b"there", false));
            assert_eq!(receive(&peer.socket), (b"there".to_vec(), Some(class)), "to the peer");
            peer.send(relayed, b"back");
            assert_eq!(receive(client.socket()), (channel_data(0x4000, b"back", false), Some(class)), "to the client");
        }
    }
}

/// Neighbours in one batch keep their own class each.
#[test]
fn classes_do_not_mix_in_a_burst() {
    let mut client = Server::shared().udp();
    client.allocate();
    let peer = Peer::v4();
    client.bind(0x4000, peer.address);
    report_class(&peer.socket, false);
    for number in 0..200_u32 {
        set_class(client.socket(), false, number % 4 * 0x20);
        client.send_raw(&channel_data(0x4000, &number.to_be_bytes(), false));
    }
    for number in 0..200_u32 {
        assert_eq!(receive(&peer.socket), (number.to_be_bytes().to_vec(), Some(number % 4 * 0x20)));
    }
}

fn set_class(socket: &UdpSocket, v6: bool, class: u32) {
    let socket = SockRef::from(socket);
    if v6 { socket.set_tclass_v6(class) } else { socket.set_tos_v4(class) }.unwrap();
}

fn report_class(socket: &UdpSocket, v6: bool) {
    let socket = SockRef::from(socket);
    if v6 { socket.set_recv_tclass_v6(true) } else { socket.set_recv_tos_v4(true) }.unwrap();
    socket.set_read_timeout(Some(crate::client::PATIENCE)).unwrap();
}

/// The next datagram and its traffic class.
fn receive(socket: &UdpSocket) -> (Vec<u8>, Option<u32>) {
    let mut payload = [MaybeUninit::new(0_u8); 2048];
    let mut control = [MaybeUninit::new(0_u8); 128];
    let mut slices = [MaybeUninitSlice::new(&mut payload)];
    let mut header = MsgHdrMut::new().with_buffers(&mut slices).with_control(&mut control);
    let length = SockRef::from(socket).recvmsg(&mut header, 0).unwrap();
    let control_length = header.control_len();
    // SAFETY: both buffers were initialised with zeros above.
    let octets = |part: &[MaybeUninit<u8>]| part.iter().map(|o| unsafe { o.assume_init() }).collect::<Vec<u8>>();
    (octets(&payload[..length]), traffic_class(&octets(&control[..control_length])))
}

/// The value of the IP_TOS or IPV6_TCLASS control message.
fn traffic_class(mut control: &[u8]) -> Option<u32> {
    const HEADER: usize = size_of::<libc::cmsghdr>();
    while control.len() > HEADER {
        let length = usize::from_ne_bytes(control[..8].try_into().unwrap());
        let number = |at: usize| i32::from_ne_bytes(control[at..at + 4].try_into().unwrap());
        let data = &control[HEADER..length];
        match (number(8), number(12)) {
            (libc::IPPROTO_IP, libc::IP_TOS) => return Some(data[0].into()),
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => return Some(u32::from_ne_bytes(data[..4].try_into().unwrap())),
            _ => control = &control[length.next_multiple_of(8).min(control.len())..],
        }
    }
    None
}
