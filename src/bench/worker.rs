//! A thread's share of a run: its clients, its peers, and the streams of numbered packets between them.
//!
//! ```text
//!   plan ──► enlist ──► exchange_all (Allocate, ChannelBind) ──► drive (packets) ──► exchange_all (Refresh 0)
//! ```

use crate::bench::link::{Dialer, Intake, Lane, RECEIVE_BUFFER};
use crate::bench::payload;
use crate::bench::payload::{Arrival, Counters, Slice, Stamp};
use crate::bench::plan::Plan;
use crate::bench::plan::{Direction, Workload};
use crate::net::{SendScratch, UdpOptions, UdpSocket};
use crate::turn::client_state::ClientState;
use crate::wire::{AttributeType, Class, Method, Packet, Writer, channel_data};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread's clients, peers and streams.
pub struct Worker {
    /// Its clients. In a hairpin, neighbours are each other's peers.
    pub agents: Vec<Agent>,
    /// Its peers: client `i` talks to peer `i` modulo their number.
    pub peers: Vec<UdpSocket>,
    /// What it sends and counts.
    pub ledger: Ledger,
    /// Where packets are received.
    pub intake: Intake,
    /// Scratch of sending.
    pub messages: SendScratch,
    /// Who has something to receive.
    pub waiting: Waiting,
    dialer: Dialer,
    /// The number of its first client among all workers' clients.
    first: usize,
}

/// One client of the server.
pub struct Agent {
    /// Its way to the server.
    pub lane: Lane,
    /// Where the server is.
    pub server: SocketAddr,
    /// Its end of the protocol.
    pub client: ClientState,
    /// Its relayed address, once it has one.
    pub relayed: Option<SocketAddr>,
    /// A sealed request of it is under way: it may have an allocation that it has not heard of.
    pub undecided: bool,
    /// What stands in front of each payload that it sends.
    pub prefix: Vec<u8>,
}

/// What anybody may look at while a worker works.
#[derive(Default)]
pub struct Progress {
    /// Packets sent so far.
    pub sent: AtomicU64,
    /// Packets received so far.
    pub received: AtomicU64,
    /// Exchanges (allocations, bindings of channels) finished so far.
    pub exchanges: AtomicU64,
    /// One worker could not go on, so the others need not.
    pub over: AtomicBool,
}

/// The numbered streams of one run, and what became of them.
pub struct Ledger {
    /// Which run: older packets do not count.
    pub run: u32,
    /// The run's beginning, on the clock of `epoch`.
    pub started: u64,
    /// Nanoseconds of one slice.
    pub slice: u64,
    /// What the run counted.
    pub counters: Counters,
    streams: Vec<payload::Stream>,
    first: u32,
    size: usize,
    epoch: Instant,
}

impl Worker {
    /// Opens the sockets of clients `from..to` of a plan. All workers of a run share `epoch`.
    ///
    /// # Errors
    /// Those of sockets: too many open files, no way to the server, a connection refused. Interrupted when the run shall
    /// end.
    pub fn connect(plan: &Plan, from: usize, to: usize, epoch: Instant) -> io::Result<Worker> {
        let local = plan.local_ip()?;
        let dialer = Dialer::new(&plan.target, local)?;
        let mut waiting = Waiting::new()?;
        let mut agents = Vec::with_capacity(to - from);
        for index in from..to {
            if plan.stop.is_requested() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let lane = dialer.dial(plan.other_clients + index)?;
            waiting.watch(lane.as_raw_fd(), index - from, lane.is_stream())?;
            let client = ClientState::new(plan.login.clone(), seed()?);
            agents.push(Agent {
                lane,
                server: plan.target.address,
                client,
                relayed: None,
                undecided: false,
                prefix: Vec::new(),
            });
        }
        let peered = plan.workload == Workload::Relay && plan.direction != Direction::Hairpin;
        let mut peers = Vec::new();
        for index in 0..if peered { plan.peers.min(to - from) } else { 0 } {
            let options = UdpOptions {
                receive_buffer_size: Some(RECEIVE_BUFFER),
                ..UdpOptions::default()
            };
            let peer = UdpSocket::bind(SocketAddr::new(local, 0), &options)?;
            waiting.watch(peer.as_raw_fd(), agents.len() + index, false)?;
            peers.push(peer);
        }
        let both = if plan.streams() > plan.flows { 2 } else { 1 };
        Ok(Worker {
            ledger: Ledger::new((from * both) as u32, agents.len() * both, plan.size, epoch),
            agents,
            peers,
            intake: Intake::new(BATCH),
            messages: SendScratch::default(),
            waiting,
            dialer,
            first: from,
        })
    }

