//! A round of requests: at most one by each client of a worker, many in flight at once,
//! retransmitted until answered.

use crate::bench::error::Error;
use crate::bench::plan::Plan;
use crate::bench::worker::{Progress, Worker};
use crate::turn::client_state::{Answer, Event, Refusal, Request, wait_ms};
use crate::wire::{ErrorCode, TransactionId};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A request that was granted.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The success response.
    pub answer: Answer,
    /// Nanoseconds from the first request, over every challenge and retransmission, to the
    /// response.
    pub nanoseconds: u64,
}

/// How a round goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundOptions {
    /// Requests begun per second at most.
    pub rate: Option<f64>,
    /// The round releases allocations: error responses, broken connections and timeouts do not fail
    /// it, and [`Plan::stop`] does not end it.
    pub is_release: bool,
}

/// Sends for each client the request that `request_of` returns for its index, and waits for all
/// responses. They are returned in the clients' order, with `None` for a client without a request.
/// A relayed address is stored as soon as it is granted and cleared once it is deleted, so that a
/// round that fails leaves nothing unreleased.
///
/// # Errors
/// The first client's error that is refused or not answered; [`Error::Interrupted`]. A release
/// fails only by [`Error::Io`].
pub fn exchange_all(
    worker: &mut Worker,
    plan: &Plan,
    options: RoundOptions,
    progress: &Progress,
    request_of: impl Fn(&Worker, usize) -> Option<Request>,
) -> Result<Vec<Option<Exchange>>, Error> {
    let count = worker.clients.len();
    let started = worker.recorder.now();
    let mut exchanges = Exchanges {
        pending: BTreeMap::new(),
        done: vec![None; count],
        is_stream: plan.target.transport.is_stream(),
        reconnects_left: count + SPARE_RECONNECTS,
        is_release: options.is_release,
        last_answer: started,
    };
    let mut next = 0;
    while next < count || !exchanges.pending.is_empty() {
        if !options.is_release && plan.stop.is_requested() {
            return Err(Error::Interrupted);
        }
        let due = options.rate.map_or(count, |rate| {
            ((worker.recorder.now() - started) as f64 * rate / 1e9) as usize + 1
        });
        while next < count.min(due) && exchanges.pending.len() < MAX_PENDING {
            if let Some(request) = request_of(worker, next) {
                exchanges.start(worker, plan, next, request);
            }
            next += 1;
        }
        worker
            .ready
            .poll(Duration::from_millis(1))
            .map_err(Error::Io)?;
        for _ in 0..worker.ready.queued() {
            let Some(index) = worker.ready.pop() else {
                break;
            };
            let before = exchanges.pending.len();
            exchanges.receive(worker, plan, index)?;
            let finished = before.saturating_sub(exchanges.pending.len());
            progress
                .exchanges
                .fetch_add(finished as u64, Ordering::Relaxed);
        }
        exchanges.retransmit(worker, plan)?;
        let silence = worker.recorder.now() - exchanges.last_answer;
        if options.is_release && silence > RELEASE_SILENCE {
            break;
        }
    }
    Ok(exchanges.done)
}

/// The requests in flight.
struct Exchanges {
    /// Key: the client's index.
    pending: BTreeMap<usize, PendingRequest>,
    done: Vec<Option<Exchange>>,
    is_stream: bool,
    /// How many clients may still move to another five-tuple.
    reconnects_left: usize,
    is_release: bool,
    last_answer: u64,
}

struct PendingRequest {
    id: TransactionId,
    started: u64,
    /// When the request is sent again, or given up.
    due: u64,
    /// How often it was sent.
    sent: u32,
}

impl Exchanges {
    fn start(&mut self, worker: &mut Worker, plan: &Plan, index: usize, request: Request) {
        let mut out = Vec::with_capacity(256);
        let now = worker.recorder.now();
        let id = worker.clients[index].protocol.request(request, &mut out);
        let request = PendingRequest {
            id,
            started: now,
            due: now + wait(1, self.is_stream),
            sent: 1,
        };
        self.pending.insert(index, request);
        worker.send_message(index, plan.target.address, &out);
    }

