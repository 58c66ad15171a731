//! The load of one worker: sends packets at the plan's pace and receives packets as they arrive,
//! without a memory allocation per packet.
//!
//! Each iteration sends the due packets, at most a chunk, and then receives the waiting packets.

use crate::bench::error::Error;
use crate::bench::measure::counters::Counters;
use crate::bench::measure::payload::{self, Stamp};
use crate::bench::pacer::Pacer;
use crate::bench::plan::{Direction, Plan, Workload};
use crate::bench::rate::Rate;
use crate::bench::worker::{CHANNEL, Progress, Worker};
use crate::net::{BufferRange, Buffers, Transmit};
use crate::turn::client_state::Request;
use crate::wire::{AttributeType, Class, Message, Method, Packet, attribute, padded, writer};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One worker's part of a run.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The number of the run, which no earlier run had.
    pub run: u32,
    /// This worker's share of the rate.
    pub rate: Rate,
    /// How long to send.
    pub duration: Duration,
    /// Duration of one time slice of the counters.
    pub slice: Duration,
}

/// Sends and receives for the load's duration, then receives what is still in flight. Returns the
/// counters and the error that ended the run early: [`Error::Io`] or [`Error::ConnectionLost`].
pub fn run_load(
    worker: &mut Worker,
    plan: &Plan,
    load: &Load,
    progress: &Progress,
) -> (Counters, Option<Error>) {
    worker
        .recorder
        .start_run(load.run, load.slice.as_nanos() as u64);
    let mut generator = Generator::new(worker, plan, progress);
    let sent = generator.send(worker, load);
    worker.recorder.finish_sending();
    let drained = sent.and_then(|()| generator.drain(worker));
    generator.publish(worker);
    if drained.is_err() {
        progress.aborted.store(true, Ordering::Relaxed);
    }
    (worker.recorder.finish_run(), drained.err())
}

/// Generates the packets of one run.
struct Generator<'a> {
    plan: &'a Plan,
    progress: &'a Progress,
    /// The counts already added to `progress`.
    published: (u64, u64),
    /// Slots of packets, each a header and a payload.
    arena: Vec<u8>,
    frames: Vec<Transmit>,
    /// The recipient (a client's index) of each frame in `frames` that a peer sends.
    recipients: Vec<usize>,
    /// Octets from one slot to the next.
    stride: usize,
    /// Offset of the payload in its slot: the length of the longest header. A shorter header ends
    /// there too.
    payload_offset: usize,
    /// Capacity of the arena in bursts.
    bursts_at_once: u64,
    next_stream: usize,
}

