//! The limit of open file descriptors (`RLIMIT_NOFILE`). Every relayed address, connection, and
//! client of a load test needs a descriptor.

/// Raises the soft limit to the hard limit, after an attempt to raise the hard limit to `wanted`,
/// which takes CAP_SYS_RESOURCE. Returns the resulting limit; `u64::MAX` if the system has none.
#[cfg(unix)]
pub fn raise(wanted: u64) -> u64 {
    let Some(limit) = limit() else {
        return u64::MAX;
    };
    for target in [limit.rlim_max.max(wanted), limit.rlim_max] {
        let raised = libc::rlimit {
            rlim_cur: target,
            rlim_max: target,
        };
        // SAFETY: the kernel reads one rlimit from `raised`, which outlives the call.
        if target > limit.rlim_cur && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0
        {
            return target;
        }
    }
    limit.rlim_cur
}

/// Returns `u64::MAX`: this system does not report a limit.
#[cfg(not(unix))]
pub fn raise(_wanted: u64) -> u64 {
    u64::MAX
}

/// Returns true if seven eighths of the descriptors are in use. Takes a descriptor that was opened
/// last: the kernel assigns the lowest free number, so a high number means that all lower ones are
/// in use. Counting them would take a scan of `/proc/self/fd`.
#[cfg(unix)]
pub fn is_nearly_exhausted(newest: &impl std::os::fd::AsRawFd) -> bool {
    let Some(limit) = limit() else { return false };
    newest.as_raw_fd().unsigned_abs() as libc::rlim_t >= limit.rlim_cur - limit.rlim_cur / 8
}

/// Returns false: this system does not report a limit.
#[cfg(not(unix))]
pub fn is_nearly_exhausted<T>(_newest: &T) -> bool {
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
