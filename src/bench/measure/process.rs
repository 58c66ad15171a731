//! CPU time and memory of a local process from `/proc/PID`: as `top` reads them, but in nanoseconds.

use std::fs;
use std::io;

/// What a process has used since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// CPU time of all threads in nanoseconds (`schedstat`), user and kernel.
    pub cpu: u64,
    /// Ticks of user time, for its proportion to kernel time.
    pub user: u64,
    /// Ticks of kernel time.
    pub system: u64,
    /// Resident octets.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Context switches of all threads, voluntary and involuntary.
    pub switches: u64,
}

impl ProcessUsage {
    /// What was used since an earlier reading; memory and threads as of this one.
    pub fn since(&self, earlier: &ProcessUsage) -> ProcessUsage {
        ProcessUsage {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
            switches: self.switches.saturating_sub(earlier.switches),
            ..*self
        }
    }
}

/// Reads the usage of process `pid`.
///
/// # Errors
/// The process does not exist, or may not be read.
pub fn read_usage(pid: u32) -> io::Result<ProcessUsage> {
    let mut usage = ProcessUsage::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread may exit between the listing and this read.
        let Ok(schedule) = fs::read_to_string(path.join("schedstat")) else {
            continue;
        };
        usage.cpu += schedule
            .split_whitespace()
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .unwrap_or(0);
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        usage.switches += field(&status, "voluntary_ctxt_switches:")
            + field(&status, "nonvoluntary_ctxt_switches:");
        usage.threads += 1;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    usage.resident = field(&status, "VmRSS:") * 1024;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces and parentheses; utime and stime are the 12th and 13th fields after it.
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    usage.user = ticks(11);
    usage.system = ticks(12);
    Ok(usage)
}

/// The cores that this process may use and to which no thread of process `pid` is pinned. Empty if that leaves no choice:
/// all cores, or none, are free.
pub fn free_cores(pid: u32) -> Vec<usize> {
    let pinned = pinned_cores(pid).unwrap_or_default();
    let allowed = crate::net::host::cpu::allowed_cores();
    let free: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|core| !pinned.contains(core))
        .collect();
    if free.len() < allowed.len() {
        free
    } else {
        Vec::new()
    }
}

fn pinned_cores(pid: u32) -> io::Result<Vec<usize>> {
    let mut pinned = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        // A range or a list of cores does not parse as a number: such a thread is not pinned.
        pinned.extend(list.and_then(|cores| cores.trim().parse::<usize>().ok()));
    }
    Ok(pinned)
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn cpu_time_of_a_busy_process_grows() {
        let before = read_usage(std::process::id()).unwrap();
        assert!(before.resident > 100_000 && before.threads > 0);
        let mut sum = 0u64;
        while read_usage(std::process::id()).unwrap().cpu < before.cpu + 2_000_000 {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_core_to_which_a_thread_is_pinned_is_not_free() {
        let cores = crate::net::host::cpu::allowed_cores();
        if cores.len() < 2 {
            eprintln!("SKIPPED: this host has one core");
            return;
        }
        let (bound, go) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                crate::net::host::cpu::pin(cores[0]).unwrap();
                bound.wait();
                go.wait();
            });
            bound.wait();
            let free = free_cores(std::process::id());
            go.wait();
            assert_eq!(free, cores[1..]);
        });
    }

    #[test]
    fn a_missing_process_is_an_error() {
        assert!(read_usage(u32::MAX).is_err());
    }
}
