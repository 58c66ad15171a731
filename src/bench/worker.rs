//! A worker: one thread's share of the clients and peers, with their sockets.

use crate::bench::link::{Connector, Link, ReceiveBuffers, udp_options};
use crate::bench::measure::recorder::Recorder;
use crate::bench::plan::{Direction, Plan, Workload};
use crate::net::{BufferRange, SendScratch, Transmit, UdpSocket};
use crate::turn::client_state::ClientState;
use crate::wire::{AttributeType, Class, Method, Writer, channel_data, padded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The clients and peers of one thread.
pub struct Worker {
    /// The clients. In a hairpin run clients 0 and 1 are each other's peers, then 2 and 3, and so
    /// on.
    pub clients: Vec<LoadClient>,
    /// The peers: client `i` exchanges packets with peer `i` modulo their number.
    pub peers: Vec<UdpSocket>,
    /// Numbers and counts packets.
    pub recorder: Recorder,
    /// The buffers of all sockets.
    pub buffers: ReceiveBuffers,
    /// Scratch memory of sending.
    pub scratch: SendScratch,
    /// Sockets with something to receive: clients by index, then peers.
    pub ready: ReadyQueue,
    connector: Connector,
    /// The number of the worker's first client among the clients of all workers.
    first_client: usize,
}

/// One client of the server.
pub struct LoadClient {
    /// The connection to the server.
    pub link: Link,
    /// The protocol state.
    pub protocol: ClientState,
    /// The relayed address, while the client has an allocation.
    pub relayed: Option<SocketAddr>,
    /// An authenticated Allocate request is unanswered: there may be an allocation that the client
    /// does not know.
    pub is_allocation_pending: bool,
    /// The header of each packet that the client sends: of ChannelData, or of a Send indication up
    /// to the payload.
    pub header: Vec<u8>,
}

/// Progress of all workers, readable while they run.
#[derive(Default)]
pub struct Progress {
    /// Packets sent.
    pub sent: AtomicU64,
    /// Packets received.
    pub received: AtomicU64,
    /// Requests granted.
    pub exchanges: AtomicU64,
    /// A worker failed; the others stop too.
    pub aborted: AtomicBool,
}

/// The sockets that are ready to receive. Readiness is edge-triggered: the kernel reports a socket
/// once, so that a socket stays in this queue until it is drained.
pub struct ReadyQueue {
    poll: Poll,
    events: Events,
    ready: VecDeque<usize>,
    is_queued: Vec<bool>,
}

impl Worker {
    /// Opens the sockets of clients `from..to` of a plan. All workers of a run share `epoch`.
    ///
    /// # Errors
    /// Errors of sockets: too many open files, no route, a refused connection.
    /// [`io::ErrorKind::Interrupted`] if the run was stopped.
    pub fn connect(plan: &Plan, from: usize, to: usize, epoch: Instant) -> io::Result<Worker> {
        let local = plan.local_ip()?;
        let connector = Connector::new(&plan.target, local)?;
        let mut ready = ReadyQueue::new()?;
        let mut clients = Vec::with_capacity(to - from);
        for index in from..to {
            if plan.stop.is_requested() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let link = connector.connect(plan.other_clients + index)?;
            ready.register(link.as_raw_fd(), index - from, link.is_stream())?;
            clients.push(LoadClient {
                link,
                protocol: ClientState::new(plan.login.clone(), random_seed()?),
                relayed: None,
                is_allocation_pending: false,
                header: Vec::new(),
            });
        }
        let has_peers = plan.workload == Workload::Relay && plan.direction != Direction::Hairpin;
        let peer_count = if has_peers {
            plan.peers.min(to - from)
        } else {
            0
        };
        let mut peers = Vec::with_capacity(peer_count);
        for index in 0..peer_count {
            let peer = UdpSocket::bind(SocketAddr::new(local, 0), &udp_options())?;
            ready.register(peer.as_raw_fd(), clients.len() + index, false)?;
            peers.push(peer);
        }
        let streams_each = plan.streams() / plan.flows;
        Ok(Worker {
            recorder: Recorder::new(
                (from * streams_each) as u32,
                clients.len() * streams_each,
                plan.size,
                epoch,
            ),
            clients,
            peers,
            buffers: ReceiveBuffers::new(BATCH),
            scratch: SendScratch::default(),
            ready,
            connector,
            first_client: from,
        })
    }

    /// Replaces client `index` by a new one with another five-tuple.
    ///
    /// # Errors
    /// As [`Worker::connect`].
    pub fn reconnect(&mut self, index: usize, plan: &Plan) -> io::Result<()> {
        let link = self
            .connector
            .connect(plan.other_clients + self.first_client + index)?;
        self.ready
            .register(link.as_raw_fd(), index, link.is_stream())?;
        let client = &mut self.clients[index];
        client.link = link;
        client.protocol = ClientState::new(plan.login.clone(), random_seed()?);
        Ok(())
    }

    /// The peer of client `index`; `None` while the client at the other end of a hairpin has no
    /// allocation.
    pub fn peer_of(&self, index: usize, direction: Direction) -> Option<SocketAddr> {
        match direction {
            Direction::Hairpin => self.clients.get(index ^ 1)?.relayed,
            Direction::Up | Direction::Down | Direction::Both => self
                .peers
                .get(index % self.peers.len().max(1))
                .map(UdpSocket::local_address),
        }
    }

    /// Prepares the header that client `index` writes in front of payloads for `peer`.
    pub fn prepare_header(&mut self, index: usize, plan: &Plan, peer: SocketAddr) {
        self.clients[index].header = match plan.indications {
            true => send_indication_header(index, plan.size, peer),
            false => channel_data::header(CHANNEL, plan.size as u16).to_vec(),
        };
    }

    /// Sends a message from client `index`.
    pub fn send_message(&mut self, index: usize, target: SocketAddr, message: &[u8]) {
        let frame = [Transmit::new(
            target,
            BufferRange::written(0, message.len()),
        )];
        self.clients[index]
            .link
            .send(&mut self.scratch, &frame, message);
    }
}

impl Progress {
    /// Adds packets to the counts.
    pub fn add_packets(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }
}

impl ReadyQueue {
    fn new() -> io::Result<ReadyQueue> {
        Ok(ReadyQueue {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            ready: VecDeque::new(),
            is_queued: Vec::new(),
        })
    }

    fn register(&mut self, fd: i32, index: usize, is_stream: bool) -> io::Result<()> {
        // A stream also waits until it can write its queued output.
        let interest = match is_stream {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), Token(index), interest)?;
        let sockets = self.is_queued.len().max(index + 1);
        self.is_queued.resize(sockets, false);
        Ok(())
    }

    /// Asks the kernel for ready sockets; waits up to `timeout` if none is queued.
    ///
    /// # Errors
    /// Errors of the system call.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = match self.ready.is_empty() {
            true => timeout,
            false => Duration::ZERO,
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let index = event.token().0;
            if !std::mem::replace(&mut self.is_queued[index], true) {
                self.ready.push_back(index);
            }
        }
        Ok(())
    }

    /// Takes the socket that has waited longest.
    pub fn pop(&mut self) -> Option<usize> {
        let index = self.ready.pop_front()?;
        self.is_queued[index] = false;
        Some(index)
    }

    /// Queues a socket that was not drained.
    pub fn push(&mut self, index: usize) {
        if !std::mem::replace(&mut self.is_queued[index], true) {
            self.ready.push_back(index);
        }
    }

    /// The number of sockets queued.
    pub fn queued(&self) -> usize {
        self.ready.len()
    }
}

/// 32 octets from the system's generator.
///
/// # Errors
/// The system has no randomness.
pub fn random_seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// A Send indication up to its payload. No answer refers to its transaction id, which only has to
/// differ from those of requests.
fn send_indication_header(index: usize, size: usize, peer: SocketAddr) -> Vec<u8> {
    let mut id = *b"indication\0\0";
    let [.., high, low] = index.to_be_bytes();
    id[10] = high;
    id[11] = low;
    let mut octets = Vec::new();
    let mut writer = Writer::new(&mut octets, Class::Indication, Method::SEND, &id);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.attribute(AttributeType::DATA, &vec![0; size]);
    octets.truncate(octets.len() - padded(size));
    octets
}

/// The channel that every client binds to its one peer.
pub const CHANNEL: u16 = 0x4000;
/// Receive buffers of a batch, each for a datagram or a GRO train.
const BATCH: usize = 64;