impl<'a> Generator<'a> {
    fn new(worker: &Worker, plan: &'a Plan, progress: &'a Progress) -> Generator<'a> {
        let headers = worker.clients.iter().map(|client| client.header.len());
        let payload_offset = headers.max().unwrap_or(0);
        let stride = (payload_offset + padded(plan.size)).next_multiple_of(64) + 64;
        let slots = CHUNK.max(plan.burst);
        let mut arena = vec![0; stride * slots];
        for (number, slot) in arena.chunks_exact_mut(stride).enumerate() {
            payload::fill(&mut slot[payload_offset..][..plan.size], number as u32);
        }
        Generator {
            plan,
            progress,
            published: (0, 0),
            arena,
            frames: Vec::with_capacity(slots),
            recipients: Vec::with_capacity(slots),
            stride,
            payload_offset,
            bursts_at_once: (slots / plan.burst).max(1) as u64,
            next_stream: 0,
        }
    }

    /// Sends at the load's pace and receives, until the duration is over or the run is stopped.
    fn send(&mut self, worker: &mut Worker, load: &Load) -> Result<(), Error> {
        let started = worker.recorder.now();
        let end = started + load.duration.as_nanos() as u64;
        let mut pacer = Pacer::new(load.rate, self.plan.burst as u64, started);
        let mut refreshed = started;
        loop {
            let now = worker.recorder.now();
            let is_aborted = self.progress.aborted.load(Ordering::Relaxed);
            if now >= end || self.plan.stop.is_requested() || is_aborted {
                return Ok(());
            }
            if now - refreshed > REFRESH_INTERVAL {
                self.refresh(worker);
                refreshed = now;
            }
            let due = pacer.due(&mut worker.recorder, now);
            if due > 0 {
                self.send_bursts(worker, due.min(self.bursts_at_once), &mut pacer);
            }
            let idle = match due > self.bursts_at_once {
                true => Duration::ZERO,
                false => pacer.idle_time(worker.recorder.counters(), now),
            };
            let timeout = idle.min(Duration::from_nanos(end - now)).min(MAX_SLEEP);
            self.receive(worker, timeout)?;
            if timeout.is_zero() && due == 0 {
                // The thread that samples this run may share the core.
                std::thread::yield_now();
            }
            self.publish(worker);
        }
    }

    /// Sends bursts, taking turns through the streams.
    fn send_bursts(&mut self, worker: &mut Worker, bursts: u64, pacer: &mut Pacer) {
        let now = worker.recorder.now();
        let clients = worker.clients.len();
        let streams = match (self.plan.workload, self.plan.direction) {
            (Workload::Relay, Direction::Both) => clients * 2,
            _ => clients,
        };
        self.frames.clear();
        self.recipients.clear();
        let mut slot = 0;
        for _ in 0..bursts {
            let stream = self.next_stream;
            self.next_stream = (stream + 1) % streams;
            pacer.record_burst();
            let first = self.frames.len();
            for _ in 0..self.plan.burst {
                self.write_packet(worker, stream, slot, now);
                slot += 1;
            }
            // Each client has its own socket. Peers share theirs: their frames are collected and
            // sent together.
            if let Some(client) = sending_client(self.plan, stream, clients) {
                let sent = worker.clients[client].link.send(
                    &mut worker.scratch,
                    &self.frames[first..],
                    &self.arena,
                );
                let unsent = sent.buffer_full + sent.failed;
                worker.recorder.record_sent(now, sent.datagrams, unsent);
                self.frames.truncate(first);
            }
        }
        if !self.frames.is_empty() {
            self.send_from_peers(worker, now);
        }
    }

    /// Sends all frames from the recipients' peers, with one call for consecutive frames of a peer.
    fn send_from_peers(&mut self, worker: &mut Worker, now: u64) {
        let peers = worker.peers.len();
        let buffers = Buffers {
            received: &[],
            written: &self.arena,
        };
        let mut first = 0;
        for recipients in self.recipients.chunk_by(|a, b| a % peers == b % peers) {
            let frames = &self.frames[first..first + recipients.len()];
            let peer = &mut worker.peers[recipients[0] % peers];
            let sent = peer.send(&mut worker.scratch, frames, buffers);
            let unsent = sent.buffer_full + sent.failed;
            worker.recorder.record_sent(now, sent.datagrams, unsent);
            first += recipients.len();
        }
    }

    /// Writes the next packet of a stream into a slot and appends its frame.
    fn write_packet(&mut self, worker: &mut Worker, stream: usize, slot: usize, now: u64) {
        let plan = self.plan;
        let stamp = worker.recorder.next_stamp(stream, now);
        let start = slot * self.stride;
        let octets = &mut self.arena[start..][..self.stride];
        if plan.workload == Workload::Binding {
            let id = transaction_id(&stamp);
            let header = writer::header(Class::Request, Method::BINDING, 0, &id);
            octets[..header.len()].copy_from_slice(&header);
            let message = BufferRange::written(start, header.len());
            self.frames
                .push(Transmit::new(plan.target.address, message));
            return;
        }
        payload::stamp(&mut octets[self.payload_offset..][..plan.size], &stamp);
        let clients = worker.clients.len();
        let Some(client) = sending_client(plan, stream, clients) else {
            let recipient = stream % clients;
            let relayed = worker.clients[recipient].relayed;
            let payload = BufferRange::written(start + self.payload_offset, plan.size);
            self.frames.push(Transmit::new(
                relayed.unwrap_or(plan.target.address),
                payload,
            ));
            self.recipients.push(recipient);
            return;
        };
        let client = &worker.clients[client];
        let header_offset = self.payload_offset - client.header.len();
        octets[header_offset..self.payload_offset].copy_from_slice(&client.header);
        let size = match plan.indications || client.link.is_stream() {
            true => padded(plan.size),
            false => plan.size,
        };
        let packet = BufferRange::written(start + header_offset, client.header.len() + size);
        self.frames.push(Transmit::new(plan.target.address, packet));
    }

    /// Waits up to `timeout` and receives at most a batch from each ready socket.
    fn receive(&mut self, worker: &mut Worker, timeout: Duration) -> Result<(), Error> {
        worker.ready.poll(timeout).map_err(Error::Io)?;
        let clients = worker.clients.len();
        for _ in 0..worker.ready.queued() {
            let Some(index) = worker.ready.pop() else {
                break;
            };
            let drained = match index.checked_sub(clients) {
                Some(peer) => receive_from_peer(worker, peer)?,
                None => self.receive_from_client(worker, index)?,
            };
            if !drained {
                worker.ready.push(index);
            }
        }
        Ok(())
    }

    fn receive_from_client(&mut self, worker: &mut Worker, index: usize) -> Result<bool, Error> {
        let Worker {
            clients,
            recorder,
            buffers,
            ..
        } = worker;
        let client = &mut clients[index];
        let is_binding = self.plan.workload == Workload::Binding;
        let mut now = None;
        let mut out = Vec::new();
        let protocol = &mut client.protocol;
        let drained = client.link.receive(buffers, |octets| {
            // One reading of the clock for all messages of a batch.
            let now = *now.get_or_insert_with(|| recorder.now());
            if let Some(payload) = application_data(octets) {
                recorder.record_payload(payload, now);
                return;
            }
            match binding_response(octets, now) {
                Some((stamp, mapped)) if is_binding => {
                    // Every response must have the mapped address of the first one.
                    client.relayed = client.relayed.or(mapped);
                    if stamp.run == recorder.run() & 0xff {
                        match mapped == client.relayed {
                            true => recorder.record_stamp(&stamp, octets.len(), now),
                            false => recorder.record_corrupted(),
                        }
                    }
                }
                // A response to a refresh. A challenge is answered below.
                Some(_) | None => drop(protocol.receive(octets, &mut out)),
            }
        });
        let drained =
            drained.map_err(|error| Error::ConnectionLost(self.plan.target.clone(), error))?;
        if !out.is_empty() {
            worker.send_message(index, self.plan.target.address, &out);
        }
        Ok(drained)
    }

    /// Receives until nothing is in flight, or nothing has been received for a while.
    fn drain(&mut self, worker: &mut Worker) -> Result<(), Error> {
        let mut received = worker.recorder.counters().received;
        let mut last = worker.recorder.now();
        while worker.recorder.counters().lost() > 0 && worker.recorder.now() - last < DRAIN_SILENCE
        {
            self.receive(worker, Duration::from_millis(5))?;
            if worker.recorder.counters().received != received {
                received = worker.recorder.counters().received;
                last = worker.recorder.now();
            }
        }
        Ok(())
    }

    /// Refreshes every allocation, and every permission or channel. A lost request is not
    /// retransmitted: the next refresh comes long before anything expires.
    fn refresh(&mut self, worker: &mut Worker) {
        if self.plan.workload != Workload::Relay {
            return;
        }
        for index in 0..worker.clients.len() {
            let Some(peer) = worker.peer_of(index, self.plan.direction) else {
                continue;
            };
            let mut out = Vec::new();
            for request in [
                Request::Refresh { lifetime: 600 },
                peer_request(self.plan, peer),
            ] {
                out.clear();
                worker.clients[index].protocol.request(request, &mut out);
                worker.send_message(index, self.plan.target.address, &out);
            }
        }
    }

    /// Adds the counts since the last call to the shared progress.
    fn publish(&mut self, worker: &Worker) {
        let counters = worker.recorder.counters();
        let (sent, received) = self.published;
        self.progress
            .add_packets(counters.sent - sent, counters.received - received);
        self.published = (counters.sent, counters.received);
    }
}

