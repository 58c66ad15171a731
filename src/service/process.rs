//! What the system says of this process.

use std::fs;

/// This process' use of the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// CPU time, user and system.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_files: u64,
    /// How many may be open.
    pub most_files: u64,
    /// Threads.
    pub threads: u64,
}

/// Reads it; `None` where there is no `/proc`.
pub fn own() -> Option<Usage> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        cpu_seconds: cpu_seconds(&fs::read_to_string("/proc/self/stat").ok()?)?,
        resident_bytes: field("VmRSS:")?.saturating_mul(1024),
        open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        most_files: most_files(&fs::read_to_string("/proc/self/limits").ok()?)?,
        threads: field("Threads:")?,
    })
}

/// User and system time, the 14th and 15th fields; the second may contain spaces, but it ends in a parenthesis.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

fn most_files(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" {
        Some(u64::MAX)
    } else {
        soft.parse().ok()
    }
}

/// Ticks a second in which Linux tells processes of CPU time (`USER_HZ`).
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_writes_is_read() {
        let stat = "7 (a )b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(
            most_files(
                "Max open files            1024                 4096                 files \n"
            ),
            Some(1024)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_alive() {
        let own = own().unwrap();
        assert!(
            own.resident_bytes > 100_000
                && own.open_files > 2
                && own.threads > 0
                && own.most_files > 2
        );
    }
}
