//! All workers of a run, each in a thread of its own: raised, driven as often as the plan needs, and released.

use crate::bench::error::Error;
use crate::bench::exchange::{Exchange, ExchangeOptions, exchange_all};
use crate::bench::histogram::Histogram;
use crate::bench::load::{Load, bind, drive};
use crate::bench::payload::Counters;
use crate::bench::plan::Plan;
use crate::bench::plan::{Direction, Workload};
use crate::bench::process::{Spent, free_cores, spent};
use crate::bench::rate::Rate;
use crate::bench::worker::{Progress, Worker};
use crate::net::host::cpu;
use crate::turn::client_state::{ClientState, Request};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The workers of a run.
pub struct Pool {
    plan: Plan,
    workers: Vec<Worker>,
    /// Cores that are the loader's alone; without any its threads run where the system puts them.
    cores: Vec<usize>,
    progress: Progress,
    runs: u32,
}

/// One measured run.
#[derive(Default)]
pub struct Run {
    /// What all workers counted.
    pub counters: Counters,
    /// Seconds over which packets were sent.
    pub seconds: f64,
    /// Packets a second that were asked for, if a number was.
    pub offered: Option<f64>,
    /// What the server's process spent in the middle of the run, and over how many packets.
    pub process: Option<Usage>,
    /// The same of the loader's own.
    pub loader: Option<Usage>,
    /// Why it ended before its time.
    pub failure: Option<Error>,
    /// Samples of the server's process in time.
    pub samples: Vec<Sample>,
    /// Length of one slice of the counters's timeline, in seconds.
    pub slice: f64,
}

/// What a process spent between two moments.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// The difference.
    pub spent: Spent,
    /// Packets that were relayed meanwhile, or exchanges that were answered.
    pub packets: u64,
    /// Seconds that passed.
    pub seconds: f64,
}

/// One look at the server's process.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Seconds since the run began.
    pub at: f64,
    /// Cores in use since the last look.
    pub cores: f64,
    /// Resident octets.
    pub resident: u64,
}

/// One round of requests, by every client.
pub struct Round {
    /// How long each took.
    pub latency: Histogram,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// How many were granted.
    pub granted: usize,
    /// What the server's process spent meanwhile.
    pub process: Option<Usage>,
}

impl Pool {
    /// Opens the sockets of all clients, split over the plan's threads.
    ///
    /// # Errors
    /// [`Error::Connect`] when a socket or connection cannot be made.
    pub fn connect(plan: &Plan) -> Result<Pool, Error> {
        let epoch = Instant::now();
        // Pairs stay together.
        let share = plan.flows.div_ceil(plan.threads).next_multiple_of(2);
        let mut workers = Vec::new();
        for from in (0..plan.flows).step_by(share) {
            let worker = Worker::connect(plan, from, plan.flows.min(from + share), epoch);
            workers.push(worker.map_err(|error| match plan.stop.is_requested() {
                true => Error::Interrupted,
                false => Error::Connect(plan.target.clone(), error),
            })?);
        }
        let cores = plan.pid.map(free_cores).unwrap_or_default();
        Ok(Pool {
            plan: plan.clone(),
            workers,
            cores,
            progress: Progress::default(),
            runs: 0,
        })
    }

    /// What has happened so far, for whoever draws progress.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Allocates for every client that has no relayed address, as a client that the server has never seen.
    ///
    /// # Errors
    /// The [`Error`] of the first that is refused or not answered.
    pub fn allocate(&mut self, rate: Option<f64>) -> Result<Round, Error> {
        for agent in self
            .workers
            .iter_mut()
            .flat_map(|worker| &mut worker.agents)
        {
            let seed = crate::bench::worker::seed().map_err(Error::Io)?;
            agent.client = ClientState::new(self.plan.login.clone(), seed);
        }
        let family = self
            .plan
            .target
            .address
            .is_ipv6()
            .then_some(crate::wire::attribute::Family::V6);
        let request = Request::Allocate {
            family,
            lifetime: None,
        };
        self.round(
            ExchangeOptions {
                rate,
                farewell: false,
            },
            |_, _| Some(request.clone()),
        )
    }

