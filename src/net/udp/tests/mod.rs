//! Both I/O modes over loopback, on ports that the system chooses.

mod errors;
mod ip_fields;
mod offload;
mod transfer;

use crate::net::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

const IO_MODES: [IoMode; 2] = [IoMode::Batched, IoMode::Portable];
const LOOPBACKS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

fn bind(ip: IpAddr, options: UdpOptions) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(ip, 0), &options).unwrap()
}

/// Two sockets with the same options.
fn bind_two(ip: IpAddr, options: UdpOptions) -> (UdpSocket, UdpSocket) {
    (bind(ip, options), bind(ip, options))
}

fn with_mode(io_mode: IoMode) -> UdpOptions {
    UdpOptions {
        io_mode,
        ..UdpOptions::default()
    }
}

/// A datagram of octets that the caller wrote.
fn written(to: &UdpSocket, start: usize, length: usize) -> Transmit {
    Transmit::new(to.local_address(), BufferRange::written(start, length))
}

fn send(from: &mut UdpSocket, transmits: &[Transmit], octets: &[u8]) -> SendCounts {
    let buffers = Buffers {
        received: &[],
        written: octets,
    };
    from.send(&mut SendScratch::default(), transmits, buffers)
}

/// Waits until the socket, or its error queue, is readable.
fn wait(socket: &UdpSocket) {
    let mut poll = libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: the kernel reads and writes one entry, which outlives the call.
    let ready = unsafe { libc::poll(&mut poll, 1, 10_000) };
    assert!(ready > 0, "nothing arrived within ten seconds");
}

/// Receives until there are `count` datagrams.
fn receive(socket: &mut UdpSocket, count: usize) -> Vec<(Datagram, Vec<u8>)> {
    let mut batch = Batch::new(8);
    let mut all = Vec::new();
    while all.len() < count {
        wait(socket);
        batch.clear();
        let received = socket.receive(&mut batch).unwrap();
        assert_eq!(received.datagrams, 0..batch.datagrams().len());
        for datagram in batch.datagrams() {
            all.push((*datagram, batch.payload(datagram).to_vec()));
        }
    }
    all
}

fn receive_payloads(socket: &mut UdpSocket, count: usize) -> Vec<Vec<u8>> {
    let received = receive(socket, count).into_iter();
    received.map(|(_, payload)| payload).collect()
}
