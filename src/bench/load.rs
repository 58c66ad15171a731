//! The load: packets out at the plan's pace, packets in as they come, one thread, nothing allocated per packet.
//!
//! Every turn sends what is due (at most a chunk), then receives what is there. A pace that the loader cannot hold is
//! not made up for later: what was due is counted as unsent, so that a slow loader is never taken for a slow server.

use crate::bench::error::Error;
use crate::bench::exchange::post;
use crate::bench::payload;
use crate::bench::payload::Counters;
use crate::bench::plan::Plan;
use crate::bench::plan::{Direction, Workload};
use crate::bench::rate::Rate;
use crate::bench::worker::{CHANNEL, Progress, Worker, data};
use crate::net::{BufferRange, Buffers, Transmit};
use crate::turn::client_state::Request;
use crate::wire::{AttributeType, Class, Message, Method, attribute, padded, writer};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What one thread is to do in one run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Number of the run, different from all before.
    pub run: u32,
    /// This thread's share of the pace.
    pub rate: Rate,
    /// How long to send.
    pub duration: Duration,
    /// How long one slice of the timeline is.
    pub slice: Duration,
}

/// Sends and receives for the load's duration and until what is under way has come; what was counted, and what ended it
/// before its time: [`Error::Io`] for what makes a socket useless, [`Error::ConnectionLost`] for a connection that broke.
pub fn drive(
    worker: &mut Worker,
    plan: &Plan,
    load: &Load,
    progress: &Progress,
) -> (Counters, Option<Error>) {
    worker.ledger.begin(load.run, load.slice.as_nanos() as u64);
    let mut drive = Drive::new(worker, plan);
    let mut shown = (0, 0);
    let begun = worker.ledger.now();
    let sent = drive.send(worker, plan, load, progress, &mut shown);
    worker.ledger.counters.nanoseconds = worker.ledger.now() - begun;
    let settled = sent.and_then(|()| drive.settle(worker, plan));
    show(worker, progress, &mut shown);
    if settled.is_err() {
        progress.over.store(true, Ordering::Relaxed);
    }
    (std::mem::take(&mut worker.ledger.counters), settled.err())
}

/// When the next bursts are due.
struct Pace {
    rate: Rate,
    burst: u64,
    begun: u64,
    /// Bursts that were due so far and are dealt with.
    dealt: u64,
    /// Windowed: packets received when something last came, when that was, and packets given up for lost.
    last: (u64, u64),
    given_up: u64,
}

impl Pace {
    fn new(rate: Rate, burst: u64, begun: u64) -> Pace {
        Pace {
            rate,
            burst,
            begun,
            dealt: 0,
            last: (0, begun),
            given_up: 0,
        }
    }

    /// Bursts to send now. What is overdue by more than [`PATIENCE`] counts as unsent.
    fn due(&mut self, counters: &mut Counters, now: u64) -> u64 {
        let rate = match self.rate {
            Rate::Window(window) => return self.window(counters, now, window as u64),
            Rate::PerSecond(rate) => rate,
            Rate::Max => return 0,
        };
        let due = self.due_at(now, rate).saturating_sub(self.dealt);
        let tolerable = ((rate * PATIENCE.as_secs_f64() / self.burst as f64) as u64).max(2);
        if due > tolerable {
            let skipped = due - tolerable;
            counters.unsent += skipped * self.burst;
            self.dealt += skipped;
            return tolerable;
        }
        due
    }

    /// Bursts due at a time: the first at once.
    fn due_at(&self, now: u64, rate: f64) -> u64 {
        ((now - self.begun) as f64 * rate / 1e9 / self.burst as f64) as u64 + 1
    }

    /// Bursts that fit into the window. When nothing comes for a while, what is under way counts as lost.
    fn window(&mut self, counters: &Counters, now: u64, window: u64) -> u64 {
        let came = counters.received + counters.duplicates;
        if came != self.last.0 {
            self.last = (came, now);
        }
        let flying = counters.sent.saturating_sub(came + self.given_up);
        if flying > 0 && now - self.last.1 > STALL {
            self.given_up += flying;
            self.last.1 = now;
            return window.div_ceil(self.burst);
        }
        let room = window.saturating_sub(flying) / self.burst;
        if flying == 0 { room.max(1) } else { room }
    }