    /// Gives client `index` a new five-tuple, and a new life. What the server knew of the old one stays with it.
    ///
    /// # Errors
    /// As [`Worker::connect`].
    pub fn redial(&mut self, index: usize, plan: &Plan) -> io::Result<()> {
        let lane = self.dialer.dial(plan.other_clients + self.first + index)?;
        self.waiting
            .watch(lane.as_raw_fd(), index, lane.is_stream())?;
        let agent = &mut self.agents[index];
        agent.lane = lane;
        agent.client = ClientState::new(plan.login.clone(), seed()?);
        Ok(())
    }

    /// Whom client `index` talks to.
    pub fn peer_of(&self, index: usize, direction: Direction) -> Option<SocketAddr> {
        match direction {
            Direction::Hairpin => self.agents.get(index ^ 1)?.relayed,
            _ => self
                .peers
                .get(index % self.peers.len().max(1))
                .map(UdpSocket::local_address),
        }
    }

    /// Prepares what client `index` writes in front of payloads for `peer`.
    pub fn prepare(&mut self, index: usize, plan: &Plan, peer: SocketAddr) {
        let length = plan.size as u16;
        let prefix = if plan.indications {
            let mut octets = Vec::new();
            let mut writer = Writer::new(
                &mut octets,
                Class::Indication,
                Method::SEND,
                &transaction(index),
            );
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.attribute(AttributeType::DATA, &vec![0; plan.size]);
            octets.truncate(octets.len() - crate::wire::padded(plan.size));
            octets
        } else {
            channel_data::header(CHANNEL, length).to_vec()
        };
        self.agents[index].prefix = prefix;
    }
}

impl Progress {
    /// Shows what a worker has counted up to now.
    pub fn show(&self, sent: u64, received: u64) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        self.received.fetch_add(received, Ordering::Relaxed);
    }
}

impl Ledger {
    fn new(first: u32, streams: usize, size: usize, epoch: Instant) -> Ledger {
        let streams = vec![payload::Stream::new(); streams];
        Ledger {
            run: 0,
            started: 0,
            slice: u64::MAX,
            counters: Counters::default(),
            streams,
            first,
            size,
            epoch,
        }
    }

    /// Forgets the past and begins run number `run` with slices of so many nanoseconds.
    pub fn begin(&mut self, run: u32, slice: u64) {
        self.run = run;
        self.slice = slice.max(1);
        self.started = self.now();
        self.counters = Counters::default();
        self.streams.fill(payload::Stream::new());
    }

    /// Nanoseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The next stamp of stream `index` of this worker.
    pub fn next(&mut self, index: usize, now: u64) -> Stamp {
        let stream = &mut self.streams[index];
        stream.next += 1;
        Stamp {
            run: self.run,
            stream: self.first + index as u32,
            sequence: stream.next - 1,
            sent: now,
        }
    }

    /// Notes that the kernel took `packets`, and that `unsent` never left.
    pub fn sent(&mut self, now: u64, packets: u64, unsent: u64) {
        self.counters.sent += packets;
        self.counters.unsent += unsent;
        self.slice_at(now).sent += packets;
    }

