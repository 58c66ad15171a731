//! Cores: which ones this process may use, and staying on one.

use std::io;

/// The numbers of the cores that this process may run on; never empty.
#[cfg(target_os = "linux")]
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: a CPU set is a bit field, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the length told into `set`.
    let outcome = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    let cores: Vec<usize> = if outcome == 0 {
        // SAFETY: every index is below the size of the set.
        (0..libc::CPU_SETSIZE as usize)
            .filter(|core| unsafe { libc::CPU_ISSET(*core, &set) })
            .collect()
    } else {
        Vec::new()
    };
    if cores.is_empty() { counted() } else { cores }
}

/// The numbers of the cores that this process may run on; never empty.
#[cfg(not(target_os = "linux"))]
pub fn allowed_cores() -> Vec<usize> {
    counted()
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// When the core does not exist or is not allowed.
#[cfg(target_os = "linux")]
pub fn pin(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: a CPU set is a bit field, for which zero is a value.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below the size of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the kernel reads the length told from `set`.
    let outcome = unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Keeps the calling thread on one core.
///
/// # Errors
/// Always: this system does not offer it.
#[cfg(not(target_os = "linux"))]
pub fn pin(_core: usize) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

fn counted() -> Vec<usize> {
    (0..std::thread::available_parallelism().map_or(1, |cores| cores.get())).collect()
}
