//! `setsockopt` for integer options.

use std::io;
use std::mem::size_of;
use std::os::fd::RawFd;

pub(crate) fn set(
    fd: RawFd,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` octets of `value`, which outlives the call.
    let outcome = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets an option of the IP layer, which has a number of its own in each version.
pub(crate) fn set_ip(
    fd: RawFd,
    is_ipv6: bool,
    ipv4_option: libc::c_int,
    ipv6_option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    if is_ipv6 {
        set(fd, libc::IPPROTO_IPV6, ipv6_option, value)
    } else {
        set(fd, libc::IPPROTO_IP, ipv4_option, value)
    }
}

/// Sets the size of a socket buffer beyond `net.core.rmem_max` or `wmem_max`; fails silently
/// without CAP_NET_ADMIN.
pub(crate) fn force_buffer_size(fd: RawFd, option: libc::c_int, octets: usize) {
    // The kernel doubles the value, and caps it at half of the maximum for that reason.
    let octets = libc::c_int::try_from(octets).unwrap_or(libc::c_int::MAX / 2);
    let _ = set(fd, libc::SOL_SOCKET, option, octets);
}
