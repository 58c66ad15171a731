//! Requests and answers: one request by each client of a worker, many under way at once, repeated until answered.

use crate::bench::error::Error;
use crate::bench::plan::Plan;
use crate::bench::worker::{Progress, Worker};
use crate::net::{BufferRange, Transmit};
use crate::turn::client_state::{Answer, Event, Refusal, Request, wait_ms};
use crate::wire::{ErrorCode, TransactionId};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One request that was granted.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What was answered.
    pub answer: Answer,
    /// Nanoseconds from the first request, over every challenge and repetition, to the answer.
    pub took: u64,
}

/// How a round of requests goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeOptions {
    /// How many begin a second at most.
    pub rate: Option<f64>,
    /// It is the last: nobody waits for a server that has gone silent or refuses, and nothing breaks it off.
    pub farewell: bool,
}

/// Lets each client ask what `ask` gives for its index, and waits for all answers. They are in the clients' order;
/// `None` for those that `ask` gives nothing. A relayed address is noted as soon as it is granted, and forgotten with its
/// end, so that whatever becomes of the round it is known what there is to release.
///
/// # Errors
/// [`Error`] of the first client that is refused, or not answered in time; [`Error::Interrupted`]. None of a farewell
/// but those of the system.
pub fn exchange_all(
    worker: &mut Worker,
    plan: &Plan,
    options: ExchangeOptions,
    progress: &Progress,
    ask: impl Fn(&Worker, usize) -> Option<Request>,
) -> Result<Vec<Option<Exchange>>, Error> {
    let count = worker.agents.len();
    let mut talk = Talk {
        open: BTreeMap::new(),
        done: vec![None; count],
        repeats: !plan.target.transport.is_stream(),
        moves: count + 16,
        farewell: options.farewell,
        heard: worker.ledger.now(),
    };
    let begun = worker.ledger.now();
    let mut next = 0;
    let mut left = 0;
    while next < count || left > 0 {
        if !options.farewell && plan.stop.is_requested() {
            return Err(Error::Interrupted);
        }
        let due = options.rate.map_or(count, |rate| {
            ((worker.ledger.now() - begun) as f64 * rate / 1e9) as usize + 1
        });
        while next < count.min(due) && talk.open.len() < AT_ONCE {
            if let Some(request) = ask(worker, next) {
                talk.begin(worker, next, request);
            }
            next += 1;
        }
        worker
            .waiting
            .ask(Duration::from_millis(1))
            .map_err(Error::Io)?;
        for _ in 0..worker.waiting.count() {
            let Some(index) = worker.waiting.take() else {
                break;
            };
            let before = talk.open.len();
            talk.receive(worker, plan, index)?;
            progress
                .exchanges
                .fetch_add((before - talk.open.len()) as u64, Ordering::Relaxed);
        }
        talk.repeat(worker, plan)?;
        if options.farewell && worker.ledger.now() - talk.heard > FAREWELL {
            break;
        }
        left = talk.open.len();
    }
    Ok(talk.done)
}

/// The exchanges under way.
struct Talk {
    open: BTreeMap<usize, Asked>,
    done: Vec<Option<Exchange>>,
    repeats: bool,
    /// Clients that may still move to another five-tuple.
    moves: usize,
    farewell: bool,
    /// When something was answered last.
    heard: u64,
}

struct Asked {
    id: TransactionId,
    begun: u64,
    due: u64,
    sent: u32,
}

impl Talk {
    fn begin(&mut self, worker: &mut Worker, index: usize, request: Request) {
        let mut out = Vec::with_capacity(256);
        let now = worker.ledger.now();
        let id = worker.agents[index].client.request(request, &mut out);
        self.open.insert(
            index,
            Asked {
                id,
                begun: now,
                due: now + self.wait(1),
                sent: 1,
            },
        );
        post(worker, index, &out);
    }