/// The request that lets a client reach its peer: ChannelBind, or CreatePermission for indications.
pub fn peer_request(plan: &Plan, peer: SocketAddr) -> Request {
    match plan.indications {
        true => Request::CreatePermission { peers: vec![peer] },
        false => Request::ChannelBind {
            number: CHANNEL,
            peer,
        },
    }
}

/// The client that sends a stream; `None` if the client's peer sends it.
fn sending_client(plan: &Plan, stream: usize, clients: usize) -> Option<usize> {
    match (plan.workload, plan.direction) {
        (Workload::Relay, Direction::Down) => None,
        (Workload::Relay, Direction::Both) => (stream < clients).then_some(stream),
        _ => Some(stream),
    }
}

fn receive_from_peer(worker: &mut Worker, peer: usize) -> Result<bool, Error> {
    let batch = &mut worker.buffers.batch;
    batch.clear();
    let received = worker.peers[peer].receive(batch).map_err(Error::Io)?;
    let now = worker.recorder.now();
    for datagram in batch.datagrams() {
        worker.recorder.record_payload(batch.payload(datagram), now);
    }
    Ok(received.drained)
}

/// The application data of a packet from the server. The source is not checked, because the stamp
/// of the payload is.
fn application_data(octets: &[u8]) -> Option<&[u8]> {
    match Packet::classify(octets).ok()? {
        Packet::ChannelData(data) => Some(data.payload),
        Packet::Message(message) if message.method() == Method::DATA => {
            message.attribute(AttributeType::DATA)
        }
        Packet::Message(_) | Packet::Dtls => None,
    }
}

