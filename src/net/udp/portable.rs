//! Receiving and sending with one datagram per call, as every system can.

use crate::net::udp::buffer::{Batch, PacketInfo, Received};
use crate::net::udp::icmp::concerns_a_datagram;
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
use std::io;
use std::net::UdpSocket;

/// Receives until the batch is full or the socket empty.
pub(crate) fn receive(socket: &UdpSocket, batch: &mut Batch) -> io::Result<Received> {
    let first = batch.datagrams().len();
    let mut calls = 0;
    let mut drained = false;
    while batch.free() > 0 && !drained && calls < MAX_CALLS {
        calls += 1;
        match socket.recv_from(batch.free_slot()) {
            Ok((length, source)) => {
                let info = PacketInfo {
                    source,
                    local: None,
                    traffic_class: 0,
                    hop_limit: 0,
                };
                batch.commit_slot(length, 0, info);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => drained = true,
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted || concerns_a_datagram(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Received {
        datagrams: first..batch.datagrams().len(),
        drained,
        errors: false,
        overflowed: 0,
        calls,
    })
}

/// Sends one datagram after the other. `joined` is scratch memory for datagrams of more than one
/// part, because `sendto` takes one buffer.
pub(crate) fn send<'a>(
    socket: &UdpSocket,
    joined: &mut Vec<u8>,
    transmits: impl Iterator<Item = &'a Transmit>,
    buffers: Buffers<'_>,
) -> SendCounts {
    let mut counts = SendCounts::default();
    for transmit in transmits {
        let header = buffers.get(transmit.header);
        let payload = buffers.get(transmit.payload);
        joined.clear();
        let datagram: &[u8] = if header.is_empty() && transmit.padding == 0 {
            payload
        } else {
            joined.extend_from_slice(header);
            joined.extend_from_slice(payload);
            joined.extend_from_slice(transmit.padding());
            joined
        };
        counts.calls += 1;
        match send_one(socket, datagram, transmit) {
            Ok(length) => {
                counts.datagrams += 1;
                counts.octets += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => counts.buffer_full += 1,
            Err(_) => counts.failed += 1,
        }
    }
    counts
}

/// Sends a datagram; tries twice, because the first attempt may report the error of an earlier
/// datagram.
fn send_one(socket: &UdpSocket, datagram: &[u8], transmit: &Transmit) -> io::Result<usize> {
    match socket.send_to(datagram, transmit.to) {
        Err(error) if concerns_a_datagram(&error) => socket.send_to(datagram, transmit.to),
        other => other,
    }
}

/// System calls of one receive, so that a flood of ICMP errors cannot occupy the thread.
const MAX_CALLS: u32 = 128;