    fn receive(&mut self, worker: &mut Worker, plan: &Plan, index: usize) -> Result<(), Error> {
        let Some(agent) = worker.agents.get_mut(index) else {
            // A peer: what comes there during a conversation is late data.
            worker.intake.batch.clear();
            let peer = &mut worker.peers[index - worker.agents.len()];
            if !peer
                .receive(&mut worker.intake.batch)
                .map_err(Error::Io)?
                .drained
            {
                worker.waiting.put(index);
            }
            return Ok(());
        };
        let mut out = Vec::new();
        let mut refused = None;
        let now = worker.ledger.now();
        let (client, relayed, undecided) =
            (&mut agent.client, &mut agent.relayed, &mut agent.undecided);
        let drained = agent.lane.receive(&mut worker.intake, |octets| {
            let Some(asked) = self.open.get_mut(&index) else {
                return;
            };
            match client.receive(octets, &mut out) {
                Event::Granted {
                    id,
                    answer,
                    request,
                } if id == asked.id => {
                    match request {
                        Request::Allocate { .. } => *relayed = answer.relayed,
                        Request::Refresh { lifetime: 0 } => *relayed = None,
                        _ => {}
                    }
                    *undecided = false;
                    self.heard = now;
                    self.done[index] = Some(Exchange {
                        answer,
                        took: now - asked.begun,
                    });
                    self.open.remove(&index);
                }
                Event::Retried { was, now: id } if was == asked.id => {
                    *undecided = true;
                    *asked = Asked {
                        id,
                        begun: asked.begun,
                        due: now + wait(1, self.repeats),
                        sent: 1,
                    };
                }
                Event::Refused {
                    id,
                    request,
                    refusal,
                } if id == asked.id => {
                    *undecided = false;
                    refused = Some((request, refusal));
                }
                _ => {}
            }
        });
        match drained {
            Ok(drained) if !drained => worker.waiting.put(index),
            Ok(_) => {}
            // With its connection the allocation has ended.
            Err(_) if self.farewell => drop(self.open.remove(&index)),
            Err(error) => return Err(Error::ConnectionLost(plan.target.clone(), error)),
        }
        if !out.is_empty() {
            post(worker, index, &out);
        }
        match refused {
            Some((request, refusal)) => self.refused(worker, plan, index, request, refusal),
            None => Ok(()),
        }
    }

    /// 437 tells that the server remembers the five-tuple of an earlier client: RFC 8656 §7.4 has the client take
    /// another. Everything else is final.
    fn refused(
        &mut self,
        worker: &mut Worker,
        plan: &Plan,
        index: usize,
        request: Request,
        refusal: Refusal,
    ) -> Result<(), Error> {
        if self.farewell {
            self.open.remove(&index);
            return Ok(());
        }
        let is_taken = refusal.code == ErrorCode::ALLOCATION_MISMATCH
            && matches!(request, Request::Allocate { .. });
        if !is_taken || self.moves == 0 {
            return Err(Error::Rejected {
                request: Box::new(request),
                refusal,
                authenticated: plan.login.is_some(),
            });
        }
        self.moves -= 1;
        worker
            .redial(index, plan)
            .map_err(|error| Error::Connect(plan.target.clone(), error))?;
        self.begin(worker, index, request);
        Ok(())
    }

    /// Sends again what is overdue; over TCP it only gives up.
    fn repeat(&mut self, worker: &mut Worker, plan: &Plan) -> Result<(), Error> {
        let now = worker.ledger.now();
        for (index, asked) in self.open.iter_mut().filter(|(_, asked)| asked.due <= now) {
            if (!self.repeats || asked.sent >= PATIENCE) && !self.farewell {
                let answered = self.done.iter().flatten().count();
                return Err(Error::NoAnswer {
                    target: plan.target.clone(),
                    answered,
                });
            }
            asked.sent += 1;
            asked.due = now + wait(asked.sent, self.repeats);
            if !self.repeats {
                continue;
            }
            let mut out = Vec::new();
            worker.agents[*index].client.repeat(&asked.id, &mut out);
            post(worker, *index, &out);
        }
        Ok(())
    }

    fn wait(&self, sent: u32) -> u64 {
        wait(sent, self.repeats)
    }
}

fn wait(sent: u32, repeats: bool) -> u64 {
    let first = if repeats {
        wait_ms(sent).unwrap_or(STREAM_WAIT_MS)
    } else {
        STREAM_WAIT_MS
    };
    first * 1_000_000
}

/// Sends octets of the client's own writing.
pub fn post(worker: &mut Worker, index: usize, octets: &[u8]) {
    let to = worker.agents[index].server;
    let frame = [Transmit::new(to, BufferRange::written(0, octets.len()))];
    worker.agents[index]
        .lane
        .send(&mut worker.messages, &frame, octets);
}

/// Exchanges under way at once.
const AT_ONCE: usize = 64;
/// Times that a request is sent before its server counts as silent: 7.5 seconds.
const PATIENCE: u32 = 4;
/// Nanoseconds without an answer after which a farewell is over.
const FAREWELL: u64 = 2_000_000_000;
/// How long an answer may take over TCP.
const STREAM_WAIT_MS: u64 = 8_000;