    /// How long nothing is due. Below a millisecond, which no wait can hold, it is zero: the loader spins.
    fn rest(&self, counters: &Counters, now: u64) -> Duration {
        match self.rate {
            Rate::PerSecond(rate) => {
                let next = self.begun + (self.dealt as f64 * self.burst as f64 * 1e9 / rate) as u64;
                let rest = next.saturating_sub(now);
                Duration::from_millis(rest / 1_000_000)
            }
            _ if counters.sent > counters.received + self.given_up => {
                Duration::from_millis(STALL / 1_000_000)
            }
            _ => Duration::ZERO,
        }
    }
}

/// A run's own scratch.
struct Drive {
    arena: Vec<u8>,
    frames: Vec<Transmit>,
    /// For frames that peers send: the client that each is for.
    owners: Vec<usize>,
    /// Buffers from one frame in the arena to the next.
    stride: usize,
    /// The longest prefix; a frame's payload starts here, whatever its own prefix.
    room: usize,
    bursts_at_once: u64,
    /// The stream whose turn it is.
    turn: usize,
}

impl Drive {
    fn new(worker: &Worker, plan: &Plan) -> Drive {
        let room = worker
            .agents
            .iter()
            .map(|agent| agent.prefix.len())
            .max()
            .unwrap_or(0);
        let stride = (room + padded(plan.size)).next_multiple_of(64) + 64;
        let slots = CHUNK.max(plan.burst);
        let mut arena = vec![0; stride * slots];
        for (slot, frame) in arena.chunks_exact_mut(stride).enumerate() {
            payload::fill(&mut frame[room..room + plan.size], slot as u32);
        }
        let bursts_at_once = (slots / plan.burst).max(1) as u64;
        Drive {
            arena,
            frames: Vec::with_capacity(slots),
            owners: Vec::with_capacity(slots),
            stride,
            room,
            bursts_at_once,
            turn: 0,
        }
    }

    /// Sends at the load's pace and receives, until its time is over or somebody ends it.
    fn send(
        &mut self,
        worker: &mut Worker,
        plan: &Plan,
        load: &Load,
        progress: &Progress,
        shown: &mut (u64, u64),
    ) -> Result<(), Error> {
        let begun = worker.ledger.now();
        let end = begun + load.duration.as_nanos() as u64;
        let mut pace = Pace::new(load.rate, plan.burst as u64, begun);
        let mut renewed = begun;
        loop {
            let now = worker.ledger.now();
            if now >= end || plan.stop.is_requested() || progress.over.load(Ordering::Relaxed) {
                return Ok(());
            }
            if now - renewed > RENEWAL {
                self.renew(worker, plan);
                renewed = now;
            }
            let due = pace.due(&mut worker.ledger.counters, now);
            if due > 0 {
                self.emit(worker, plan, due.min(self.bursts_at_once), &mut pace);
            }
            // What is still due does not wait for an answer to what was sent.
            let rest = if due > self.bursts_at_once {
                Duration::ZERO
            } else {
                pace.rest(&worker.ledger.counters, now)
            };
            let rest = rest.min(Duration::from_nanos(end - now)).min(ATTENTION);
            self.receive(worker, plan, rest)?;
            if rest.is_zero() && due == 0 {
                // Whoever watches this run may share the core.
                std::thread::yield_now();
            }
            show(worker, progress, shown);
        }
    }

    /// Sends so many bursts, stream after stream.
    fn emit(&mut self, worker: &mut Worker, plan: &Plan, bursts: u64, pace: &mut Pace) {
        let now = worker.ledger.now();
        let agents = worker.agents.len();
        let total = match plan.direction {
            Direction::Both if plan.workload == Workload::Relay => agents * 2,
            _ => agents,
        };
        self.frames.clear();
        self.owners.clear();
        let mut slot = 0;
        for _ in 0..bursts {
            let stream = self.turn;
            self.turn = (self.turn + 1) % total;
            pace.dealt += 1;
            let first = self.frames.len();
            for _ in 0..plan.burst {
                self.write(worker, plan, stream, slot, now);
                slot += 1;
            }
            // A peer's packets leave together at the end; a client's leave by its own socket now.
            if let Some(from) = sender(plan, stream, agents) {
                let sent = worker.agents[from].lane.send(
                    &mut worker.messages,
                    &self.frames[first..],
                    &self.arena,
                );
                worker
                    .ledger
                    .sent(now, sent.datagrams, sent.buffer_full + sent.failed);
                self.frames.truncate(first);
            }
        }
        if !self.frames.is_empty() {
            self.send_from_peers(worker, now);
        }
    }