/// A transaction id that carries a stamp: the last octet of the run, stream, sequence, and the time
/// in units of 64 ns.
fn transaction_id(stamp: &Stamp) -> [u8; 12] {
    let mut id = [0; 12];
    id[0..4].copy_from_slice(&(stamp.run << 24 | stamp.stream & 0x00ff_ffff).to_be_bytes());
    id[4..8].copy_from_slice(&(stamp.sequence as u32).to_be_bytes());
    id[8..12].copy_from_slice(&((stamp.sent >> TIME_SHIFT) as u32).to_be_bytes());
    id
}

/// Reads the stamp and the mapped address from a Binding response. The upper half of the time
/// is taken from `now`.
fn binding_response(octets: &[u8], now: u64) -> Option<(Stamp, Option<SocketAddr>)> {
    let message = Message::parse(octets).ok()?;
    if message.class() != Class::Success || message.method() != Method::BINDING {
        return None;
    }
    let id = message.transaction();
    let [head, sequence, time] =
        [0, 4, 8].map(|at| u32::from_be_bytes([id[at], id[at + 1], id[at + 2], id[at + 3]]));
    let ago = ((now >> TIME_SHIFT) as u32).wrapping_sub(time);
    let stamp = Stamp {
        run: head >> 24,
        stream: head & 0x00ff_ffff,
        sequence: u64::from(sequence),
        sent: now.saturating_sub(u64::from(ago) << TIME_SHIFT),
    };
    let mapped = message
        .attribute(AttributeType::XOR_MAPPED_ADDRESS)
        .and_then(|value| attribute::read_xor_address(value, &id));
    Some((stamp, mapped))
}

/// Packets written before the next receive.
const CHUNK: usize = 32;
/// Nanoseconds without a packet after which packets in flight are considered lost.
const DRAIN_SILENCE: u64 = 300_000_000;
/// Nanoseconds between refreshes. Permissions live five minutes, RFC 8656 §9.
const REFRESH_INTERVAL: u64 = 120_000_000_000;
/// How long a worker may sleep before it checks whether the run was stopped.
const MAX_SLEEP: Duration = Duration::from_millis(100);
/// The time in a transaction id is in units of 2^6 ns.
const TIME_SHIFT: u32 = 6;
