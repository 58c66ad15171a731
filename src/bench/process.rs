//! What a process on this machine spends: `/proc/PID`, read like `top` does, but in nanoseconds.

use std::fs;
use std::io;

/// What a process has spent up to now, and holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// CPU time of all its threads in nanoseconds (`schedstat`), user and kernel.
    pub cpu: u64,
    /// Ticks of user and of kernel time, for their proportion.
    pub user: u64,
    /// Ticks of kernel time.
    pub system: u64,
    /// Resident octets.
    pub resident: u64,
    /// Threads.
    pub threads: u64,
    /// Times that its threads went to sleep or were put off.
    pub switches: u64,
}

/// Reads what process `pid` has spent.
///
/// # Errors
/// When there is no such process, or it may not be read.
pub fn spent(pid: u32) -> io::Result<Spent> {
    let mut spent = Spent::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        // A thread may end while it is being read.
        let Ok(schedule) = fs::read_to_string(path.join("schedstat")) else {
            continue;
        };
        spent.cpu += schedule
            .split_whitespace()
            .next()
            .and_then(|first| first.parse::<u64>().ok())
            .unwrap_or(0);
        let status = fs::read_to_string(path.join("status")).unwrap_or_default();
        spent.switches += field(&status, "voluntary_ctxt_switches:")
            + field(&status, "nonvoluntary_ctxt_switches:");
        spent.threads += 1;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    spent.resident = field(&status, "VmRSS:") * 1024;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th fields behind it.
    let behind: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        behind
            .get(at)
            .and_then(|field| field.parse().ok())
            .unwrap_or(0)
    };
    spent.user = ticks(11);
    spent.system = ticks(12);
    Ok(spent)
}

/// The cores that no thread of process `pid` is bound to alone, of those that this process may use; none where that is
/// no choice, because all or none are taken.
pub fn free_cores(pid: u32) -> Vec<usize> {
    let bound = bound_cores(pid).unwrap_or_default();
    let allowed = crate::net::host::cpu::allowed_cores();
    let free: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|core| !bound.contains(core))
        .collect();
    if free.len() < allowed.len() {
        free
    } else {
        Vec::new()
    }
}

fn bound_cores(pid: u32) -> io::Result<Vec<usize>> {
    let mut bound = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        // A range or a list of cores does not parse: such a thread runs where the system puts it.
        bound.extend(list.and_then(|cores| cores.trim().parse::<usize>().ok()));
    }
    Ok(bound)
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
    fn this_process_spends() {
        let before = spent(std::process::id()).unwrap();
        assert!(before.resident > 100_000 && before.threads > 0);
        let mut sum = 0u64;
        while spent(std::process::id()).unwrap().cpu < before.cpu + 2_000_000 {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_core_that_a_thread_is_bound_to_is_not_free() {
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
    fn no_process_is_an_error() {
        assert!(spent(u32::MAX).is_err());
    }
}
