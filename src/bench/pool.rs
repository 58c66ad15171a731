//! The pool of workers of a run, each in its own thread while it works: connected, set up, run as
//! often as needed, released.

use crate::bench::error::Error;
use crate::bench::exchange::{RoundOptions, exchange_all};
use crate::bench::load::{Load, peer_request, run_load};
use crate::bench::measure::counters::Counters;
use crate::bench::measure::histogram::Histogram;
use crate::bench::measure::process::{ProcessUsage, free_cores, read_usage};
use crate::bench::measure::sampler::{Samplers, UsageInterval, UsageSample};
use crate::bench::plan::{Plan, Workload};
use crate::bench::rate::Rate;
use crate::bench::worker::{Progress, Worker, random_seed};
use crate::net::host::cpu;
use crate::turn::client_state::{ClientState, Request};
use crate::wire::attribute::Family;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

/// The workers of a run.
pub struct Pool {
    plan: Plan,
    workers: Vec<Worker>,
    /// Cores that the measured process leaves free. If empty, threads are not pinned.
    cores: Vec<usize>,
    progress: Progress,
    runs: u32,
}

/// One measured run.
#[derive(Default)]
pub struct Run {
    /// The counts of all workers.
    pub counters: Counters,
    /// Seconds over which packets were sent.
    pub seconds: f64,
    /// The requested packets per second, if the rate was a number.
    pub offered: Option<f64>,
    /// Usage of the server's process over the middle of the run.
    pub process: Option<UsageInterval>,
    /// Usage of this process over the middle of the run.
    pub loader: Option<UsageInterval>,
    /// Why the run ended before its time.
    pub error: Option<Error>,
    /// Samples of the server's process.
    pub samples: Vec<UsageSample>,
    /// Seconds of one time slice of the counters.
    pub slice: f64,
}

/// One round of requests, by every client.
#[derive(Default)]
pub struct Round {
    /// Time from request to response.
    pub latency: Histogram,
    /// Seconds from the first request to the last response.
    pub seconds: f64,
    /// Requests granted.
    pub granted: usize,
    /// Usage of the server's process during the round.
    pub process: Option<UsageInterval>,
}

impl Pool {
    /// Opens the sockets of all clients, divided among the plan's threads.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Interrupted`].
    pub fn connect(plan: &Plan) -> Result<Pool, Error> {
        let epoch = Instant::now();
        // An even number of clients each, because the two clients of a hairpin must share a worker.
        let share = plan.flows.div_ceil(plan.threads).next_multiple_of(2);
        let mut workers = Vec::new();
        for from in (0..plan.flows).step_by(share) {
            let worker = Worker::connect(plan, from, plan.flows.min(from + share), epoch);
            workers.push(worker.map_err(|error| match plan.stop.is_requested() {
                true => Error::Interrupted,
                false => Error::Connect(plan.target.clone(), error),
            })?);
        }
        Ok(Pool {
            plan: plan.clone(),
            workers,
            cores: plan.pid.map(free_cores).unwrap_or_default(),
            progress: Progress::default(),
            runs: 0,
        })
    }

    /// The plan of this run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Prepares the workload: allocations with channels or permissions, or a first answered Binding
    /// request.
    ///
    /// # Errors
    /// The error of the first client that is refused or not answered.
    pub fn set_up(&mut self) -> Result<Option<Round>, Error> {
        match self.plan.workload {
            Workload::Relay => {
                let round = self.allocate(None)?;
                self.progress.exchanges.store(0, Ordering::Relaxed);
                self.bind()?;
                Ok(Some(round))
            }
            Workload::Binding => {
                let only_first = |_: &Worker, index| (index == 0).then_some(Request::Binding);
                self.round(RoundOptions::default(), only_first)?;
                Ok(None)
            }
            Workload::Allocate => Ok(None),
        }
    }

    /// Creates an allocation for every client, as new clients that the server has not seen.
    ///
    /// # Errors
    /// As [`Pool::set_up`].
    pub fn allocate(&mut self, rate: Option<f64>) -> Result<Round, Error> {
        for client in self
            .workers
            .iter_mut()
            .flat_map(|worker| &mut worker.clients)
        {
            let seed = random_seed().map_err(Error::Io)?;
            client.protocol = ClientState::new(self.plan.login.clone(), seed);
        }
        let request = Request::Allocate {
            family: self.plan.target.address.is_ipv6().then_some(Family::V6),
            lifetime: None,
        };
        let options = RoundOptions {
            rate,
            is_release: false,
        };
        self.round(options, |_, _| Some(request.clone()))
    }

    /// Binds a channel, or installs a permission, from every client to its peer.
    ///
    /// # Errors
    /// As [`Pool::set_up`].
    pub fn bind(&mut self) -> Result<Round, Error> {
        let plan = self.plan.clone();
        let round = self.round(RoundOptions::default(), |worker, index| {
            worker
                .peer_of(index, plan.direction)
                .map(|peer| peer_request(&plan, peer))
        })?;
        for worker in &mut self.workers {
            for index in 0..worker.clients.len() {
                if let Some(peer) = worker.peer_of(index, plan.direction) {
                    worker.prepare_header(index, &plan, peer);
                }
            }
        }
        Ok(round)
    }