    /// Receives from socket `index` of the worker's ready queue.
    fn receive(&mut self, worker: &mut Worker, plan: &Plan, index: usize) -> Result<(), Error> {
        let now = worker.recorder.now();
        let Some(client) = worker.clients.get_mut(index) else {
            return discard_from_peer(worker, index);
        };
        let mut out = Vec::new();
        let mut rejected = None;
        let (protocol, relayed, is_allocation_pending) = (
            &mut client.protocol,
            &mut client.relayed,
            &mut client.is_allocation_pending,
        );
        let drained = client.link.receive(&mut worker.buffers, |octets| {
            let Some(pending) = self.pending.get_mut(&index) else {
                return;
            };
            match protocol.receive(octets, &mut out) {
                Event::Granted {
                    id,
                    answer,
                    request,
                } if id == pending.id => {
                    match request {
                        Request::Allocate { .. } => *relayed = answer.relayed,
                        Request::Refresh { lifetime: 0 } => *relayed = None,
                        _ => {}
                    }
                    *is_allocation_pending = false;
                    self.last_answer = now;
                    self.done[index] = Some(Exchange {
                        answer,
                        nanoseconds: now - pending.started,
                    });
                    self.pending.remove(&index);
                }
                Event::Retried { was, now: id } if was == pending.id => {
                    *is_allocation_pending = true;
                    *pending = PendingRequest {
                        id,
                        started: pending.started,
                        due: now + wait(1, self.is_stream),
                        sent: 1,
                    };
                }
                Event::Refused {
                    id,
                    request,
                    refusal,
                } if id == pending.id => {
                    *is_allocation_pending = false;
                    rejected = Some((request, refusal));
                }
                _ => {}
            }
        });
        match drained {
            Ok(true) => {}
            Ok(false) => worker.ready.push(index),
            // The server deletes the allocation with its connection.
            Err(_) if self.is_release => drop(self.pending.remove(&index)),
            Err(error) => return Err(Error::ConnectionLost(plan.target.clone(), error)),
        }
        if !out.is_empty() {
            worker.send_message(index, plan.target.address, &out);
        }
        match rejected {
            Some((request, refusal)) => {
                self.handle_rejection(worker, plan, index, request, refusal)
            }
            None => Ok(()),
        }
    }

    /// 437 (Allocation Mismatch) means that the server still has an allocation of an earlier client
    /// on this five-tuple: the client takes another, RFC 8656 §7.4. Other error responses are
    /// final.
    fn handle_rejection(
        &mut self,
        worker: &mut Worker,
        plan: &Plan,
        index: usize,
        request: Request,
        refusal: Refusal,
    ) -> Result<(), Error> {
        if self.is_release {
            self.pending.remove(&index);
            return Ok(());
        }
        let is_five_tuple_taken = refusal.code == ErrorCode::ALLOCATION_MISMATCH
            && matches!(request, Request::Allocate { .. });
        if !is_five_tuple_taken || self.reconnects_left == 0 {
            return Err(Error::Rejected {
                request: Box::new(request),
                refusal,
                authenticated: plan.login.is_some(),
            });
        }
        self.reconnects_left -= 1;
        worker
            .reconnect(index, plan)
            .map_err(|error| Error::Connect(plan.target.clone(), error))?;
        self.start(worker, plan, index, request);
        Ok(())
    }

    /// Retransmits what is overdue. On a stream, which is reliable, an overdue request has failed.
    fn retransmit(&mut self, worker: &mut Worker, plan: &Plan) -> Result<(), Error> {
        let now = worker.recorder.now();
        let overdue = |(_, pending): &(&usize, &mut PendingRequest)| pending.due <= now;
        for (index, pending) in self.pending.iter_mut().filter(overdue) {
            if (self.is_stream || pending.sent >= MAX_SENT) && !self.is_release {
                return Err(Error::NoAnswer {
                    target: plan.target.clone(),
                    answered: self.done.iter().flatten().count(),
                });
            }
            pending.sent += 1;
            pending.due = now + wait(pending.sent, self.is_stream);
            if self.is_stream {
                continue;
            }
            let mut out = Vec::new();
            worker.clients[*index]
                .protocol
                .repeat(&pending.id, &mut out);
            worker.send_message(*index, plan.target.address, &out);
        }
        Ok(())
    }
}

/// Drops what a peer receives during a round: data of an earlier run.
fn discard_from_peer(worker: &mut Worker, index: usize) -> Result<(), Error> {
    worker.buffers.batch.clear();
    let peer = &mut worker.peers[index - worker.clients.len()];
    let received = peer.receive(&mut worker.buffers.batch).map_err(Error::Io)?;
    if !received.drained {
        worker.ready.push(index);
    }
    Ok(())
}

/// Nanoseconds to wait for a response to a request that was sent `sent` times.
fn wait(sent: u32, is_stream: bool) -> u64 {
    let milliseconds = match is_stream {
        true => STREAM_WAIT_MS,
        false => wait_ms(sent).unwrap_or(STREAM_WAIT_MS),
    };
    milliseconds * 1_000_000
}

/// Requests in flight at once.
const MAX_PENDING: usize = 64;
/// How often a request is sent before its server counts as silent, after 7.5 seconds.
const MAX_SENT: u32 = 4;
/// Moves to another five-tuple, beyond one for each client.
const SPARE_RECONNECTS: usize = 16;
/// Nanoseconds without a response after which a release gives up.
const RELEASE_SILENCE: u64 = 2_000_000_000;
/// Time limit of a response over TCP, and of the last retransmission over UDP.
const STREAM_WAIT_MS: u64 = 8_000;