    /// Notes a payload that came.
    pub fn received(&mut self, payload: &[u8], now: u64) {
        match payload::read(payload) {
            Some(stamp) if stamp.run != self.run => {}
            Some(stamp) if payload.len() == self.size => self.arrived(&stamp, payload.len(), now),
            _ => self.counters.corrupted += 1,
        }
    }

    /// Notes a packet by its stamp alone.
    pub fn arrived(&mut self, stamp: &Stamp, octets: usize, now: u64) {
        let at = stamp.stream.wrapping_sub(self.first) as usize;
        let Some(stream) = self.streams.get_mut(at) else {
            self.counters.corrupted += 1;
            return;
        };
        match stream.arrive(stamp.sequence) {
            Arrival::Duplicate => {
                self.counters.duplicates += 1;
                return;
            }
            Arrival::Reordered => self.counters.reordered += 1,
            Arrival::InOrder => {}
        }
        let latency = now.saturating_sub(stamp.sent);
        self.counters.received += 1;
        self.counters.octets += octets as u64;
        self.counters.latency.record(latency);
        let slice = self.slice_at(now);
        slice.received += 1;
        slice.latency.record(latency);
    }

    fn slice_at(&mut self, now: u64) -> &mut Slice {
        let at = (now.saturating_sub(self.started) / self.slice).min(MAX_SLICES) as usize;
        let slices = &mut self.counters.slices;
        if slices.len() <= at {
            slices.resize(at + 1, Slice::default());
        }
        &mut slices[at]
    }
}

/// Who has something to receive: the kernel tells once (edge), and whoever is told stays in the queue until drained.
pub struct Waiting {
    poll: Poll,
    events: Events,
    ready: VecDeque<usize>,
    queued: Vec<bool>,
}

impl Waiting {
    fn new() -> io::Result<Waiting> {
        Ok(Waiting {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            ready: VecDeque::new(),
            queued: Vec::new(),
        })
    }

    fn watch(&mut self, fd: i32, index: usize, is_stream: bool) -> io::Result<()> {
        let interest = if is_stream {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        self.poll
            .registry()
            .register(&mut SourceFd(&fd), Token(index), interest)?;
        self.queued.resize(self.queued.len().max(index + 1), false);
        Ok(())
    }

    /// Asks the kernel, waiting at most `timeout` when nothing is known to be ready.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn ask(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = if self.ready.is_empty() {
            timeout
        } else {
            Duration::ZERO
        };
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let index = event.token().0;
            if !std::mem::replace(&mut self.queued[index], true) {
                self.ready.push_back(index);
            }
        }
        Ok(())
    }

    /// Takes the one that has waited longest.
    pub fn take(&mut self) -> Option<usize> {
        let index = self.ready.pop_front()?;
        self.queued[index] = false;
        Some(index)
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.ready.len()
    }

    /// Puts one at the end of the queue.
    pub fn put(&mut self, index: usize) {
        if !std::mem::replace(&mut self.queued[index], true) {
            self.ready.push_back(index);
        }
    }
}

/// The application data in one packet from the server, without looking at who sent it.
pub fn data(octets: &[u8]) -> Option<&[u8]> {
    match Packet::classify(octets) {
        Ok(Packet::ChannelData(data)) => Some(data.payload),
        Ok(Packet::Message(message)) if message.method() == Method::DATA => {
            message.attribute(AttributeType::DATA)
        }
        _ => None,
    }
}

/// 32 octets from the system's generator.
///
/// # Errors
/// When the system has none to give.
pub fn seed() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

/// Indications need no answer; theirs only has to be no request's.
fn transaction(index: usize) -> [u8; 12] {
    let mut id = *b"indication\0\0";
    let [.., high, low] = index.to_be_bytes();
    id[10] = high;
    id[11] = low;
    id
}

/// The channel that every client binds to its one peer.
pub const CHANNEL: u16 = 0x4000;
/// Datagrams or trains of one receive.
const BATCH: usize = 64;
/// Slices that a run is cut into at most.
const MAX_SLICES: u64 = 1000;