    /// Sends all frames by the peers, each by the one that its client talks to. With one peer that is one call.
    fn send_from_peers(&mut self, worker: &mut Worker, now: u64) {
        let peers = worker.peers.len();
        let octets = Buffers {
            received: &[],
            written: &self.arena,
        };
        let mut at = 0;
        for owned in self.owners.chunk_by(|a, b| a % peers == b % peers) {
            let frames = &self.frames[at..at + owned.len()];
            let sent = worker.peers[owned[0] % peers].send(&mut worker.messages, frames, octets);
            worker
                .ledger
                .sent(now, sent.datagrams, sent.buffer_full + sent.failed);
            at += owned.len();
        }
    }

    /// Writes the next packet of a stream into a slot of the arena and lists it.
    fn write(&mut self, worker: &mut Worker, plan: &Plan, stream: usize, slot: usize, now: u64) {
        let stamp = worker.ledger.next(stream, now);
        let frame = &mut self.arena[slot * self.stride..][..self.stride];
        let agents = worker.agents.len();
        if plan.workload == Workload::Binding {
            let id = binding_id(&stamp);
            frame[..20].copy_from_slice(&writer::header(Class::Request, Method::BINDING, 0, &id));
            self.frames.push(Transmit::new(
                plan.target.address,
                BufferRange::written(slot * self.stride, 20),
            ));
            return;
        }
        payload::stamp(&mut frame[self.room..self.room + plan.size], &stamp);
        let at = slot * self.stride + self.room;
        let Some(from) = sender(plan, stream, agents) else {
            let to = worker.agents[stream % agents]
                .relayed
                .unwrap_or(plan.target.address);
            self.frames
                .push(Transmit::new(to, BufferRange::written(at, plan.size)));
            self.owners.push(stream % agents);
            return;
        };
        let agent = &worker.agents[from];
        let start = self.room - agent.prefix.len();
        frame[start..self.room].copy_from_slice(&agent.prefix);
        let is_padded = plan.indications || agent.lane.is_stream();
        let size = if is_padded {
            padded(plan.size)
        } else {
            plan.size
        };
        let whole = BufferRange::written(slot * self.stride + start, agent.prefix.len() + size);
        self.frames.push(Transmit::new(plan.target.address, whole));
    }

    /// Waits at most `rest` and receives what is there, from each socket at most a batch.
    fn receive(&mut self, worker: &mut Worker, plan: &Plan, rest: Duration) -> Result<(), Error> {
        worker.waiting.ask(rest).map_err(Error::Io)?;
        let agents = worker.agents.len();
        for _ in 0..worker.waiting.count() {
            let Some(index) = worker.waiting.take() else {
                break;
            };
            let drained = match index.checked_sub(agents) {
                Some(peer) => {
                    worker.intake.batch.clear();
                    let received = worker.peers[peer]
                        .receive(&mut worker.intake.batch)
                        .map_err(Error::Io)?;
                    let now = worker.ledger.now();
                    for datagram in worker.intake.batch.datagrams() {
                        worker
                            .ledger
                            .received(worker.intake.batch.payload(datagram), now);
                    }
                    received.drained
                }
                None => self.receive_as_client(worker, plan, index)?,
            };
            if !drained {
                worker.waiting.put(index);
            }
        }
        Ok(())
    }

    fn receive_as_client(
        &mut self,
        worker: &mut Worker,
        plan: &Plan,
        index: usize,
    ) -> Result<bool, Error> {
        let Worker {
            agents,
            ledger,
            intake,
            ..
        } = worker;
        let agent = &mut agents[index];
        let mut now = None;
        let mut out = Vec::new();
        let client = &mut agent.client;
        let drained = agent.lane.receive(intake, |octets| {
            let now = *now.get_or_insert_with(|| ledger.now());
            if let Some(payload) = data(octets) {
                ledger.received(payload, now);
                return;
            }
            match binding_answer(octets, now) {
                Some((stamp, mapped)) if plan.workload == Workload::Binding => {
                    // Every answer must tell the address that the first one told.
                    agent.relayed = agent.relayed.or(mapped);
                    match stamp.run == ledger.run & 0xff {
                        true if mapped == agent.relayed => {
                            ledger.arrived(&stamp, octets.len(), now)
                        }
                        true => ledger.counters.corrupted += 1,
                        false => {}
                    }
                }
                // An answer to a renewal; a challenge is met below.
                _ => drop(client.receive(octets, &mut out)),
            }
        });
        let drained = drained.map_err(|error| Error::ConnectionLost(plan.target.clone(), error))?;
        if !out.is_empty() {
            post(worker, index, &out);
        }
        Ok(drained)
    }

