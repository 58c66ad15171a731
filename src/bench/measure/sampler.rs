//! Samples the resource usage of the server's process and of this process during a run.

use crate::bench::measure::process::{ProcessUsage, read_usage};
use std::time::{Duration, Instant};

/// The resource usage of a process over an interval.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageInterval {
    /// The usage during the interval; memory and threads at its end.
    pub used: ProcessUsage,
    /// Packets relayed, or requests answered, during the interval.
    pub packets: u64,
    /// Length of the interval in seconds.
    pub seconds: f64,
}

impl UsageInterval {
    /// Appends a later interval: memory becomes the greater value, threads the later one.
    pub fn add(&mut self, later: &UsageInterval) {
        self.seconds += later.seconds;
        self.packets += later.packets;
        self.used = ProcessUsage {
            cpu: self.used.cpu + later.used.cpu,
            user: self.used.user + later.used.user,
            system: self.used.system + later.used.system,
            switches: self.used.switches + later.used.switches,
            resident: self.used.resident.max(later.used.resident),
            threads: later.used.threads,
        };
    }
}

/// The resource usage of a process at one time of a run.
#[derive(Clone, Copy, Debug)]
pub struct UsageSample {
    /// Seconds since the start of the run.
    pub at: f64,
    /// Cores in use since the previous sample.
    pub cores: f64,
    /// Resident octets.
    pub resident: u64,
}

/// Samples both processes.
pub struct Samplers {
    started: Instant,
    /// No samples are taken after this time, because the load stops before the run ends.
    until: Duration,
    /// The server's process.
    pub server: Sampler,
    /// This process.
    pub loader: Sampler,
}

/// Samples one process: over the whole run for the plot, over its middle for the averages.
pub struct Sampler {
    pid: Option<u32>,
    from: Duration,
    first: Option<Reading>,
    last: Option<Reading>,
    /// Usage over the middle of the run, so far.
    pub middle: Option<UsageInterval>,
    /// The samples so far.
    pub samples: Vec<UsageSample>,
}

#[derive(Clone, Copy)]
struct Reading {
    usage: ProcessUsage,
    packets: u64,
    at: Instant,
}

impl Samplers {
    /// Starts to sample the process `pid` and this one, for a run of this duration.
    pub fn start(pid: Option<u32>, duration: Duration) -> Samplers {
        let sampler = |pid| Sampler {
            pid,
            from: duration / 10,
            first: None,
            last: None,
            middle: None,
            samples: Vec::new(),
        };
        Samplers {
            started: Instant::now(),
            until: duration - duration / 20,
            server: sampler(pid),
            loader: sampler(Some(std::process::id())),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes a sample; `received` is the number of packets received so far.
    pub fn sample(&mut self, received: u64) {
        let elapsed = self.elapsed();
        if elapsed <= self.until {
            self.server.sample(elapsed, received);
            self.loader.sample(elapsed, received);
        }
    }
}

impl Sampler {
    fn sample(&mut self, elapsed: Duration, packets: u64) {
        let Some(usage) = self.pid.and_then(|pid| read_usage(pid).ok()) else {
            return;
        };
        let at = Instant::now();
        let reading = Reading { usage, packets, at };
        if let Some(previous) = self.last.replace(reading) {
            let interval = reading.since(&previous);
            self.samples.push(UsageSample {
                at: elapsed.as_secs_f64(),
                cores: interval.used.cpu as f64 / 1e9 / interval.seconds,
                resident: usage.resident,
            });
        }
        match self.first {
            None if elapsed >= self.from => self.first = Some(reading),
            Some(first) => self.middle = Some(reading.since(&first)),
            None => {}
        }
    }
}

impl Reading {
    fn since(&self, earlier: &Reading) -> UsageInterval {
        UsageInterval {
            used: self.usage.since(&earlier.usage),
            packets: self.packets - earlier.packets,
            seconds: (self.at - earlier.at).as_secs_f64(),
        }
    }
}
