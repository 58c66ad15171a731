//! What a process uses, read from `/proc` (Linux). On other systems every read fails.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A process on this host.
#[derive(Clone, Debug)]
pub struct Process {
    directory: PathBuf,
}

/// Times of a process, in steps of 10 ms. Threads that have ended are included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// When the process started, since the host booted.
    pub start: Duration,
}

/// What the threads that are alive have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadTotals {
    /// CPU time, user and kernel, to the nanosecond.
    pub cpu: Duration,
    /// Context switches, voluntary and not.
    pub context_switches: u64,
    /// Number of threads.
    pub threads: u64,
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident in RAM.
    pub resident: u64,
    /// Mapped.
    pub mapped: u64,
}

impl Process {
    /// This process.
    pub fn current() -> Process {
        Process {
            directory: "/proc/self".into(),
        }
    }

    /// The process with an id, which may not exist.
    pub fn with_id(pid: u32) -> Process {
        Process {
            directory: format!("/proc/{pid}").into(),
        }
    }

    /// CPU time and start.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn times(&self) -> io::Result<Times> {
        parse_times(&self.read("stat")?).ok_or_else(|| invalid("stat"))
    }

    /// Sums over the threads that are alive.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn thread_totals(&self) -> io::Result<ThreadTotals> {
        let mut totals = ThreadTotals::default();
        for thread in self.threads()? {
            // A thread may end while it is read.
            let Ok(schedule) = fs::read_to_string(thread.join("schedstat")) else {
                continue;
            };
            let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
            totals.cpu += Duration::from_nanos(number(schedule.split_whitespace().next()));
            totals.context_switches += field(&status, "voluntary_ctxt_switches:")
                + field(&status, "nonvoluntary_ctxt_switches:");
            totals.threads += 1;
        }
        Ok(totals)
    }

    /// Memory.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn memory(&self) -> io::Result<Memory> {
        let status = self.read("status")?;
        Ok(Memory {
            resident: field(&status, "VmRSS:") * 1024,
            mapped: field(&status, "VmSize:") * 1024,
        })
    }

    /// The number of open file descriptors.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn open_fds(&self) -> io::Result<u64> {
        Ok(fs::read_dir(self.directory.join("fd"))?.count() as u64)
    }

    /// The soft limit of open file descriptors; `u64::MAX` without a limit.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn max_fds(&self) -> io::Result<u64> {
        parse_max_fds(&self.read("limits")?).ok_or_else(|| invalid("limits"))
    }

    /// The cores to which a thread is pinned alone. A thread that may run on several cores adds
    /// none.
    ///
    /// # Errors
    /// The process does not exist or may not be read.
    pub fn pinned_cores(&self) -> io::Result<Vec<usize>> {
        let mut cores = Vec::new();
        for thread in self.threads()? {
            let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
            let list = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            // Lists and ranges, such as `0-3`, are not numbers.
            cores.extend(list.and_then(|list| list.trim().parse::<usize>().ok()));
        }
        Ok(cores)
    }

    fn threads(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(self.directory.join("task"))?
            .map(|entry| Ok(entry?.path()))
            .collect()
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.directory.join(file))
    }
}

/// When the host booted, as Unix time in whole seconds.
///
/// # Errors
/// There is no `/proc/stat`.
pub fn boot_time() -> io::Result<Duration> {
    Ok(Duration::from_secs(field(
        &fs::read_to_string("/proc/stat")?,
        "btime",
    )))
}

/// `/proc/PID/stat` from its 14th field on: the second field, the name, may contain spaces and
/// parentheses.
fn parse_times(stat: &str) -> Option<Times> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| Some(TICK * fields.get(index)?.parse().ok()?);
    Some(Times {
        user: ticks(11)?,
        system: ticks(12)?,
        start: ticks(19)?,
    })
}

fn parse_max_fds(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

/// The number after `name` at the start of a line; 0 if there is none, as for a kernel thread.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    number(line.and_then(|rest| rest.split_whitespace().next()))
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn invalid(file: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unexpected content of /proc/PID/{file}"),
    )
}

/// The unit of CPU time in `/proc` (`USER_HZ`, which is 100 on every architecture).
const TICK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_a_name_with_parentheses() {
        let stat = "7 (a )b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 100 1 1";
        let (user, system) = (Duration::from_millis(2_500), Duration::from_millis(500));
        let start = Duration::from_secs(1);
        assert_eq!(
            parse_times(stat),
            Some(Times {
                user,
                system,
                start
            })
        );
    }

    #[test]
    fn the_soft_limit_of_descriptors_is_read() {
        let limits = "Max open files            1024                 4096                 files \n";
        assert_eq!(parse_max_fds(limits), Some(1024));
        assert_eq!(
            parse_max_fds("Max open files unlimited unlimited files"),
            Some(u64::MAX)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_current_process_can_be_read() {
        let process = Process::with_id(std::process::id());
        assert!(process.memory().unwrap().resident > 100_000);
        assert!(process.open_fds().unwrap() > 2 && process.max_fds().unwrap() > 2);
        let before = process.thread_totals().unwrap();
        assert!(before.threads > 0);
        let enough = before.cpu + Duration::from_millis(2);
        let mut sum = 0u64;
        while process.thread_totals().unwrap().cpu < enough {
            sum = (0..100_000u64).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let start = boot_time().unwrap() + process.times().unwrap().start;
        assert!(start < now + Duration::from_secs(5) && now - start < Duration::from_secs(3_600));
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        let process = Process::with_id(u32::MAX);
        assert!(process.times().is_err() && process.thread_totals().is_err());
    }
}