    /// Opens the way from every client to its peer.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    pub fn bind(&mut self) -> Result<Round, Error> {
        let plan = self.plan.clone();
        let ask = |worker: &Worker, index| {
            worker
                .peer_of(index, plan.direction)
                .map(|peer| bind(&plan, peer))
        };
        let round = self.round(ExchangeOptions::default(), ask)?;
        for worker in &mut self.workers {
            for index in 0..worker.agents.len() {
                if let Some(peer) = worker.peer_of(index, plan.direction) {
                    worker.prepare(index, &plan, peer);
                }
            }
        }
        Ok(round)
    }

    /// Deletes every allocation, as far as the server still listens. What cannot be deleted ends by itself.
    pub fn release(&mut self) {
        let ask = |worker: &Worker, index: usize| {
            let agent = &worker.agents[index];
            (agent.relayed.is_some() || agent.undecided).then_some(Request::Refresh { lifetime: 0 })
        };
        let _ = self.round(
            ExchangeOptions {
                rate: None,
                farewell: true,
            },
            ask,
        );
    }

    /// Asks once for every client's reflexive address: whether the server answers at all.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    pub fn probe(&mut self) -> Result<Round, Error> {
        self.round(ExchangeOptions::default(), |_, index| {
            (index == 0).then_some(Request::Binding)
        })
    }

    /// One request by each client, in all threads.
    fn round(
        &mut self,
        options: ExchangeOptions,
        ask: impl Fn(&Worker, usize) -> Option<Request> + Sync,
    ) -> Result<Round, Error> {
        let Pool {
            plan,
            workers,
            progress,
            cores,
            ..
        } = self;
        let share = ExchangeOptions {
            rate: options.rate.map(|rate| rate / workers.len() as f64),
            ..options
        };
        let begun = Instant::now();
        let before = plan.pid.map(spent).transpose().map_err(Error::Process)?;
        let outcomes: Vec<_> = thread::scope(|scope| {
            let spawn = |(at, worker)| {
                let (plan, progress, cores, ask) = (&*plan, &*progress, &*cores, &ask);
                scope.spawn(move || {
                    settle(cores, at);
                    exchange_all(worker, plan, share, progress, ask)
                })
            };
            let threads: Vec<_> = workers.iter_mut().enumerate().map(spawn).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err(Error::Panicked)))
                .collect()
        });
        let exchanges = outcomes.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let seconds = begun.elapsed().as_secs_f64();
        let mut latency = Histogram::default();
        exchanges
            .iter()
            .flatten()
            .flatten()
            .for_each(|exchange: &Exchange| latency.record(exchange.took));
        let granted = latency.total() as usize;
        let process = usage(plan, before, granted as u64, seconds)?;
        Ok(Round {
            latency,
            seconds,
            granted,
            process,
        })
    }

    /// Sends packets at `rate` for `duration`. `look` is called ten times a second or oftener, with the elapsed time.
    ///
    /// # Errors
    /// [`Error`] when nothing could be sent; what ends a run later is told in it.
    pub fn run(
        &mut self,
        rate: Rate,
        duration: Duration,
        mut look: impl FnMut(&Progress, Duration),
    ) -> Result<Run, Error> {
        self.runs += 1;
        self.progress = Progress::default();
        let Pool {
            plan,
            workers,
            progress,
            runs,
            cores,
        } = self;
        let slice = (duration / SLICES).max(Duration::from_millis(20));
        let share = match rate {
            Rate::PerSecond(rate) => Rate::PerSecond(rate / workers.len() as f64),
            Rate::Window(window) => Rate::Window(window.div_ceil(workers.len())),
            Rate::Max => Rate::Max,
        };
        let load = Load {
            run: *runs,
            rate: share,
            duration,
            slice,
        };
        let mut watch = Watch::new(plan, duration);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let spawn = |(at, worker)| {
                let (plan, progress, cores, load) = (&*plan, &*progress, &*cores, &load);
                scope.spawn(move || {
                    settle(cores, at);
                    drive(worker, plan, load, progress)
                })
            };
            let threads: Vec<_> = workers.iter_mut().enumerate().map(spawn).collect();
            while !threads.iter().all(|thread| thread.is_finished()) {
                let next = watch.look(progress, plan.stop.is_requested());
                look(progress, watch.begun.elapsed());
                thread::park_timeout(next);
            }
            let panicked = || (Counters::default(), Some(Error::Panicked));
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| panicked()))
                .collect()
        });
        let mut run = Run {
            slice: slice.as_secs_f64(),
            ..Run::default()
        };
        for (counters, failure) in outcomes {
            run.counters.merge(&counters);
            run.failure = run.failure.or(failure);
        }
        if let Some(failure) = run.failure.take_if(|_| run.counters.sent == 0) {
            return Err(failure);
        }
        if plan.pid.is_some_and(|pid| spent(pid).is_err()) {
            run.failure.get_or_insert(Error::ProcessExited);
        }
        run.seconds = run.counters.nanoseconds as f64 / 1e9;
        run.offered = if let Rate::PerSecond(rate) = rate {
            Some(rate)
        } else {
            None
        };
        run.process = watch.server.usage;
        run.loader = watch.loader.usage;
        run.samples = watch.server.samples;
        Ok(run)
    }

    /// Everything that a relay run needs before packets can flow: allocations, and channels or permissions.
    ///
    /// # Errors
    /// As [`Pool::allocate`].
    pub fn set_up(&mut self) -> Result<Option<Round>, Error> {
        match self.plan.workload {
            Workload::Relay => {
                let round = self.allocate(None)?;
                self.progress.exchanges.store(0, Ordering::Relaxed);
                self.bind()?;
                Ok(Some(round))
            }
            Workload::Binding => self.probe().map(|_| None),
            Workload::Allocate => Ok(None),
        }
    }

    /// The plan that it works by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Whether clients are each other's peers.
    pub fn is_hairpin(&self) -> bool {
        self.plan.direction == Direction::Hairpin
    }
}