    /// Deletes every allocation if the server still answers. Other allocations expire.
    pub fn release(&mut self) {
        let options = RoundOptions {
            rate: None,
            is_release: true,
        };
        let _ = self.round(options, |worker, index| {
            let client = &worker.clients[index];
            (client.relayed.is_some() || client.is_allocation_pending)
                .then_some(Request::Refresh { lifetime: 0 })
        });
    }

    /// Sends packets at `rate` for `duration`. Calls `on_progress` with the elapsed time at least
    /// ten times a second.
    ///
    /// # Errors
    /// Nothing could be sent. An error that ends the run later is returned in the [`Run`].
    pub fn run(
        &mut self,
        rate: Rate,
        duration: Duration,
        mut on_progress: impl FnMut(&Progress, Duration),
    ) -> Result<Run, Error> {
        self.runs += 1;
        self.progress = Progress::default();
        let slice = (duration / SLICES).max(Duration::from_millis(20));
        let load = Load {
            run: self.runs,
            rate: rate.share(self.workers.len()),
            duration,
            slice,
        };
        let (plan, cores, progress) = (&self.plan, &self.cores, &self.progress);
        let mut samplers = Samplers::start(plan.pid, duration);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .enumerate()
                .map(|(number, worker)| {
                    let load = &load;
                    scope.spawn(move || {
                        pin_thread(cores, number);
                        run_load(worker, plan, load, progress)
                    })
                })
                .collect();
            while !threads.iter().all(|thread| thread.is_finished()) {
                if !plan.stop.is_requested() {
                    samplers.sample(progress.received.load(Ordering::Relaxed));
                }
                on_progress(progress, samplers.elapsed());
                thread::park_timeout(SAMPLE_INTERVAL);
            }
            let panicked = |_| (Counters::default(), Some(Error::Panicked));
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(panicked))
                .collect()
        });
        let mut run = Run {
            offered: match rate {
                Rate::PerSecond(rate) => Some(rate),
                Rate::Max | Rate::InFlight(_) => None,
            },
            slice: slice.as_secs_f64(),
            process: samplers.server.middle,
            loader: samplers.loader.middle,
            samples: samplers.server.samples,
            ..Run::default()
        };
        for (counters, error) in outcomes {
            run.counters.merge(&counters);
            run.error = run.error.or(error);
        }
        if let Some(error) = run.error.take_if(|_| run.counters.sent == 0) {
            return Err(error);
        }
        if plan.pid.is_some_and(|pid| read_usage(pid).is_err()) {
            run.error.get_or_insert(Error::ProcessExited);
        }
        run.seconds = run.counters.nanoseconds as f64 / 1e9;
        Ok(run)
    }

    /// One round of requests in all threads.
    fn round(
        &mut self,
        options: RoundOptions,
        request_of: impl Fn(&Worker, usize) -> Option<Request> + Sync,
    ) -> Result<Round, Error> {
        let share = RoundOptions {
            rate: options.rate.map(|rate| rate / self.workers.len() as f64),
            ..options
        };
        let (plan, cores, progress) = (&self.plan, &self.cores, &self.progress);
        let started = Instant::now();
        let before = plan
            .pid
            .map(read_usage)
            .transpose()
            .map_err(Error::Process)?;
        let outcomes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .workers
                .iter_mut()
                .enumerate()
                .map(|(number, worker)| {
                    let request_of = &request_of;
                    scope.spawn(move || {
                        pin_thread(cores, number);
                        exchange_all(worker, plan, share, progress, request_of)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err(Error::Panicked)))
                .collect()
        });
        let exchanges = outcomes.into_iter().collect::<Result<Vec<_>, Error>>()?;
        let seconds = started.elapsed().as_secs_f64();
        let mut latency = Histogram::default();
        for exchange in exchanges.iter().flatten().flatten() {
            latency.record(exchange.nanoseconds);
        }
        let granted = latency.total() as usize;
        let process = match plan.pid.zip(before) {
            Some((pid, before)) => Some(usage_since(pid, &before, granted as u64, seconds)?),
            None => None,
        };
        Ok(Round {
            latency,
            seconds,
            granted,
            process,
        })
    }
}

/// Pins the calling thread, worker number `number`, to one of the free cores.
fn pin_thread(cores: &[usize], number: usize) {
    if !cores.is_empty() {
        // If pinning is refused, the scheduler places the thread.
        let _ = cpu::pin(cores[number % cores.len()]);
    }
}

fn usage_since(
    pid: u32,
    before: &ProcessUsage,
    packets: u64,
    seconds: f64,
) -> Result<UsageInterval, Error> {
    let after = read_usage(pid).map_err(Error::Process)?;
    Ok(UsageInterval {
        used: after.since(before),
        packets,
        seconds,
    })
}

/// Time slices of a run's counters.
const SLICES: u32 = 100;
const SAMPLE_INTERVAL: Duration = Duration::from_millis(50);
