//! How many sockets and files this process may hold: every relayed address and every client of a load needs one.

/// Raises the bound as far as the system lets this process: the soft limit to the hard one, and the hard one to
/// `wanted` where it is lower and this process may. The bound that then holds; `u64::MAX` where the system has none.
#[cfg(unix)]
pub fn raise(wanted: u64) -> u64 {
    let Some(limit) = limit() else {
        return u64::MAX;
    };
    for most in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let higher = libc::rlimit {
            rlim_cur: most,
            rlim_max: most,
        };
        // SAFETY: the kernel reads one rlimit from `higher`.
        if most > limit.rlim_cur && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &higher) } == 0 {
            return most;
        }
    }
    limit.rlim_cur
}

/// The bound on what this process may hold, which this system does not tell.
#[cfg(not(unix))]
pub fn raise(_wanted: u64) -> u64 {
    u64::MAX
}

/// Whether an open descriptor is among the last eighth of what this process may hold: the kernel gives the lowest number that
/// is free, so then nearly all are in use.
#[cfg(unix)]
pub fn is_nearly_exhausted(descriptor: &impl std::os::fd::AsRawFd) -> bool {
    let Some(limit) = limit() else { return false };
    descriptor.as_raw_fd().unsigned_abs() as libc::rlim_t >= limit.rlim_cur - limit.rlim_cur / 8
}

/// Whether nearly all that this process may hold is in use, which this system does not tell.
#[cfg(not(unix))]
pub fn is_nearly_exhausted<T>(_descriptor: &T) -> bool {
    false
}

#[cfg(unix)]
fn limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit into `limit`.
    (unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0).then_some(limit)
}
