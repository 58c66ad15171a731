//! Data connections that are bound: each is spliced from a client's connection and a peer's. RFC
//! 6062 §5.5.
//!
//! A data connection is handled by the shard of the client's connection, which need not be the
//! shard of the allocation, its owner. Traffic is reported to the owner at once on the same shard,
//! and in portions of [`REPORT_OCTETS`] across shards.

use crate::relay::io::ready_queue::{ReadyQueue, Source};
use crate::relay::io::stream::Stream;
use crate::relay::observe::counters::Counters;
use crate::relay::peer::splice::{PumpOutcome, Splice, StreamTraffic};
use crate::relay::peer::unbound::UnboundConnection;
use crate::turn::{ConnectionId, Instant, Meter};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// All bound data connections of a shard.
pub(crate) struct DataConnections {
    connections: HashMap<ConnectionId, DataConnection>,
    /// Connections that are paused, and until when. All pauses are equally long, so the earliest is
    /// first.
    paused: VecDeque<(Instant, ConnectionId)>,
    scratch: Vec<u8>,
    shard: u16,
    ready: Arc<ReadyQueue>,
    counters: Arc<Counters>,
}

struct DataConnection {
    splice: Box<Splice>,
    /// The shard of the allocation.
    owner: u16,
    /// The bandwidth limit of the allocation, if any.
    meter: Option<Meter>,
    is_paused: bool,
    /// Traffic that has not been reported to the owner yet.
    unreported: StreamTraffic,
}

/// A notification for the owner of a data connection.
pub(crate) struct Report {
    /// The shard of the allocation.
    pub(crate) owner: u16,
    pub(crate) traffic: Option<StreamTraffic>,
    /// The connection ended and is to be closed, after the owner was notified: the client may ask
    /// for the next connection as soon as it sees the end of this one.
    pub(crate) ended: Option<Box<Splice>>,
}

/// The result of splicing a client's connection with a peer's.
pub(crate) enum SpliceOutcome {
    Spliced,
    /// No connection of a peer waits under this id.
    NoPeer,
    /// The peer's connection failed; its owner is to be notified.
    Failed {
        owner: u16,
    },
}

impl DataConnections {
    pub(crate) fn new(
        shard: u16,
        ready: Arc<ReadyQueue>,
        counters: Arc<Counters>,
    ) -> DataConnections {
        DataConnections {
            connections: HashMap::new(),
            paused: VecDeque::new(),
            scratch: Vec::new(),
            shard,
            ready,
            counters,
        }
    }

    /// Splices a client's connection, to which `output` is still to be written, with a peer's.
    pub(crate) fn bind(
        &mut self,
        id: ConnectionId,
        client: Stream,
        output: Vec<u8>,
        peer: UnboundConnection,
    ) -> SpliceOutcome {
        let UnboundConnection {
            owner,
            stream,
            meter,
        } = peer;
        let Ok(peer) = TcpStream::from_std(stream) else {
            return SpliceOutcome::Failed { owner };
        };
        let source = Source::DataConnection(id);
        let waker = self.ready.waker(source);
        let connection = DataConnection {
            splice: Box::new(Splice::new(client, Stream::Tcp(peer), output, waker)),
            owner,
            meter,
            is_paused: false,
            unreported: StreamTraffic::default(),
        };
        self.connections.insert(id, connection);
        self.counters.data_connections.add(1);
        self.ready.push(source);
        SpliceOutcome::Spliced
    }

    /// Queues octets that the client sent before its connection was spliced.
    pub(crate) fn queue_to_peer(&mut self, id: ConnectionId, octets: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.splice.queue_to_peer(octets);
        }
    }

    /// Carries octets both ways, unless the bandwidth limit of the allocation is exhausted.
    pub(crate) fn pump(
        &mut self,
        id: ConnectionId,
        now: Instant,
        unix: Duration,
    ) -> Option<Report> {
        self.scratch.resize(SCRATCH_OCTETS, 0);
        let connection = self.connections.get_mut(&id)?;
        let meter = connection.meter.as_ref();
        if meter.is_some_and(|meter| !meter.is_open(now, unix)) {
            self.pause(id, now);
            return None;
        }
        let progress = connection.splice.pump(&mut self.scratch);
        let traffic = connection.splice.take_traffic();
        if let Some(meter) = meter {
            meter.charge(now, unix, traffic.total());
        }
        self.counters.data_bytes_to_peers.add(traffic.to_peer);
        self.counters.data_bytes_to_clients.add(traffic.to_client);
        let unreported = &mut connection.unreported;
        unreported.to_peer += traffic.to_peer;
        unreported.to_client += traffic.to_client;
        let is_due = connection.owner == self.shard
            || progress == PumpOutcome::Ended
            || traffic.total() == 0
            || unreported.total() >= REPORT_OCTETS;
        let mut report = Report {
            owner: connection.owner,
            traffic: (is_due && unreported.total() > 0).then(|| std::mem::take(unreported)),
            ended: None,
        };
        match progress {
            // A paused connection is pumped again, which reports the remaining traffic even if
            // no more octets arrive.
            PumpOutcome::Blocked if unreported.total() > 0 => self.pause(id, now),
            PumpOutcome::Blocked => {}
            PumpOutcome::Unfinished => self.ready.push(Source::DataConnection(id)),
            PumpOutcome::Ended => {
                report.ended = self.remove(id).map(|connection| connection.splice)
            }
        }
        Some(report)
    }

    /// Pumps a connection again after [`PAUSE`].
    fn pause(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.is_paused
        {
            connection.is_paused = true;
            self.paused.push_back((now + PAUSE, id));
        }
    }

    /// Makes the connections ready whose pause is over.
    pub(crate) fn resume_paused(&mut self, now: Instant) {
        while let Some((at, id)) = self.paused.front().copied()
            && at <= now
        {
            self.paused.pop_front();
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.is_paused = false;
                self.ready.push(Source::DataConnection(id));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.paused.front().map(|(at, _)| *at)
    }

    /// Closes a data connection; false if it is not on this shard.
    pub(crate) fn close(&mut self, id: ConnectionId) -> bool {
        self.remove(id).is_some()
    }

    fn remove(&mut self, id: ConnectionId) -> Option<DataConnection> {
        let connection = self.connections.remove(&id)?;
        self.counters.data_connections.subtract(1);
        Some(connection)
    }
}

/// How long a connection is paused when its bandwidth limit is exhausted: the duration of the burst
/// that the limit allows.
const PAUSE: Duration = Duration::from_millis(100);
/// Octets after which traffic is reported to another shard.
const REPORT_OCTETS: u64 = 256 << 10;
/// Octets of one read.
const SCRATCH_OCTETS: usize = 64 << 10;
