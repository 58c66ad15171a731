//! CPU cores: which ones this process may use, and pinning a thread to one.

use std::io;

/// Numbers of the cores that this process may run on; never empty. Containers and `taskset`
/// restrict them.
#[cfg(target_os = "linux")]
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: a CPU set is a bit field, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes no more than the given length into `set`.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    let cores: Vec<usize> = if outcome == 0 {
        (0..libc::CPU_SETSIZE as usize)
            // SAFETY: `core` is below the size of the set.
            .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
            .collect()
    } else {
        // A machine with more cores than a `cpu_set_t` has bits.
        Vec::new()
    };
    if cores.is_empty() { all_cores() } else { cores }
}

/// Numbers of the cores that this process may run on; never empty.
#[cfg(not(target_os = "linux"))]
pub fn allowed_cores() -> Vec<usize> {
    all_cores()
}

/// Pins the calling thread to a core.
///
/// # Errors
/// If the core does not exist, or this process may not use it.
#[cfg(target_os = "linux")]
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a CPU set is a bit field, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads the given length from `set`, which outlives the call.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Pins the calling thread to a core.
///
/// # Errors
/// Always: only Linux supports it.
#[cfg(not(target_os = "linux"))]
pub fn pin(_core: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

fn all_cores() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, |cores| cores.get())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_an_allowed_core_without_effect_on_other_threads() {
        let cores = allowed_cores();
        assert!(!cores.is_empty());
        let last = *cores.last().unwrap();
        let pinned = std::thread::spawn(move || pin(last).map(|()| allowed_cores()))
            .join()
            .unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(pinned.unwrap(), [last]);
            assert!(pin(usize::MAX).is_err());
        }
        assert_eq!(allowed_cores(), cores);
    }
}
