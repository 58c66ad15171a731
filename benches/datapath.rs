//! The cost of a packet through `net` and the kernel's loopback, for each I/O mode. One socket
//! sends a batch and others receive it, all in this thread, so the time of a packet includes
//! sending and receiving. Run by `cargo bench --bench datapath`; `benches/compare` measures whole
//! servers.

use divan::Bencher;
use divan::counter::ItemsCount;
use hairpin::net::{
    Batch, BufferRange, Buffers, IoMode, SendScratch, Transmit, UdpOptions, UdpSocket,
};
use std::net::{Ipv4Addr, SocketAddr};

fn main() {
    divan::main();
}

/// One system call for each datagram, as on every platform.
#[divan::bench(args = SIZES)]
fn plain(bencher: Bencher, size: usize) {
    Wire::new(
        UdpOptions {
            io_mode: IoMode::Portable,
            ..UdpOptions::default()
        },
        1,
    )
    .measure(bencher, size);
}

/// One system call for a batch, which the kernel handles packet by packet.
#[divan::bench(args = SIZES)]
fn batched(bencher: Bencher, size: usize) {
    Wire::new(
        UdpOptions {
            offload: false,
            ..UdpOptions::default()
        },
        1,
    )
    .measure(bencher, size);
}

/// One segmented send (GSO), received as one buffer (GRO).
#[divan::bench(args = SIZES)]
fn segmented(bencher: Bencher, size: usize) {
    Wire::new(UdpOptions::default(), 1).measure(bencher, size);
}

/// Offload is on, but adjacent packets go to different sockets, as with interleaved flows.
#[divan::bench(args = SIZES)]
fn interleaved(bencher: Bencher, size: usize) {
    Wire::new(UdpOptions::default(), PACKETS).measure(bencher, size);
}

/// A sending socket and the sockets that receive from it.
struct Wire {
    from: UdpSocket,
    to: Vec<UdpSocket>,
    batch: Batch,
    scratch: SendScratch,
}

impl Wire {
    fn new(options: UdpOptions, receivers: usize) -> Wire {
        let options = UdpOptions {
            receive_buffer_size: Some(4 << 20),
            ..options
        };
        let bind = || {
            UdpSocket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), &options).expect("a socket")
        };
        let to = (0..receivers).map(|_| bind()).collect();
        Wire {
            from: bind(),
            to,
            batch: Batch::new(PACKETS),
            scratch: SendScratch::default(),
        }
    }

    fn measure(mut self, bencher: Bencher, size: usize) {
        let octets = vec![7; size * PACKETS];
        let to: Vec<_> = self.to.iter().map(UdpSocket::local_address).collect();
        let transmits: Vec<_> = (0..PACKETS)
            .map(|at| Transmit::new(to[at % to.len()], BufferRange::written(at * size, size)))
            .collect();
        bencher
            .counter(ItemsCount::new(PACKETS))
            .bench_local(move || {
                let sent = self.from.send(
                    &mut self.scratch,
                    &transmits,
                    Buffers {
                        received: &[],
                        written: &octets,
                    },
                );
                assert_eq!(sent.datagrams, PACKETS as u64);
                self.batch.clear();
                for socket in &mut self.to {
                    while !socket.receive(&mut self.batch).expect("packets").drained {}
                }
                assert_eq!(self.batch.datagrams().len(), PACKETS);
            });
    }
}

/// Datagrams of one batch; one segmented send of 1,200 octets each holds this many.
const PACKETS: usize = 48;
/// Octets of a voice packet and of a video packet.
const SIZES: [usize; 2] = [160, 1200];
