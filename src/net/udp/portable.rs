//! The portable way: one packet a call.

use crate::net::udp::buffer::{Arrival, Batch, Received};
use crate::net::udp::icmp::concerns_a_datagram;
use crate::net::udp::transmit::{Buffers, SendCounts, Transmit};
use std::io;
use std::net::UdpSocket;

/// Receives until the batch is full or the socket empty.
pub(crate) fn receive(socket: &UdpSocket, batch: &mut Batch) -> io::Result<Received> {
    let first = batch.datagrams().len();
    let mut calls = 0;
    let mut drained = false;
    while batch.free() > 0 && !drained && calls < CALLS {
        calls += 1;
        match socket.recv_from(batch.free_slot()) {
            Ok((length, source)) => {
                batch.take(
                    length,
                    0,
                    Arrival {
                        source,
                        local: None,
                        traffic_class: 0,
                        hop_limit: 0,
                    },
                );
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

/// Sends one after the other; pieces that do not lie side by side are joined in `joined`.
pub(crate) fn send<'a>(
    socket: &UdpSocket,
    joined: &mut Vec<u8>,
    outgoing: impl Iterator<Item = &'a Transmit>,
    octets: Buffers<'_>,
) -> SendCounts {
    let mut sent = SendCounts::default();
    for item in outgoing {
        let header = octets.get(item.header);
        let payload = octets.get(item.payload);
        joined.clear();
        let whole: &[u8] = if header.is_empty() && item.padding == 0 {
            payload
        } else {
            joined.extend_from_slice(header);
            joined.extend_from_slice(payload);
            joined.extend_from_slice(item.zeros());
            joined
        };
        sent.calls += 1;
        match send_one(socket, whole, item) {
            Ok(length) => {
                sent.datagrams += 1;
                sent.octets += length as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sent.buffer_full += 1,
            Err(_) => sent.failed += 1,
        }
    }
    sent
}

/// An error of an earlier datagram may be reported here, once.
fn send_one(socket: &UdpSocket, whole: &[u8], item: &Transmit) -> io::Result<usize> {
    match socket.send_to(whole, item.to) {
        Err(error) if concerns_a_datagram(&error) => socket.send_to(whole, item.to),
        other => other,
    }
}

/// Calls of one receive, so that a flood of errors cannot hold the thread.
const CALLS: u32 = 128;