/// Looks at the server's process and at the loader's own while a run goes on.
struct Watch {
    begun: Instant,
    until: Duration,
    server: Eye,
    loader: Eye,
}

/// Looks at one process: over the middle of a run for the figures, all the time for the plot.
struct Eye {
    pid: Option<u32>,
    from: Duration,
    first: Option<(Spent, u64, Instant)>,
    last: Option<(Spent, Instant)>,
    usage: Option<Usage>,
    samples: Vec<Sample>,
}

impl Watch {
    fn new(plan: &Plan, duration: Duration) -> Watch {
        let eye = |pid| Eye {
            pid,
            from: duration / 10,
            first: None,
            last: None,
            usage: None,
            samples: Vec::new(),
        };
        Watch {
            begun: Instant::now(),
            until: duration - duration / 20,
            server: eye(plan.pid),
            loader: eye(Some(std::process::id())),
        }
    }

    /// Takes a look; how long to wait for the next.
    fn look(&mut self, progress: &Progress, ended: bool) -> Duration {
        let at = self.begun.elapsed();
        if !ended && at <= self.until {
            let received = progress.received.load(Ordering::Relaxed);
            self.server.look(at, received);
            self.loader.look(at, received);
        }
        Duration::from_millis(50)
    }
}

impl Eye {
    fn look(&mut self, at: Duration, received: u64) {
        let Some(spent) = self.pid.and_then(|pid| spent(pid).ok()) else {
            return;
        };
        let now = Instant::now();
        if let Some((before, when)) = self.last {
            let passed = (now - when).as_secs_f64();
            let cores = spent.cpu.saturating_sub(before.cpu) as f64 / 1e9 / passed;
            self.samples.push(Sample {
                at: at.as_secs_f64(),
                cores,
                resident: spent.resident,
            });
        }
        self.last = Some((spent, now));
        match self.first {
            None if at >= self.from => self.first = Some((spent, received, now)),
            Some((before, packets, when)) => {
                let seconds = (now - when).as_secs_f64();
                self.usage = Some(Usage {
                    spent: difference(&before, &spent),
                    packets: received - packets,
                    seconds,
                });
            }
            None => {}
        }
    }
}

/// Keeps the calling thread, the loader's number `at`, on a core that is the loader's.
fn settle(cores: &[usize], at: usize) {
    if !cores.is_empty() {
        // Where that is refused, the thread runs wherever the system puts it.
        let _ = cpu::pin(cores[at % cores.len()]);
    }
}

fn usage(
    plan: &Plan,
    before: Option<Spent>,
    packets: u64,
    seconds: f64,
) -> Result<Option<Usage>, Error> {
    let Some((pid, before)) = plan.pid.zip(before) else {
        return Ok(None);
    };
    let after = spent(pid).map_err(Error::Process)?;
    Ok(Some(Usage {
        spent: difference(&before, &after),
        packets,
        seconds,
    }))
}

/// What was spent between two looks; what is held, as of the second.
fn difference(before: &Spent, after: &Spent) -> Spent {
    Spent {
        cpu: after.cpu.saturating_sub(before.cpu),
        user: after.user.saturating_sub(before.user),
        system: after.system.saturating_sub(before.system),
        resident: after.resident,
        threads: after.threads,
        switches: after.switches.saturating_sub(before.switches),
    }
}

/// Slices of a run's timeline.
const SLICES: u32 = 100;