    /// Receives until all is here, or nothing came for a while.
    fn settle(&mut self, worker: &mut Worker, plan: &Plan) -> Result<(), Error> {
        let mut last = (worker.ledger.counters.received, worker.ledger.now());
        while worker.ledger.counters.received < worker.ledger.counters.sent
            && worker.ledger.now() - last.1 < SETTLE
        {
            self.receive(worker, plan, Duration::from_millis(5))?;
            if worker.ledger.counters.received != last.0 {
                last = (worker.ledger.counters.received, worker.ledger.now());
            }
        }
        Ok(())
    }

    /// Asks for more time for every allocation, permission and channel. What is lost is asked for again the next time,
    /// long before anything expires.
    fn renew(&mut self, worker: &mut Worker, plan: &Plan) {
        if plan.workload != Workload::Relay {
            return;
        }
        for index in 0..worker.agents.len() {
            let Some(peer) = worker.peer_of(index, plan.direction) else {
                continue;
            };
            let mut out = Vec::new();
            for request in [Request::Refresh { lifetime: 600 }, bind(plan, peer)] {
                out.clear();
                worker.agents[index].client.request(request, &mut out);
                post(worker, index, &out);
            }
        }
    }
}

/// How a client opens the way to its peer: a channel, or a permission for indications.
pub fn bind(plan: &Plan, peer: SocketAddr) -> Request {
    if plan.indications {
        return Request::CreatePermission { peers: vec![peer] };
    }
    Request::ChannelBind {
        number: CHANNEL,
        peer,
    }
}

/// Which client sends a stream; `None` when its peer does.
fn sender(plan: &Plan, stream: usize, agents: usize) -> Option<usize> {
    match (plan.workload, plan.direction) {
        (Workload::Relay, Direction::Down) => None,
        (Workload::Relay, Direction::Both) => (stream < agents).then_some(stream),
        _ => Some(stream),
    }
}

/// A transaction id that is a stamp: the run's last octet, stream, sequence, and time in units of 64 ns.
fn binding_id(stamp: &payload::Stamp) -> [u8; 12] {
    let mut id = [0; 12];
    id[0..4].copy_from_slice(&(stamp.run << 24 | stamp.stream & 0x00ff_ffff).to_be_bytes());
    id[4..8].copy_from_slice(&(stamp.sequence as u32).to_be_bytes());
    id[8..12].copy_from_slice(&((stamp.sent >> TIME_SHIFT) as u32).to_be_bytes());
    id
}

/// Reads the stamp back from an answer, and the address that it tells; the time is the latest that fits.
fn binding_answer(octets: &[u8], now: u64) -> Option<(payload::Stamp, Option<SocketAddr>)> {
    let message = Message::parse(octets).ok()?;
    if message.class() != Class::Success || message.method() != Method::BINDING {
        return None;
    }
    let id = message.transaction();
    let [head, sequence, time] =
        [0, 4, 8].map(|at| u32::from_be_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]]));
    let ago = ((now >> TIME_SHIFT) as u32).wrapping_sub(time);
    let stamp = payload::Stamp {
        run: head >> 24,
        stream: head & 0x00ff_ffff,
        sequence: u64::from(sequence),
        sent: now.saturating_sub(u64::from(ago) << TIME_SHIFT),
    };
    let value = message.attribute(AttributeType::XOR_MAPPED_ADDRESS);
    Some((
        stamp,
        value.and_then(|value| attribute::read_xor_address(value, &id)),
    ))
}

fn show(worker: &Worker, progress: &Progress, shown: &mut (u64, u64)) {
    let counters = &worker.ledger.counters;
    progress.show(counters.sent - shown.0, counters.received - shown.1);
    *shown = (counters.sent, counters.received);
}

/// Packets written before the loader looks for answers.
const CHUNK: usize = 32;
/// How far behind its pace the loader may fall before it gives packets up.
const PATIENCE: Duration = Duration::from_millis(20);
/// A window in which nothing comes for so many nanoseconds is lost.
const STALL: u64 = 50_000_000;
/// How many nanoseconds of silence end a run.
const SETTLE: u64 = 300_000_000;
/// Nanoseconds between renewals: permissions live five minutes. RFC 8656 §9.
const RENEWAL: u64 = 120_000_000_000;
/// How long the loader may sleep before it looks whether it shall end.
const ATTENTION: Duration = Duration::from_millis(100);
/// Units of time in a Binding's transaction id: 64 ns.
const TIME_SHIFT: u32 = 6;
