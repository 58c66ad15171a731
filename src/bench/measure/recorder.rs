//! Numbers the packets that a worker sends, and counts those that it receives.

use crate::bench::measure::counters::{Counters, TimeSlice};
use crate::bench::measure::payload::{self, Arrival, PacketStream, Stamp};
use std::time::Instant;

/// The numbered streams of one worker, and the counts of the current run.
pub struct Recorder {
    run: u32,
    /// Start of the run, nanoseconds since `epoch`.
    started: u64,
    /// Nanoseconds of one slice.
    slice: u64,
    counters: Counters,
    streams: Vec<PacketStream>,
    /// The number of this worker's first stream among the streams of all workers.
    first_stream: u32,
    /// Octets of each payload.
    size: usize,
    epoch: Instant,
}

impl Recorder {
    /// A recorder for `streams` streams from number `first_stream` on. All workers share `epoch`: a
    /// packet may be sent by one and received by another.
    pub fn new(first_stream: u32, streams: usize, size: usize, epoch: Instant) -> Recorder {
        Recorder {
            run: 0,
            started: 0,
            slice: u64::MAX,
            counters: Counters::default(),
            streams: vec![PacketStream::default(); streams],
            first_stream,
            size,
            epoch,
        }
    }

    /// Resets all counts and numbers. Packets of earlier runs do not count from now on.
    pub fn start_run(&mut self, run: u32, slice_nanoseconds: u64) {
        self.run = run;
        self.slice = slice_nanoseconds.max(1);
        self.started = self.now();
        self.counters = Counters::default();
        self.streams.fill(PacketStream::default());
    }

    /// Ends the run and returns its counts.
    pub fn finish_run(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Ends the time in which packets were sent.
    pub fn finish_sending(&mut self) {
        self.counters.nanoseconds = self.now() - self.started;
    }

    /// The counts so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The number of the current run.
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Nanoseconds since the epoch.
    pub fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// The stamp of the next packet of the worker's stream `index`.
    pub fn next_stamp(&mut self, index: usize, now: u64) -> Stamp {
        Stamp {
            run: self.run,
            stream: self.first_stream + index as u32,
            sequence: self.streams[index].take_sequence(),
            sent: now,
        }
    }

    /// Records that the kernel accepted `packets`, and did not accept `unsent` more.
    pub fn record_sent(&mut self, now: u64, packets: u64, unsent: u64) {
        self.counters.sent += packets;
        self.counters.unsent += unsent;
        self.slice_at(now).sent += packets;
    }

    /// Records packets that were due but will not be sent.
    pub fn record_unsent(&mut self, packets: u64) {
        self.counters.unsent += packets;
    }

    /// Records a packet with other octets than were sent.
    pub fn record_corrupted(&mut self) {
        self.counters.corrupted += 1;
    }

    /// Records a payload that was received.
    pub fn record_payload(&mut self, payload: &[u8], now: u64) {
        match payload::read(payload) {
            Some(stamp) if stamp.run != self.run => {}
            Some(stamp) if payload.len() == self.size => {
                self.record_stamp(&stamp, payload.len(), now);
            }
            Some(_) | None => self.record_corrupted(),
        }
    }

    /// Records a packet of the current run of which only the stamp is known.
    pub fn record_stamp(&mut self, stamp: &Stamp, octets: usize, now: u64) {
        let index = stamp.stream.wrapping_sub(self.first_stream) as usize;
        let Some(stream) = self.streams.get_mut(index) else {
            return self.record_corrupted();
        };
        match stream.record_arrival(stamp.sequence) {
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

    fn slice_at(&mut self, now: u64) -> &mut TimeSlice {
        let index = (now.saturating_sub(self.started) / self.slice).min(MAX_SLICES) as usize;
        let slices = &mut self.counters.slices;
        if slices.len() <= index {
            slices.resize(index + 1, TimeSlice::default());
        }
        &mut slices[index]
    }
}

/// Later packets count in the last slice.
const MAX_SLICES: u64 = 1000;
