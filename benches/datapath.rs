//! What it takes to move packets through `net` and the kernel's loopback, by each way of moving them: a batch leaves one
//! socket and is received by another, both in this thread, so a packet's time is that of both halves.
//! `cargo bench --bench datapath`. What a whole server takes is the business of `benches/compare`.

use divan::Bencher;
use divan::counter::ItemsCount;
use hairpin::net::{
    Batch, BufferRange, Buffers, IoMode, SendScratch, Transmit, UdpOptions, UdpSocket,
};
use std::net::{Ipv4Addr, SocketAddr};

fn main() {
    divan::main();
}

/// One datagram by one call, as every system can.
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

/// One call for a batch of datagrams, each a packet of its own to the kernel.
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

/// The batch leaves as one GSO train and arrives as one by GRO.
#[divan::bench(args = SIZES)]
fn train(bencher: Bencher, size: usize) {
    Wire::new(UdpOptions::default(), 1).measure(bencher, size);
}

/// Offload is on, but neighbours go to different sockets: what interleaved flows cost.
#[divan::bench(args = SIZES)]
fn interleaved(bencher: Bencher, size: usize) {
    Wire::new(UdpOptions::default(), PACKETS).measure(bencher, size);
}

/// One sending socket and the sockets that receive from it.
struct Wire {
    from: UdpSocket,
    to: Vec<UdpSocket>,
    batch: Batch,
    messages: SendScratch,
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
            messages: SendScratch::default(),
        }
    }

    fn measure(mut self, bencher: Bencher, size: usize) {
        let octets = vec![7; size * PACKETS];
        let to: Vec<_> = self.to.iter().map(UdpSocket::local_address).collect();
        let outgoing: Vec<_> = (0..PACKETS)
            .map(|at| Transmit::new(to[at % to.len()], BufferRange::written(at * size, size)))
            .collect();
        bencher
            .counter(ItemsCount::new(PACKETS))
            .bench_local(move || {
                let sent = self.from.send(
                    &mut self.messages,
                    &outgoing,
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

/// Datagrams of one batch: as many as one GSO train of 1,200 octets holds, and fewer.
const PACKETS: usize = 48;
/// Octets of a voice packet, and of a video packet.
const SIZES: [usize; 2] = [160, 1200];
