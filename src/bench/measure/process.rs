//! What a local process uses: CPU time, memory, threads and context switches.

use crate::net::host::cpu::allowed_cores;
use crate::net::host::process::Process;
use std::io;
use std::time::Duration;

/// CPU time and context switches of a process since it started, and its current memory and threads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUsage {
    /// CPU time of all live threads, user and kernel, in nanoseconds.
    pub cpu: u64,
    /// CPU time in user mode, in steps of 10 ms, for its proportion to kernel time.
    pub user: Duration,
    /// CPU time in the kernel, in steps of 10 ms.
    pub system: Duration,
    /// Resident octets.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Context switches of all live threads.
    pub switches: u64,
}

impl ProcessUsage {
    /// The usage since an earlier reading; memory and threads are current.
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
    let process = Process::with_id(pid);
    let threads = process.thread_totals()?;
    let times = process.times()?;
    Ok(ProcessUsage {
        cpu: threads.cpu.as_nanos() as u64,
        user: times.user,
        system: times.system,
        resident: process.memory()?.resident,
        threads: threads.threads,
        switches: threads.context_switches,
    })
}

/// The cores that this process may use and to which no thread of process `pid` is pinned. Empty if
/// that leaves no choice: all cores, or none, are free.
pub fn free_cores(pid: u32) -> Vec<usize> {
    let pinned = Process::with_id(pid).pinned_cores().unwrap_or_default();
    let allowed = allowed_cores();
    let free: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|core| !pinned.contains(core))
        .collect();
    match free.len() < allowed.len() {
        true => free,
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::host::cpu::pin;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_core_to_which_a_thread_is_pinned_is_not_free() {
        let cores = allowed_cores();
        if cores.len() < 2 {
            eprintln!("SKIPPED: this host has one core");
            return;
        }
        let (pinned, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(cores[0]).unwrap();
                pinned.wait();
                done.wait();
            });
            pinned.wait();
            let free = free_cores(std::process::id());
            done.wait();
            assert_eq!(free, cores[1..]);
        });
    }
}
